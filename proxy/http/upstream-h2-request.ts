// One request on an HTTP/2 connection to an upstream: its body goes out as the upstream takes it, its answer comes back as it arrives.
import { constants } from "node:http2";
import type { ClientHttp2Stream, IncomingHttpHeaders } from "node:http2";
import type { Readable } from "node:stream";

import { ProxyError } from "../errors.ts";
import { watchEnd } from "./h2-end.ts";
import { answerFields, fieldsByName } from "./h2-headers.ts";
import { bodyTimeoutMs, headersTimeoutMs } from "./upstream-connection.ts";
import type { AnswerControl, AnswerHandler, UpstreamRequest } from "./upstream-connection.ts";
import { maxInformational } from "./upstream-parser.ts";
import type { AnswerHeaders } from "./upstream-parser.ts";

export interface H2RequestEvents {
  /** Its stream is gone; the connection can carry another. */
  over(request: H2Request): void;
  /** The upstream says that it never looked at it (RFC 9113 section 8.7): it may be sent again, and the handler has heard nothing. */
  unprocessed(request: H2Request): void;
}

export class H2Request implements AnswerControl {
  readonly request: UpstreamRequest;
  readonly handler: AnswerHandler;
  readonly #now: () => number;
  readonly #events: H2RequestEvents;
  #stream: ClientHttp2Stream | undefined;
  #isWhole: () => boolean = () => false;
  #isOver = false;
  #isReset = false;
  #isPaused = false;
  #hasHead = false;
  /** Bytes of the answer that are still to come, where it says how many it has. */
  #left = Number.NaN;
  #informational = 0;
  #trailers: AnswerHeaders = {};
  #failure: Error | undefined;
  #movedAt: number;

  constructor(
    request: UpstreamRequest,
    handler: AnswerHandler,
    events: H2RequestEvents,
    now: () => number,
  ) {
    this.request = request;
    this.handler = handler;
    this.#events = events;
    this.#now = now;
    this.#movedAt = now();
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** @param isBeyond whether the upstream's GOAWAY leaves the stream with this id out */
  carry(stream: ClientHttp2Stream, isBeyond: (id: number | undefined) => boolean): void {
    this.#stream = stream;
    this.#isWhole = watchEnd(stream);
    stream.on("headers", (headers) => this.#inform(headers));
    stream.on("response", (headers, _flags, raw) => this.#head(headers, raw));
    stream.on("trailers", (_headers, _flags, raw) => (this.#trailers = answerFields(raw)));
    stream.on("end", () => this.#ended());
    // `close` follows and says the same; without a listener it would end the process.
    stream.on("error", (error) => (this.#failure = error));
    stream.on("close", () => this.#closed(stream, isBeyond(stream.id)));
    this.#sendBody(stream);
  }

  pause(): void {
    if (this.#isOver) return;
    this.#isPaused = true;
    this.#stream?.pause();
  }

  resume(): void {
    if (this.#isOver) return;
    this.#isPaused = false;
    this.#touch();
    this.#stream?.resume();
  }

  /** Before the request was written it is just not sent; afterwards its stream is reset, and the others go on. */
  abort(reason: Error): void {
    if (this.#isOver) return;
    this.fail(reason);
    this.#reset();
  }

  fail(error: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.handler.onResponseError(this, error);
  }

  /** Ends what is silent for too long. */
  check(): void {
    if (this.#isOver || this.#isPaused) return;
    const patienceMs = this.#hasHead ? bodyTimeoutMs : headersTimeoutMs;
    if (this.#now() - this.#movedAt < patienceMs) return;
    this.abort(
      unreachable(
        this.#hasHead
          ? "the upstream stopped in the middle of its answer"
          : "the upstream did not begin to answer in time",
      ),
    );
  }

  #sendBody(stream: ClientHttp2Stream): void {
    const { body } = this.request;
    if (body === null) return;
    stream.on("wantTrailers", () => this.#sendTrailers(stream));
    if (Buffer.isBuffer(body)) stream.end(body);
    else this.#relay(body, stream);
  }

  #relay(body: Readable, stream: ClientHttp2Stream): void {
    // It broke while the request waited for a connection: no listener would hear of it any more.
    if (body.destroyed && !body.readableEnded) {
      this.abort(body.errored ?? new Error("the body of the request ended early"));
      return;
    }
    body.on("data", (chunk: Buffer) => {
      // The stream may be gone before the exchange lets go of the body.
      if (stream.destroyed || stream.writableEnded) return;
      this.#touch();
      if (!stream.write(chunk)) body.pause();
    });
    stream.on("drain", () => {
      this.#touch();
      body.resume();
    });
    body.on("end", () => stream.end());
    body.on("error", (error) => this.abort(error));
  }

  /** The end of its body; without one that may be said, the upstream never hears of an end. */
  #sendTrailers(stream: ClientHttp2Stream): void {
    if (this.#isReset) return;
    this.#tell(() => stream.sendTrailers(fieldsByName(this.request.trailers?.() ?? [])));
  }

  #inform(headers: IncomingHttpHeaders): void {
    if (this.#isOver) return;
    this.#touch();
    this.#informational += 1;
    if (this.#informational > maxInformational) {
      this.abort(broken("it sent too many 1xx answers"));
      return;
    }
    this.#tell(() =>
      this.handler.onResponseStart(this, Number(headers[":status"]), regular(headers)),
    );
  }

  #head(headers: IncomingHttpHeaders, raw: readonly string[]): void {
    if (this.#isOver) return;
    const status = Number(headers[":status"]);
    if (!(status >= 200 && status <= 999)) {
      this.abort(broken("its answer has no status"));
      return;
    }
    this.#touch();
    this.#hasHead = true;
    const fields = answerFields(raw);
    this.#left = Number(fields["content-length"]);
    this.#tell(() => this.handler.onResponseStart(this, status, fields));
    // Not before the head was told: Node emits what came in one read with it at once.
    this.#stream?.on("data", (chunk: Buffer) => this.#data(chunk));
  }

  #data(chunk: Buffer): void {
    if (this.#isOver) return;
    this.#touch();
    this.#left -= chunk.length;
    this.#tell(() => this.handler.onResponseData(this, chunk));
  }

  /** A handler that fails on what it hears fails its own request, as on a connection of HTTP/1.1. */
  #tell(say: () => void): void {
    try {
      say();
    } catch (error) {
      this.abort(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #ended(): void {
    if (this.#isOver || !this.#hasHead) return;
    // Node's own server says NO_ERROR in place of END_STREAM where all was sent and the window was full just then. What has every byte that it
    // announced is not truncated.
    if (!this.#isWhole() && this.#left !== 0) return;
    this.#isOver = true;
    this.handler.onResponseEnd(this, this.#trailers);
    // An answer before its request was read to the end: the rest is not sent (RFC 9113 section 8.1).
    if (this.#stream?.writableEnded === false) this.#reset();
  }

  /** Closing a stream makes Node end its writable side first, which must not become END_STREAM: no trailers are sent, and with them no end. */
  #reset(): void {
    this.#isReset = true;
    this.#stream?.close(constants.NGHTTP2_CANCEL);
  }

  #closed(stream: ClientHttp2Stream, isBeyond: boolean): void {
    const isRefused = isBeyond || stream.rstCode === constants.NGHTTP2_REFUSED_STREAM;
    // A body that streams was taken from its source as soon as there was a stream to send it on.
    const canRepeat = this.request.body === null || Buffer.isBuffer(this.request.body);
    if (!this.#isOver && isRefused && canRepeat && !this.#hasHead) {
      this.#isOver = true;
      this.#events.unprocessed(this);
      return;
    }
    this.fail(closedEarly(stream.rstCode, this.#failure));
    this.#events.over(this);
  }

  #touch(): void {
    this.#movedAt = this.#now();
  }
}

function regular(headers: IncomingHttpHeaders): AnswerHeaders {
  const result: Record<string, string | string[]> = Object.create(null);
  for (const [name, value] of Object.entries(headers))
    if (!name.startsWith(":") && value !== undefined) result[name] = value;
  return result;
}

/** What the stream's last frame says (RFC 9113 section 7). */
function closedEarly(code: number | undefined, cause: Error | undefined): ProxyError {
  if (isOurs(cause)) return broken("what it sent breaks the rules of that version", cause);
  switch (code) {
    case constants.NGHTTP2_PROTOCOL_ERROR:
    case constants.NGHTTP2_FRAME_SIZE_ERROR:
    case constants.NGHTTP2_COMPRESSION_ERROR:
    case constants.NGHTTP2_FLOW_CONTROL_ERROR:
      return broken("one of the two broke its rules", cause);
    case constants.NGHTTP2_HTTP_1_1_REQUIRED:
      return broken("it asks for HTTP/1.1, which it did not offer", cause);
    case constants.NGHTTP2_REFUSED_STREAM:
      return unreachable("the upstream refused the request before it looked at it", cause);
    default:
      return unreachable("the upstream broke off before it had answered", cause);
  }
}

/** What nghttp2 says of bytes that it could not make sense of, as against what a frame of the upstream says. */
function isOurs(cause: Error | undefined): boolean {
  return cause !== undefined && "code" in cause && cause.code === "ERR_HTTP2_ERROR";
}

export function unreachable(message: string, cause?: Error): ProxyError {
  return new ProxyError("UpstreamUnreachable", message, { cause });
}

function broken(what: string, cause?: Error): ProxyError {
  return new ProxyError("UpstreamProtocol", `the upstream did not answer in HTTP/2: ${what}`, {
    cause,
  });
}
