// Counting limits of a pod on one connection, in memory: a sliding minute made of two fixed windows.

/** Admits at most `limit` takes in any window: the last full window weighs by how much of it still lies inside. */
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
