// One request that came in HTTP/1.1, and its answer as it is written: framing is made here, whatever the other leg had.
import type { Duplex } from "node:stream";

import { framingOf, writeBareHead, writeHead, writeTrailers } from "./http1-head.ts";
import type { AnswerFraming } from "./http1-head.ts";
import type {
  BodyReader,
  FlatHeaders,
  InboundAnswer,
  InboundBody,
  InboundRequest,
} from "./inbound.ts";
import type { ReadRequest } from "./request-parser.ts";

/** The connection under it. */
export interface Http1Wire {
  /** No request after this one. */
  readonly isClosing: boolean;
  /** For answers without one. */
  date(): string;
  /** False: the client reads more slowly than this. */
  write(bytes: string | Buffer): boolean;
  /** What is written until the end of this turn goes out at once. */
  gather(): void;
  pauseBody(): void;
  resumeBody(): void;
  answered(request: Http1Request): void;
  abort(request: Http1Request): void;
  /** No request after this one. */
  close(): void;
  release(): Duplex;
}

/** Up to this a piece is copied to stand behind its head in one write. */
const joinLimit = 16 * 1024;
const continueHead = "HTTP/1.1 100 Continue\r\n\r\n";
const lastChunk = "0\r\n";
const noTrailers: FlatHeaders = Object.freeze([]);

export class Http1Request implements InboundRequest, InboundBody, InboundAnswer {
  readonly method: string;
  readonly target: string;
  readonly scheme = undefined;
  readonly authority = undefined;
  readonly headers: FlatHeaders;
  readonly length: number | undefined;
  readonly isOld: boolean;
  hasBegun = false;
  isComplete: boolean;
  trailers: FlatHeaders = noTrailers;
  /** The answer has ended, or nobody is there to hear it. */
  isOver = false;
  readonly #wire: Http1Wire;
  #owesContinue: boolean;
  #reader: BodyReader | undefined;
  #failure: Error | undefined;
  #framing: AnswerFraming = "none";
  /** A head that waits for the first piece. */
  #head = "";
  /** Of an answer with a length. */
  #left = 0;

  constructor(read: ReadRequest, wire: Http1Wire) {
    this.method = read.method;
    this.target = read.target;
    this.headers = read.headers;
    this.length = read.length;
    this.isOld = read.isOld;
    this.isComplete = read.length === 0;
    this.#owesContinue = read.expectsContinue;
    this.#wire = wire;
  }

  get body(): InboundBody {
    return this;
  }

  get answer(): InboundAnswer {
    return this;
  }

  /** It waits to hear whether its body is wanted, and may or may not send it now: what follows cannot be told apart. */
  get owesContinue(): boolean {
    return this.#owesContinue;
  }

  read(reader: BodyReader): void {
    if (this.#failure !== undefined) {
      reader.failed(this.#failure);
      return;
    }
    this.#reader = reader;
    if (this.#owesContinue && !this.hasBegun && !this.isOver) this.#wire.write(continueHead);
    this.#owesContinue = false;
    if (this.isComplete) reader.end(this.trailers);
    else this.#wire.resumeBody();
  }

  pause(): void {
    if (!this.isOver && !this.isComplete) this.#wire.pauseBody();
  }

  resume(): void {
    if (!this.isOver && !this.isComplete) this.#wire.resumeBody();
  }

  /** Of the leg: a piece of the body. */
  take(chunk: Buffer, isOwn: boolean): void {
    // It came without waiting.
    this.#owesContinue = false;
    this.#reader?.data(chunk, isOwn);
  }

  complete(trailers: FlatHeaders): void {
    this.isComplete = true;
    this.trailers = trailers;
    this.#reader?.end(trailers);
    this.#reader = undefined;
  }

  /** The rest of its body will not come. */
  fail(error: Error): void {
    if (this.isComplete) return;
    this.#failure = error;
    this.#reader?.failed(error);
    this.#reader = undefined;
  }

  inform(status: number, headers: FlatHeaders): void {
    if (this.isOld || this.hasBegun || this.isOver || status === 101 || status === 100) return;
    this.#wire.write(writeBareHead(status, headers));
  }

  begin(status: number, headers: FlatHeaders): void {
    if (this.hasBegun || this.isOver) return;
    const at = headers.indexOf("content-length");
    const length = at < 0 ? undefined : headers[at + 1];
    const framing = framingOf(this, status, length);
    const text = writeHead({
      status,
      headers,
      framing,
      isLast: this.#wire.isClosing,
      date: this.#wire.date(),
    });
    this.hasBegun = true;
    this.#framing = framing;
    this.#left = Number(length ?? 0);
    if (framing === "length" || framing === "none") {
      this.#head = text;
      return;
    }
    this.#wire.gather();
    this.#wire.write(text);
  }

  write(chunk: Buffer): boolean {
    if (this.isOver || chunk.length === 0 || !this.#admits(chunk)) return true;
    return this.#send(this.#framed(chunk, ""));
  }

  end(last?: Buffer, trailers: FlatHeaders = noTrailers): void {
    if (this.isOver) return;
    const piece = last !== undefined && this.#admits(last) ? last : undefined;
    if (this.isOver) return;
    // Whatever made it shorter than it said, it must not look whole.
    if (this.#framing === "length" && this.#left > 0) {
      this.abort();
      return;
    }
    const end = this.#framing === "chunked" ? `${lastChunk}${writeTrailers(trailers)}\r\n` : "";
    if (piece !== undefined && piece.length > 0) this.#send(this.#framed(piece, end));
    else if (end !== "" || this.#head !== "") this.#send(end);
    this.isOver = true;
    this.#wire.answered(this);
  }

  abort(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#wire.abort(this);
  }

  distrust(): void {
    this.#wire.close();
  }

  handOver(status: number, headers: FlatHeaders): Duplex {
    this.isOver = true;
    this.hasBegun = true;
    const raw = this.#wire.release();
    const own = status === 101 ? [...headers, "connection", "upgrade"] : headers;
    raw.write(writeBareHead(status, own), "latin1");
    return raw;
  }

  /** False where the message has no body; more than its length says ends it. */
  #admits(chunk: Buffer): boolean {
    if (this.#framing === "none") return false;
    if (this.#framing !== "length") return true;
    this.#left -= chunk.length;
    if (this.#left >= 0) return true;
    this.abort();
    return false;
  }

  /** A copy in any case: the piece is somebody's buffer. */
  #framed(chunk: Buffer, end: string): string | Buffer {
    const before = this.#framing === "chunked" ? `${chunk.length.toString(16)}\r\n` : "";
    const after = this.#framing === "chunked" ? `\r\n${end}` : end;
    if (chunk.length <= joinLimit) return before + chunk.toString("latin1") + after;
    const whole = Buffer.allocUnsafe(before.length + chunk.length + after.length);
    whole.write(before, 0, "latin1");
    chunk.copy(whole, before.length);
    whole.write(after, before.length + chunk.length, "latin1");
    return whole;
  }

  #send(bytes: string | Buffer): boolean {
    const head = this.#head;
    this.#head = "";
    if (typeof bytes === "string") return this.#wire.write(head + bytes);
    if (head !== "") {
      this.#wire.gather();
      this.#wire.write(head);
    }
    return this.#wire.write(bytes);
  }
}
