// What comes on a stream of HTTP/2: handed on as it comes off the wire, or kept in one piece, within the stream's window, while nobody takes it.
import type { Http2Stream } from "node:http2";

import { Blocks } from "./blocks.ts";

export interface IntakeEvents {
  /** Bytes came off the wire, whoever takes them when. */
  arrived(bytes: number): void;
  /** @param isOwn it is the receiver's to keep; else it is part of a larger piece of memory */
  data(chunk: Buffer, isOwn: boolean): void;
  /** So many bytes more wait here, or fewer. */
  waits(bytes: number): void;
}

/**
 * Stands in place of the buffer of the stream's readable side, which would hold every piece apart (a byte in 100, and in all of the read
 * that it came with) and as much again as the window allows.
 *
 * Tells a message that ended from one that broke off, too: Node ends the readable side for both when RST_STREAM says NO_ERROR, before it
 * marks the stream as closed when the peer ended its message, and after it when the stream was reset. A truncated message must never look
 * like a whole one (RFC 9113 section 8.1). `end` of the stream comes when all of it was taken.
 */
export class H2Intake {
  readonly #stream: Http2Stream;
  readonly #events: IntakeEvents;
  readonly #push: Http2Stream["push"];
  #waiting: Blocks | undefined;
  #hasEnd = false;
  #isStarted = false;
  #isPaused = true;
  /** Node was told to give nothing of the window back. */
  #isStopped = false;
  /** The end came, and waits behind what waits. */
  #owesEnd = false;
  #isOut = false;

  constructor(stream: Http2Stream, events: IntakeEvents) {
    this.#stream = stream;
    this.#events = events;
    this.#push = stream.push.bind(stream);
    stream.push = (chunk: Buffer | null): boolean =>
      chunk === null ? this.#end() : this.#take(chunk);
  }

  /** The peer ended its message. */
  get isWhole(): boolean {
    return this.#hasEnd || this.#stream.endAfterHeaders;
  }

  pause(): void {
    this.#isPaused = true;
  }

  /** Hands on what waits, and what comes from here on. */
  resume(): void {
    this.#isPaused = false;
    const waiting = this.#waiting;
    if (waiting !== undefined) {
      this.#waiting = undefined;
      this.#events.waits(-waiting.length);
      this.#events.data(waiting.whole(), true);
    }
    if (!this.#isPaused) this.#goOn();
  }

  /** What waits is nobody's any more. */
  drop(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) this.#events.waits(-waiting.length);
  }

  /** Gives the stream back as Node made it, with what waits. */
  release(): void {
    const waiting = this.#waiting;
    this.drop();
    this.#isOut = true;
    if (waiting !== undefined) this.#push(waiting.whole());
    if (this.#owesEnd) this.#push(null);
  }

  #take(chunk: Buffer): boolean {
    if (this.#isOut) return this.#push(chunk);
    this.#events.arrived(chunk.length);
    if (this.#isPaused) {
      this.#waiting ??= new Blocks();
      this.#waiting.add(chunk);
      this.#events.waits(chunk.length);
    } else this.#events.data(chunk, chunk.length * 2 > chunk.buffer.byteLength);
    this.#isStopped = this.#isPaused;
    return !this.#isPaused;
  }

  #end(): boolean {
    const { closed, destroyed } = this.#stream;
    if (!closed && !destroyed) this.#hasEnd = true;
    // Node lets go of a closed stream once this is said; nobody who has begun to read must hear of it before what waits.
    const isHeld = this.#isStarted && this.#isPaused && !destroyed && !this.#isOut;
    if (!isHeld) return this.#push(null);
    this.#owesEnd = true;
    return false;
  }

  #goOn(): void {
    if (this.#stream.destroyed) return;
    if (!this.#isStarted) {
      this.#isStarted = true;
      this.#stream.resume();
    }
    if (this.#owesEnd) {
      this.#owesEnd = false;
      this.#push(null);
    } else if (this.#isStopped) {
      this.#isStopped = false;
      // Gives the window back (node:http2 asks its reader for more by this).
      this.#stream._read(0);
    }
  }
}
