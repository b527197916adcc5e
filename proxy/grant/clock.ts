// Time as the keeper sees it, so that tests need not wait.

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Runs once after `ms`; the returned function cancels. Never keeps the process alive. */
  after(ms: number, run: () => void): () => void;
}

export function systemClock(): Clock {
  return {
    now: Date.now,
    after(ms, run) {
      const timer = setTimeout(run, ms);
      timer.unref();
      return () => clearTimeout(timer);
    },
  };
}

/** Rejects with the signal's reason when it aborts first. */
export function sleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      cancel();
      reject(signal.reason);
    };
    const cancel = clock.after(ms, () => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    });
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** The promise's result, or the signal's reason if that comes first; the work itself goes on. */
export function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

/** How long to wait before the next attempt: doubles to a cap, and half of it is chance, so that a thousand proxies do not come back together. */
export function backoffMs(
  attempt: number,
  random: () => number,
  firstMs: number,
  capMs: number,
): number {
  const full = Math.min(capMs, firstMs * 2 ** Math.min(attempt, 30));
  return full / 2 + (full / 2) * random();
}
