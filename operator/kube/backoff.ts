// How long to wait before trying again: exponential with full jitter, so that a thousand clients do not come back at the same moment.

export interface BackoffLimits {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** Full jitter (a random part of the exponential): the average wait is half the bound, and no two clients agree. */
export function backoffMs(
  failures: number,
  { firstMs, maxMs }: BackoffLimits,
  random: () => number,
): number {
  const bound = Math.min(maxMs, firstMs * 2 ** Math.min(Math.max(failures - 1, 0), 30));
  return Math.ceil(random() * bound);
}

/** Resolves after `ms`, or at once when the signal is aborted: callers look at the signal anyway. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}

/**
 * About this long, a fifth more or less, so that objects that are looked at again do not all come at once.
 *
 * @param random as Math.random
 * @returns whole milliseconds
 */
export function spread(milliseconds: number, random: () => number): number {
  return Math.round(milliseconds * (0.8 + 0.4 * random()));
}
