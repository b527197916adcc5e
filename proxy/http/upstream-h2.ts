// One HTTP/2 connection to an upstream: as many requests at a time as it allows, each on a stream of its own.
import { connect } from "node:http2";
import type { ClientHttp2Session, ClientSessionOptions } from "node:http2";

import { requestFields } from "./h2-headers.ts";
import { idleMs } from "./upstream-connection.ts";
import type {
  AnswerHandler,
  Connected,
  UpstreamLink,
  UpstreamRequest,
} from "./upstream-connection.ts";
import { H2Request, unreachable } from "./upstream-h2-request.ts";
import { maxHeadBytes, maxHeaderLines } from "./upstream-parser.ts";

export interface H2LinkEvents {
  /** A stream ended or the upstream allows more of them. */
  free(link: UpstreamH2): void;
  /** Refused before the upstream looked at it; nothing was told to the handler. */
  unprocessed(request: UpstreamRequest, handler: AnswerHandler): void;
  closed(link: UpstreamH2): void;
}

/** Before the upstream has said how many it allows (RFC 9113 section 6.5.2 recommends that it be no less). */
const assumedStreams = 100;
/** Of one connection, whatever the upstream allows: its fair share of the proxy's memory. */
const maxStreams = 1_024;
/** Of an answer that nobody takes: what may wait here. At 20 ms to the upstream it is 6 MB/s a stream. */
const streamWindowBytes = 128 * 1024;
/** On the way for all streams together; Node takes it off the wire at once and leaves holding back to the streams. */
const connectionWindowBytes = 4 * 1024 * 1024;
/** Megabytes, after which Node opens no stream: every stream's window full, and what it keeps beside. */
const maxSessionMegabytes = 192;

const options: ClientSessionOptions & { readonly strictSingleValueFields: boolean } = {
  settings: {
    enablePush: false,
    initialWindowSize: streamWindowBytes,
    maxHeaderListSize: maxHeadBytes,
  },
  maxHeaderListPairs: maxHeaderLines,
  maxReservedRemoteStreams: 0,
  maxSessionMemory: maxSessionMegabytes,
  peerMaxConcurrentStreams: assumedStreams,
  // What of a request has to be single was checked when it came.
  strictSingleValueFields: false,
};

export class UpstreamH2 implements UpstreamLink {
  readonly #session: ClientHttp2Session;
  readonly #authority: string;
  readonly #events: H2LinkEvents;
  readonly #now: () => number;
  readonly #requests = new Set<H2Request>();
  #hasSettings = false;
  /** Set while the upstream refuses more than it carries, although its settings allow them. */
  #refusesFrom = Infinity;
  /** Its GOAWAY: streams above were not processed, new ones are not accepted. */
  #lastProcessed: number | undefined;
  #hasCarried = false;
  #idleSince: number;

  /** @param authority as the Host header would say it */
  constructor({ socket }: Connected, authority: string, events: H2LinkEvents, now: () => number) {
    this.#authority = authority;
    this.#events = events;
    this.#now = now;
    this.#idleSince = now();
    this.#session = connect(`https://${authority}`, { ...options, createConnection: () => socket });
    this.#session.setLocalWindowSize(connectionWindowBytes);
    this.#session.on("remoteSettings", () => {
      this.#hasSettings = true;
      events.free(this);
    });
    this.#session.on("goaway", (_code, lastStreamId) => (this.#lastProcessed = lastStreamId));
    // `close` follows, and every stream has heard of it.
    this.#session.on("error", () => {});
    this.#session.on("close", () => {
      for (const request of this.#requests) request.fail(unreachable(closedMessage));
      events.closed(this);
    });
  }

  get isFree(): boolean {
    const { closed, destroyed } = this.#session;
    if (closed || destroyed || this.#lastProcessed !== undefined) return false;
    return this.#requests.size < Math.min(this.#allowed(), this.#refusesFrom, maxStreams);
  }

  /** Whether it ever carried a request: one that closes without is no help to those that wait. */
  get hasCarried(): boolean {
    return this.#hasCarried;
  }

  get isIdle(): boolean {
    return this.#requests.size === 0;
  }

  send(request: UpstreamRequest, handler: AnswerHandler): boolean {
    const { method, path, headers, body, trailers } = request;
    const fields = requestFields({
      method,
      path,
      headers,
      authority: this.#authority,
      contentLength: contentLength(request),
    });
    const carried = new H2Request(
      request,
      handler,
      { over: this.#over, unprocessed: this.#unprocessed },
      this.#now,
    );
    handler.onRequestStart(carried);
    if (carried.isOver) return false;
    this.#hasCarried = true;
    this.#requests.add(carried);
    carried.carry(
      this.#session.request(fields, {
        endStream: body === null,
        // A body that breaks off must not be ended by Node (upstream-h2-request.ts).
        waitForTrailers: trailers !== undefined || (body !== null && !Buffer.isBuffer(body)),
      }),
      (id) => id === undefined || (this.#lastProcessed !== undefined && id > this.#lastProcessed),
    );
    return true;
  }

  check(): void {
    for (const request of this.#requests) request.check();
    if (this.#requests.size === 0 && this.#now() - this.#idleSince >= idleMs)
      this.#session.destroy();
  }

  destroy(reason: Error): void {
    for (const request of this.#requests) request.fail(reason);
    this.#session.destroy();
  }

  readonly #over = (request: H2Request): void => {
    this.#requests.delete(request);
    this.#refusesFrom = Infinity;
    if (this.#requests.size === 0) this.#idleSince = this.#now();
    this.#events.free(this);
  };

  readonly #unprocessed = (carried: H2Request): void => {
    this.#requests.delete(carried);
    // It is sent again when one of the others has ended, or at once where there are none.
    this.#refusesFrom = this.#requests.size === 0 ? Infinity : this.#requests.size;
    if (this.#requests.size === 0) this.#idleSince = this.#now();
    this.#events.unprocessed(carried.request, carried.handler);
    this.#events.free(this);
  };

  #allowed(): number {
    if (!this.#hasSettings) return assumedStreams;
    return this.#session.remoteSettings.maxConcurrentStreams ?? Infinity;
  }
}

const closedMessage = "the upstream closed the connection before it had answered";

/** RFC 9110 section 8.6: a method that usually has content says that there is none. */
function contentLength({ method, body, length }: UpstreamRequest): number | undefined {
  if (Buffer.isBuffer(body)) return body.length;
  if (body !== null) return length;
  const usual = method === "POST" || method === "PUT" || method === "PATCH";
  return usual ? 0 : undefined;
}
