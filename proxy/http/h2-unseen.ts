// Finds the requests that nghttp2 reset before they were handed up: it has begun a stream by that number, and nobody here ever saw it. Pure.

/** Of one look; a connection that breaks more of them than this each second is said to be broken once. */
const maxFound = 10;

/** The streams of one connection, in the order in which their requests came. */
export class UnseenRequests {
  /** Clients number their streams 1, 3, 5, … (RFC 9113 section 5.1.1), in the order in which they begin. */
  #next = 1;
  #missed = 0;

  /** A request was handed up. */
  seen(id: number): void {
    if (id < this.#next) return;
    this.#missed += (id - this.#next) / 2;
    this.#next = id + 2;
  }

  /**
   * How many were not handed up since it was asked last, at most ten. A number that a client leaves out counts as one of them; no
   * library does so but for a request that it takes back before a byte of it has left.
   *
   * @param begun the last number that nghttp2 began to serve
   */
  take(begun: number): number {
    if (begun >= this.#next) {
      this.#missed += (begun - this.#next) / 2 + 1;
      this.#next = begun + 2;
    }
    const missed = this.#missed;
    this.#missed = 0;
    return Math.min(maxFound, missed);
  }
}
