// What one HTTP/2 connection may cost without asking for anything: resets, control frames, and bytes that are no part of a message. Pure: time comes in.
// nghttp2 bounds the memory of each of these; this bounds the work, and says ENHANCE_YOUR_CALM (RFC 9113 section 10.5).

/** SETTINGS and PING: a client sends the first once, and the second every few seconds. */
const controlBurst = 100;
const controlPerSecond = 10;
/** Streams taken back before their answer ended (CVE-2023-44487): an agent that gives up on everything it asked takes back all at once. */
const resetBurst = 1_100;
const resetsPerSecond = 50;
/** Bytes of frames that belong to no message: window updates beyond what was sent, priorities, empty or unknown frames. */
const idleByteBurst = 256 * 1024;
const idleBytesPerSecond = 64 * 1024;
/** Around each piece of a message: its frame header and padding one way, the updates of both windows the other. */
const bytesAroundPiece = 9 + 256;
const bytesAroundAnswer = 2 * 13;
/** Around the fields of a request, beside two octets or so for the length of each: frame headers, priority, the end, a reset. */
const bytesAroundRequest = 128;
const bytesAroundField = 6;

/** Refills steadily up to its capacity. */
export class Allowance {
  readonly #capacity: number;
  readonly #perMs: number;
  #left: number;
  #at: number;

  /** @param now milliseconds, never going back */
  constructor(capacity: number, perSecond: number, now: number) {
    this.#capacity = capacity;
    this.#perMs = perSecond / 1_000;
    this.#left = capacity;
    this.#at = now;
  }

  /** What is left afterwards; below 0 is too much. A negative amount gives back. */
  take(amount: number, now: number): number {
    const refilled = this.#left + (now - this.#at) * this.#perMs;
    this.#at = now;
    this.#left = Math.min(this.#capacity, refilled - amount);
    return this.#left;
  }
}

export class FloodWatch {
  readonly #control: Allowance;
  readonly #resets: Allowance;
  readonly #idleBytes: Allowance;
  #bytesRead = 0;
  #explained = 0;

  constructor(now: number) {
    this.#control = new Allowance(controlBurst, controlPerSecond, now);
    this.#resets = new Allowance(resetBurst, resetsPerSecond, now);
    this.#idleBytes = new Allowance(idleByteBurst, idleBytesPerSecond, now);
  }

  /** A SETTINGS or PING came. True when that is one too many. */
  control(now: number): boolean {
    return this.#control.take(1, now) < 0;
  }

  /** A stream was taken back. True when that is one too many. */
  reset(now: number): boolean {
    return this.#resets.take(1, now) < 0;
  }

  /** @param fields names and values, flat */
  request(fields: readonly string[]): void {
    let bytes = bytesAroundRequest;
    for (const field of fields) bytes += field.length + bytesAroundField;
    this.#explained += bytes;
  }

  /** A piece of a body came. */
  piece(bytes: number): void {
    this.#explained += bytes + bytesAroundPiece;
  }

  /** A piece of an answer went. */
  answered(): void {
    this.#explained += bytesAroundAnswer;
  }

  /** Bytes that came for a message and were not looked at. */
  unread(bytes: number): void {
    this.#explained += bytes;
  }

  /**
   * True when too many of the bytes that came belong to no message.
   *
   * @param bytesRead of the connection, so far
   * @param waiting bytes of bodies that may have come and wait to be read
   */
  bytes(bytesRead: number, waiting: number, now: number): boolean {
    const unexplained = bytesRead - this.#bytesRead - this.#explained;
    this.#bytesRead = bytesRead;
    this.#explained = 0;
    return this.#idleBytes.take(unexplained, now) < -waiting;
  }
}
