// One request of an agent on a stream of its HTTP/2 connection, and its answer.
import { constants } from "node:http2";
import type { OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { Duplex } from "node:stream";

import { ProxyError } from "../errors.ts";
import { ClientGone } from "./body.ts";
import { watchEnd } from "./h2-end.ts";
import { requestParts, fieldsByName } from "./h2-headers.ts";
import type {
  BodyReader,
  FlatHeaders,
  InboundAnswer,
  InboundBody,
  InboundEvents,
  InboundRequest,
} from "./inbound.ts";

/** What of an answer waits here for a client that does not take it; then the upstream is held back. */
const backlogBytes = 32 * 1024;
/** What nobody reads of a body; then the client is told that the rest is not wanted. */
const discardLimit = 1024 * 1024;
const discardMs = 10_000;
const noTrailers: FlatHeaders = Object.freeze([]);

/** What nghttp2 resets a stream with whose frames break a rule (RFC 9113 section 7). A client says so only of what it got. */
const faultCodes: ReadonlySet<number> = new Set([
  constants.NGHTTP2_PROTOCOL_ERROR,
  constants.NGHTTP2_FLOW_CONTROL_ERROR,
  constants.NGHTTP2_STREAM_CLOSED,
  constants.NGHTTP2_FRAME_SIZE_ERROR,
]);

export interface H2StreamEvents {
  /** Bytes of the body came, or some of the answer went. */
  piece(bytes: number): void;
  answered(): void;
  /** The stream is gone. `isTakenBack`: by the client, before its answer had ended. */
  closed(inbound: H2Inbound, isTakenBack: boolean): void;
}

export class H2Inbound implements InboundRequest, InboundBody, InboundAnswer {
  readonly method: string;
  readonly target: string;
  readonly scheme: string | undefined;
  readonly authority: string | undefined;
  readonly headers: FlatHeaders;
  readonly length: number | undefined;
  trailers: FlatHeaders = noTrailers;
  readonly #stream: ServerHttp2Stream;
  readonly #watcher: H2StreamEvents;
  readonly #isWhole: () => boolean;
  #events: InboundEvents | undefined;
  #reader: BodyReader | undefined;
  #answerTrailers: OutgoingHttpHeaders = {};
  #continueOwed: boolean;
  #isRead = false;
  #hasBegun = false;
  #isBlocked = false;
  #isAborted = false;
  /** Its answer has ended or broken off, or the client is gone: nobody above hears any more. */
  #isOver = false;
  #isGone = false;
  /** When bytes last moved, either way. */
  #movedAt = performance.now();

  /** @param raw names and values as they came, flat, pseudo-headers among them */
  constructor(
    stream: ServerHttp2Stream,
    raw: readonly string[],
    hasEnded: boolean,
    watcher: H2StreamEvents,
  ) {
    const parts = requestParts(raw);
    this.method = parts.method;
    this.target = parts.target;
    this.scheme = parts.scheme;
    this.authority = parts.authority;
    this.headers = parts.headers;
    this.length = hasEnded ? 0 : parts.contentLength;
    this.#continueOwed = parts.expectsContinue;
    this.#isRead = hasEnded;
    this.#stream = stream;
    this.#watcher = watcher;
    this.#isWhole = watchEnd(stream);
    stream.on("trailers", (_headers: unknown, _flags: unknown, fields: readonly string[]) => {
      this.trailers = fields;
    });
    // One without a byte ends whether or not anybody reads it.
    stream.on("end", () => this.#ended());
    stream.on("wantTrailers", () => this.#sendTrailers());
    // `close` follows and says the same; without a listener it would end the process.
    stream.on("error", () => {});
    stream.on("close", () => this.#closed());
  }

  /** Who hears of it from here on. */
  set events(events: InboundEvents) {
    if (!this.#isOver) this.#events = events;
  }

  get body(): InboundBody {
    return this;
  }

  get answer(): InboundAnswer {
    return this;
  }

  get isComplete(): boolean {
    return this.#isRead || this.length === 0;
  }

  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** A body is still to come or to be read. */
  get isOpen(): boolean {
    return !this.#isRead;
  }

  /** Bytes of its body that Node keeps while nobody takes them, before it stops giving the window back. */
  get keptBytes(): number {
    return this.#stream.readableHighWaterMark;
  }

  /** Takes it back when nothing has moved for so long: its client neither sends nor takes what it has asked for. */
  check(now: number, stalledMs: number): void {
    if (!this.#isClosed && now - this.#movedAt >= stalledMs)
      this.#stream.close(constants.NGHTTP2_CANCEL);
  }

  read(reader: BodyReader): void {
    if (this.#continueOwed && !this.#isClosed) this.#stream.additionalHeaders({ ":status": 100 });
    this.#continueOwed = false;
    const isFirst = this.#reader === undefined;
    this.#reader = reader;
    if (this.#isRead) reader.end(this.trailers);
    else if (isFirst) this.#listen();
    this.#stream.resume();
  }

  pause(): void {
    if (!this.#isOver) this.#stream.pause();
  }

  resume(): void {
    if (!this.#isOver) this.#stream.resume();
  }

  inform(status: number, headers: FlatHeaders): void {
    if (this.#hasBegun || this.#isClosed) return;
    this.#say(() =>
      this.#stream.additionalHeaders({ ...fieldsByName(headers), ":status": status }),
    );
  }

  begin(status: number, headers: FlatHeaders): void {
    if (this.#hasBegun || this.#isClosed) return;
    this.#hasBegun = true;
    this.#movedAt = performance.now();
    const isEmpty = this.method === "HEAD" || status === 204 || status === 205 || status === 304;
    const fields = fieldsByName(headers);
    // RFC 9110 section 8.6; clients take it for a fault.
    if (status === 204) delete fields["content-length"];
    this.#say(() =>
      this.#stream.respond(
        { ...fields, ":status": status },
        // With trailers still to come Node does not end the stream by itself, not even when it is reset: see `abort`.
        isEmpty ? { endStream: true } : { waitForTrailers: true },
      ),
    );
  }

  write(chunk: Buffer): boolean {
    if (this.#isClosed || this.#stream.writableEnded) return true;
    this.#watcher.answered();
    this.#stream.write(Buffer.from(chunk), () => this.#written());
    if (this.#stream.writableLength > backlogBytes) this.#isBlocked = true;
    return !this.#isBlocked;
  }

  end(last?: Buffer, trailers: FlatHeaders = []): void {
    if (this.#isOver) return;
    this.#over();
    if (this.#isClosed) return;
    this.#answerTrailers = fieldsByName(trailers);
    this.#watcher.answered();
    if (last === undefined || this.#stream.writableEnded) this.#stream.end();
    else this.#stream.end(Buffer.from(last));
    this.#discard();
  }

  /** Closing a stream makes Node end its writable side first, which must not become END_STREAM: no trailers are sent, and with them no end. */
  abort(): void {
    this.#over();
    this.#isAborted = true;
    if (!this.#isClosed) this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }

  handOver(status: number, headers: FlatHeaders): Duplex {
    this.#over();
    this.#stream.respond({ ...fieldsByName(headers), ":status": status });
    return this.#stream;
  }

  get #isClosed(): boolean {
    return this.#stream.closed || this.#stream.destroyed;
  }

  #listen(): void {
    this.#stream.on("data", (chunk: Buffer) => {
      this.#movedAt = performance.now();
      this.#watcher.piece(chunk.length);
      this.#reader?.data(chunk);
    });
  }

  #ended(): void {
    if (!this.#isWhole()) return;
    this.#isRead = true;
    this.#reader?.end(this.trailers);
  }

  #written(): void {
    this.#movedAt = performance.now();
    if (!this.#isBlocked || this.#stream.writableLength > backlogBytes / 2) return;
    this.#isBlocked = false;
    this.#events?.drained();
  }

  #sendTrailers(): void {
    if (this.#isAborted || this.#isClosed) return;
    this.#say(() => this.#stream.sendTrailers(this.#answerTrailers));
  }

  /** What Node will not write of an upstream's fields breaks this answer off, and nothing else. */
  #say(write: () => void): void {
    try {
      write();
    } catch {
      this.#isAborted = true;
      this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    }
  }

  #over(): void {
    this.#isOver = true;
    this.#events = undefined;
    this.#reader = undefined;
  }

  /** Lets a client that is still sending come to its end and read its answer; one that goes on for too long is told to stop. */
  #discard(): void {
    if (this.#isRead || this.#isWhole()) {
      this.#stream.resume();
      return;
    }
    const stream = this.#stream;
    // RFC 9113 section 8.1: the answer is whole, the rest of the request is not wanted.
    const stop = (): void => stream.close(constants.NGHTTP2_NO_ERROR);
    let left = discardLimit;
    const timer = setTimeout(stop, discardMs).unref();
    stream.once("close", () => clearTimeout(timer));
    stream.on("data", (chunk: Buffer) => {
      this.#watcher.piece(chunk.length);
      left -= chunk.length;
      if (left < 0) stop();
    });
    stream.resume();
  }

  /** The whole connection is gone, which may come before its streams say so. */
  connectionGone(): void {
    this.#closed();
  }

  #closed(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    const events = this.#events;
    const reader = this.#reader;
    const isTakenBack = !this.#isOver;
    this.#over();
    if (isTakenBack) {
      const fault = faultOf(this.#stream);
      if (!this.#isRead) reader?.failed(fault ?? new ClientGone());
      if (fault === undefined) events?.gone();
      else events?.broken(fault);
    }
    this.#watcher.closed(this, isTakenBack);
  }
}

/** What broke the rules, if that is why it closed: the frames of its own stream, or of the connection under it. */
function faultOf({ rstCode, errored }: ServerHttp2Stream): ProxyError | undefined {
  const isOfConnection =
    errored !== null && "code" in errored && errored.code === "ERR_HTTP2_ERROR";
  if (!isOfConnection && !faultCodes.has(rstCode)) return undefined;
  return new ProxyError(
    "MalformedRequest",
    `the ${isOfConnection ? "connection" : "request"} is not well-formed HTTP/2`,
    errored === null ? {} : { cause: errored },
  );
}
