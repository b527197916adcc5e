// One connection to an upstream: a request whose body is known goes out in one write, one that streams behind its head, and the answer comes back as it
// arrives. One at a time.
import type { Socket } from "node:net";
import type { Readable } from "node:stream";

import { ProxyError } from "../errors.ts";
import { watchTlsEnd } from "../net/tls-end.ts";
import type { ReadBuffer } from "./read-buffer.ts";
import { BodyWriter, lastChunk } from "./upstream-body.ts";
import { endedTls } from "./upstream-error.ts";
import { AnswerParser, type AnswerHeaders } from "./upstream-parser.ts";

/** What an exchange can do to its answer while it comes. */
export interface AnswerControl {
  pause(): void;
  resume(): void;
  abort(reason: Error): void;
}

/** Hears of one request, in this order; after `onResponseError` nothing follows. */
export interface AnswerHandler {
  /** Just before the request is written: `abort` here and it never is. Again when the upstream refused it unseen and it is written anew. */
  onRequestStart(control: AnswerControl): void;
  /** Also for 1xx answers, before the real one. */
  onResponseStart(control: AnswerControl, status: number, headers: AnswerHeaders): void;
  /** @param chunk valid only while this is called */
  onResponseData(control: AnswerControl, chunk: Buffer): void;
  onResponseEnd(control: AnswerControl, trailers: AnswerHeaders): void;
  onResponseError(control: AnswerControl | null, error: Error): void;
}

export interface UpstreamRequest {
  readonly method: string;
  readonly path: string;
  /** Names and values, flat, without host and framing. */
  readonly headers: readonly string[];
  readonly body: Buffer | Readable | null;
  /** Of a body that streams, where it is known. */
  readonly length?: number | undefined;
  /** What follows the body, names and values, flat; asked for when all of it has been read. May throw ProxyError. */
  readonly trailers?: (() => readonly string[]) | undefined;
  /** How often the upstream has refused it unseen. */
  readonly refusals?: number;
}

/** A connected socket. `reads`: where its bytes come, instead of `data` events. */
export interface Connected {
  readonly socket: Socket;
  readonly reads?: ReadBuffer;
  /** What the TLS handshake settled on. */
  readonly isH2?: boolean;
}

/** A connection of either version, as the pool sees it. */
export interface UpstreamLink {
  /** Whether it can carry one more request now. */
  readonly isFree: boolean;
  /** False when the handler aborted it before it was written. Throws ProxyError for what cannot be written. */
  send(request: UpstreamRequest, handler: AnswerHandler): boolean;
  check(): void;
  destroy(reason: Error): void;
}

export interface ConnectionEvents {
  /** The answer is over and the connection can carry another request. */
  free(connection: UpstreamConnection): void;
  closed(connection: UpstreamConnection): void;
}

/** A model may think for ten minutes before its first byte; the SDKs wait as long. */
export const headersTimeoutMs = 600_000;
/** Between two chunks of an answer. There is no limit on the whole. */
export const bodyTimeoutMs = 300_000;
/** Below the 60 s after which common load balancers drop an idle connection without a word. */
export const idleMs = 15_000;
/** A server that says how long it waits closes at that moment; a request must not meet that. */
const idleMarginMs = 2_000;

/** Up to this a body stands behind its head in one string. */
const joinLimit = 16 * 1024;

/** RFC 9112 section 3 and 5: what would end a line early cannot stand in one. */
const unwritable = /[^\t\x20-\x7e\x80-\xff]/;
const unwritableTarget = /[^\x21-\x7e]/;

export class UpstreamConnection implements UpstreamLink {
  readonly #socket: Socket;
  readonly #host: string;
  readonly #events: ConnectionEvents;
  readonly #now: () => number;
  readonly #parser: AnswerParser;
  readonly #isCut: () => boolean;
  #current: Current | undefined;
  /** When bytes last moved, or when it became idle. */
  #movedAt: number;

  /** @param host as the Host header says it */
  constructor(
    { socket, reads }: Connected,
    host: string,
    events: ConnectionEvents,
    now: () => number,
  ) {
    this.#socket = socket;
    this.#host = host;
    this.#events = events;
    this.#now = now;
    this.#movedAt = now();
    this.#isCut = watchTlsEnd(socket);
    this.#parser = new AnswerParser({
      head: (status, headers, isFinal) => this.#current?.head(status, headers, isFinal),
      data: (chunk) => this.#current?.data(chunk),
      end: (trailers) => this.#current?.end(trailers),
    });
    if (reads === undefined) socket.on("data", this.#onData);
    else reads.start(this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("error", (error) => this.#fail(closedEarly(error)));
    socket.on("close", () => {
      this.#fail(closedEarly());
      events.closed(this);
    });
  }

  get isFree(): boolean {
    return this.#current === undefined && !this.#socket.destroyed;
  }

  /** False when the handler aborted it before it was written; then the connection is as free as before. Throws ProxyError for what cannot be written. */
  send(request: UpstreamRequest, handler: AnswerHandler): boolean {
    const bytes = requestBytes(request, this.#host);
    const current = new Current(handler, this.#socket, () => this.#touch());
    handler.onRequestStart(current);
    if (current.isOver) return false;
    this.#current = current;
    this.#touch();
    current.isSent = true;
    this.#parser.expect(request.method);
    if (typeof bytes === "string") this.#socket.write(bytes, "latin1");
    else this.#socket.write(bytes);
    const { body, length, trailers } = request;
    if (body !== null && !Buffer.isBuffer(body)) current.stream(body, length, trailers);
    return true;
  }

  /** Ends what waits for too long; called every now and then. */
  check(): void {
    const stillMs = this.#now() - this.#movedAt;
    const current = this.#current;
    if (current === undefined) {
      if (stillMs >= this.#idleLimitMs()) this.#socket.destroy();
    } else if (!current.isPaused && stillMs >= current.patienceMs)
      current.abort(tooSilent(current));
  }

  /** Ends it now; a request under way hears the reason. */
  destroy(reason: Error): void {
    this.#fail(reason);
    this.#socket.destroy();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#touch();
    try {
      this.#parser.push(chunk);
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    // Not before everything that came was read: bytes behind an answer must never be taken for the next one.
    if (this.#current?.isOver === true) this.#done();
  };

  readonly #onEnd = (): void => {
    if (!this.#isCut() && this.#parser.finish()) this.#current = undefined;
    this.#fail(closedEarly());
    this.#socket.destroy();
  };

  #done(): void {
    const { isPaused = false, isWritten = true } = this.#current ?? {};
    this.#current = undefined;
    if (this.#socket.destroyed) return;
    // An answer before its request was read to the end: who knows what the rest would be taken for.
    const canServe =
      this.#parser.keepsAlive &&
      isWritten &&
      this.#socket.writableLength === 0 &&
      this.#idleLimitMs() > 0;
    if (!canServe) {
      this.#socket.destroy();
      return;
    }
    if (isPaused) this.#socket.resume();
    this.#events.free(this);
  }

  #idleLimitMs(): number {
    const seconds = this.#parser.keepAliveSeconds;
    return seconds === undefined ? idleMs : Math.min(idleMs, seconds * 1_000 - idleMarginMs);
  }

  #fail(error: Error): void {
    const current = this.#current;
    this.#current = undefined;
    current?.fail(error);
  }

  #touch(): void {
    this.#movedAt = this.#now();
  }
}

/** One request on the connection. Its control outlives it: what is said through it afterwards must not meet the next one. */
class Current implements AnswerControl {
  readonly #handler: AnswerHandler;
  readonly #socket: Socket;
  readonly #touch: () => void;
  isSent = false;
  isOver = false;
  isPaused = false;
  patienceMs = headersTimeoutMs;
  #writer: BodyWriter | undefined;

  constructor(handler: AnswerHandler, socket: Socket, touch: () => void) {
    this.#handler = handler;
    this.#socket = socket;
    this.#touch = touch;
  }

  /** Of the request. */
  get isWritten(): boolean {
    return this.#writer?.isWhole !== false;
  }

  stream(body: Readable, length: number | undefined, trailers: UpstreamRequest["trailers"]): void {
    const failed = (error: Error): void => this.abort(error);
    this.#writer = new BodyWriter(this.#socket, body, { length, trailers }, failed);
    this.#writer.start();
  }

  head(status: number, headers: AnswerHeaders, isFinal: boolean): void {
    if (this.isOver) return;
    if (isFinal) this.patienceMs = bodyTimeoutMs;
    this.#handler.onResponseStart(this, status, headers);
  }

  data(chunk: Buffer): void {
    if (!this.isOver) this.#handler.onResponseData(this, chunk);
  }

  end(trailers: AnswerHeaders): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#writer?.stop();
    this.#handler.onResponseEnd(this, trailers);
  }

  fail(error: Error): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#writer?.stop();
    this.#handler.onResponseError(this, error);
  }

  pause(): void {
    if (this.isOver) return;
    this.isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    if (this.isOver) return;
    this.isPaused = false;
    this.#touch();
    this.#socket.resume();
  }

  /** Before the request was written it is just not sent; afterwards the connection ends with it. */
  abort(reason: Error): void {
    if (this.isOver) return;
    this.fail(reason);
    if (this.isSent) this.#socket.destroy();
  }
}

function tooSilent({ patienceMs }: Current): ProxyError {
  return new ProxyError(
    "UpstreamUnreachable",
    patienceMs === bodyTimeoutMs
      ? "the upstream stopped in the middle of its answer"
      : "the upstream did not begin to answer in time",
  );
}

/** The head, and a body that is known in one piece with it: one write, one packet where it fits. */
function requestBytes(request: UpstreamRequest, host: string): string | Buffer {
  const { method, path, headers } = request;
  if (unwritableTarget.test(path)) throw unwritableRequest();
  let head = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n`;
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const value = headers[at + 1] ?? "";
    if (unwritable.test(value)) throw unwritableRequest();
    head += `${headers[at]}: ${value}\r\n`;
  }
  head += `${framing(request)}\r\n`;
  const body = Buffer.isBuffer(request.body) ? framed(request.body, request) : null;
  // As a string it is the young generation's; the memory of buffers brings the collector of the old one.
  if (body === null || body.length <= joinLimit) return head + (body?.toString("latin1") ?? "");
  const bytes = Buffer.allocUnsafe(head.length + body.length);
  bytes.write(head, 0, "latin1");
  body.copy(bytes, head.length);
  return bytes;
}

/** Only chunks have room for trailers. */
function framed(body: Buffer, { trailers }: UpstreamRequest): Buffer {
  if (trailers === undefined) return body;
  const end = lastChunk(trailers());
  if (body.length === 0) return Buffer.from(end, "latin1");
  const size = `${body.length.toString(16)}\r\n`;
  return Buffer.concat([Buffer.from(size), body, Buffer.from(`\r\n${end}`, "latin1")]);
}

/** RFC 9110 section 8.6: a method that usually has content says that there is none. */
function framing({ method, body, length, trailers }: UpstreamRequest): string {
  if (Buffer.isBuffer(body) && trailers === undefined) return `content-length: ${body.length}\r\n`;
  if (body !== null)
    return length === undefined
      ? "transfer-encoding: chunked\r\n"
      : `content-length: ${length}\r\n`;
  return method === "POST" || method === "PUT" || method === "PATCH" ? "content-length: 0\r\n" : "";
}

function unwritableRequest(): ProxyError {
  return new ProxyError("MalformedRequest", "the request cannot be written as HTTP/1.1");
}

function closedEarly(cause?: Error): ProxyError {
  const ended = endedTls(cause);
  if (ended !== undefined) return ended;
  return new ProxyError(
    "UpstreamUnreachable",
    "the upstream closed the connection before it had answered",
    { cause },
  );
}
