// Counting limits of a pod on one connection, in memory.

/**
 * A sliding window made of two fixed ones. Admits at most `limit` takes in any window: the last full window weighs by how much of it still lies inside.
 */
export class RateWindow {
  readonly #lengthMs: number;
  #start = 0;
  #count = 0;
  #before = 0;

  constructor(lengthMs: number) {
    this.#lengthMs = lengthMs;
  }

  /** @param now milliseconds, never going back */
  take(now: number, limit: number): boolean {
    const passed = now - this.#start;
    if (passed >= 2 * this.#lengthMs) {
      this.#start = now;
      this.#before = 0;
      this.#count = 0;
    } else if (passed >= this.#lengthMs) {
      this.#start += this.#lengthMs;
      this.#before = this.#count;
      this.#count = 0;
    }
    const share = 1 - (now - this.#start) / this.#lengthMs;
    if (this.#before * share + this.#count + 1 > limit) return false;
    this.#count += 1;
    return true;
  }
}

/** Admits `limit` takes in each minute of UTC, as the operator counts them over all pods (policy/budget). */
export class MinuteCount {
  #endsAt = 0;
  #count = 0;

  /** @param now milliseconds since 1970 */
  take(now: number, limit: number): boolean {
    if (now >= this.#endsAt || now < this.#endsAt - 2 * minuteMs) {
      this.#endsAt = now - (now % minuteMs) + minuteMs;
      this.#count = 0;
    }
    if (this.#count >= limit) return false;
    this.#count += 1;
    return true;
  }

  /** Until the next minute. */
  waitMs(now: number): number {
    return Math.max(0, this.#endsAt - now);
  }
}

const minuteMs = 60_000;
