// Keys waiting to be worked on: each at most once in the queue and never in two hands, tried again later and later while it fails.
import { backoffMs, type BackoffLimits } from "./backoff.ts";

const retryLimits: BackoffLimits = { firstMs: 200, maxMs: 5 * 60_000 };

/** Keys are names of objects; a cluster with more of one kind than this has another problem, and the next relist brings them back. */
export const maxQueuedKeys = 200_000;

export interface QueueTimers {
  readonly set: (fn: () => void, ms: number) => () => void;
  readonly random: () => number;
}

export const realTimers: QueueTimers = {
  set(fn, ms) {
    const timer = setTimeout(fn, ms);
    return () => clearTimeout(timer);
  },
  random: Math.random,
};

export class WorkQueue {
  readonly #timers: QueueTimers;
  readonly #ready: string[] = [];
  readonly #waiting = new Set<string>();
  readonly #working = new Set<string>();
  /** Asked for while being worked on: goes back into the queue when that is done. */
  readonly #again = new Set<string>();
  readonly #later = new Map<string, { readonly at: number; readonly cancel: () => void }>();
  readonly #failures = new Map<string, number>();
  readonly #takers: ((key: string | undefined) => void)[] = [];
  readonly #now: () => number;
  #closed = false;

  constructor(timers: QueueTimers = realTimers, now: () => number = Date.now) {
    this.#timers = timers;
    this.#now = now;
  }

  get depth(): number {
    return this.#ready.length + this.#again.size;
  }

  add(key: string): void {
    if (this.#closed || this.#waiting.has(key)) return;
    if (this.#working.has(key)) {
      this.#again.add(key);
      return;
    }
    if (this.#waiting.size >= maxQueuedKeys) return;
    const taker = this.#takers.shift();
    if (taker !== undefined) {
      this.#working.add(key);
      taker(key);
      return;
    }
    this.#waiting.add(key);
    this.#ready.push(key);
  }

  /** At that time or sooner: the earliest of several wishes counts. */
  addAfter(key: string, ms: number): void {
    if (this.#closed) return;
    const at = this.#now() + ms;
    const planned = this.#later.get(key);
    if (planned !== undefined && planned.at <= at) return;
    planned?.cancel();
    const cancel = this.#timers.set(() => {
      this.#later.delete(key);
      this.add(key);
    }, ms);
    this.#later.set(key, { at, cancel });
  }

  /** Undefined once the queue is closed. Every key taken must be given back with `done` or `retry`. */
  async take(): Promise<string | undefined> {
    if (this.#closed) return undefined;
    const key = this.#ready.shift();
    if (key !== undefined) {
      this.#waiting.delete(key);
      this.#working.add(key);
      return key;
    }
    return await new Promise((resolve) => this.#takers.push(resolve));
  }

  done(key: string): void {
    this.#failures.delete(key);
    this.#release(key);
  }

  /** Worked on in vain: comes back after a wait that doubles. Returns the wait in ms. */
  retry(key: string): number {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    const ms = backoffMs(failures, retryLimits, this.#timers.random);
    this.#release(key);
    this.addAfter(key, ms);
    return ms;
  }

  close(): void {
    this.#closed = true;
    for (const { cancel } of this.#later.values()) cancel();
    this.#later.clear();
    this.#ready.length = 0;
    this.#waiting.clear();
    this.#again.clear();
    for (const taker of this.#takers.splice(0)) taker(undefined);
  }

  #release(key: string): void {
    this.#working.delete(key);
    if (this.#again.delete(key)) this.add(key);
  }
}
