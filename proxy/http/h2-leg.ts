// HTTP/2 from the agent, framed by node:http2 (nghttp2): requests of one connection are served side by side, each on its stream.
import { constants, performServerHandshake } from "node:http2";
import type { ServerHttp2Session, ServerHttp2Stream, ServerOptions } from "node:http2";
import type { TLSSocket } from "node:tls";

import { ProxyError } from "../errors.ts";
import { FloodWatch } from "./h2-flood.ts";
import { H2Inbound } from "./h2-inbound.ts";
import { UnseenRequests } from "./h2-unseen.ts";
import { maxHeaders } from "./head.ts";
import type { InboundLeg, InboundSink } from "./inbound.ts";

/** Of one connection, at a time: an agent's parallel calls. What comes beyond is refused unseen, and a client waits or sends it again. */
const maxStreams = 1_024;
/** Of the fields of a request, as for HTTP/1.1. */
const maxHeaderListBytes = 32 * 1024;
/** The pseudo-headers, and one more than may be: that is refused with a sentence, what exceeds it by ENHANCE_YOUR_CALM. */
const maxHeaderPairs = maxHeaders + 5;
/** Of a body that nobody reads: what may wait here. The agent is on the same machine, where this is no limit on speed. */
const streamWindowBytes = 16 * 1024;
/** RFC 9113 section 6.5.2: SETTINGS_MAX_FRAME_SIZE, left as it is. */
const largestPieceBytes = 16 * 1024;
const connectionWindowBytes = 1024 * 1024;
/** Megabytes, beyond which Node opens no stream: what every stream may have waiting for its client, and what it keeps beside. */
const maxSessionMegabytes = 64;
/**
 * Frames that make no sense, and streams beyond what is allowed: one is a bug, this many an attack. nghttp2 counts some of the former
 * itself and ends the connection with ENHANCE_YOUR_CALM at a thousand, where Node would end it without a word.
 */
const maxInvalidFrames = 2_000;
const maxRejectedStreams = 1_000;
/** Streams taken back, as nghttp2 counts them; h2-flood.ts ends the connection before, with the code that says why. */
const resetBurst = 2_000;
const resetsPerSecond = 100;
/** Entries of one SETTINGS frame. RFC 9113 defines six. */
const maxSettings = 32;
/** A kept connection without a request is closed after this; client libraries keep theirs for 5 to 60 s. */
const idleMs = 75_000;
/** After GOAWAY. What holds an idle connection open then is a request whose head never ends, on which bytes may come for ever. */
const lingerMs = 5_000;
/** No byte either way, of the connection or of one request: longer than the upstream may take for its first. */
const stalledMs = 660_000;
/**
 * While requests are open and nothing moves for this long, the client is asked for a sign of life (PING, RFC 9113 section 6.7): a connection can be
 * gone without a word, and Node can miss that one was reset while it wrote. A client that stands still for longer has left.
 */
const quietMs = 30_000;
const answerPingMs = 60_000;
/** A flood goes on until it is looked for. */
const checkEveryMs = 250;

const options: ServerOptions & { readonly strictSingleValueFields: boolean } = {
  settings: {
    maxConcurrentStreams: maxStreams,
    maxHeaderListSize: maxHeaderListBytes,
    initialWindowSize: streamWindowBytes,
    enableConnectProtocol: false,
  },
  maxSettings,
  maxHeaderListPairs: maxHeaderPairs,
  maxSessionMemory: maxSessionMegabytes,
  maxSessionInvalidFrames: maxInvalidFrames,
  maxSessionRejectedStreams: maxRejectedStreams,
  streamResetBurst: resetBurst,
  streamResetRate: resetsPerSecond,
  // An upstream's fields are passed on as they came.
  strictSingleValueFields: false,
};

/** The connections that node:http2 reads. */
export class H2Legs {
  readonly #legs = new Set<H2Leg>();
  #timer: NodeJS.Timeout | undefined;

  accept(socket: TLSSocket, sink: InboundSink): InboundLeg {
    const leg = new H2Leg(socket, sink);
    this.#legs.add(leg);
    socket.once("close", () => {
      this.#legs.delete(leg);
      if (this.#legs.size === 0) this.close();
    });
    this.#timer ??= setInterval(() => this.#check(), checkEveryMs).unref();
    return leg;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #check(): void {
    const now = performance.now();
    for (const leg of this.#legs) leg.check(now);
  }
}

class H2Leg implements InboundLeg {
  readonly #socket: TLSSocket;
  readonly #session: ServerHttp2Session;
  readonly #sink: InboundSink;
  readonly #watch: FloodWatch;
  readonly #open = new Set<H2Inbound>();
  readonly #unseen = new UnseenRequests();
  #bytes = 0;
  #bytesRead = 0;
  #movedAt: number;
  #idleSince: number;
  #pingedAt: number | undefined;
  #isBroken = false;

  constructor(socket: TLSSocket, sink: InboundSink) {
    const now = performance.now();
    this.#socket = socket;
    this.#sink = sink;
    this.#watch = new FloodWatch(now);
    this.#movedAt = now;
    this.#idleSince = now;
    // Before Node takes the session down, which hears of it in the same way.
    socket.once("close", () => this.#tellUnseen());
    // A client that sends nothing more cannot give windows back: it has left, and Node would say so only where there is something to write to it.
    socket.once("end", () => {
      this.#tellUnseen();
      this.destroy();
    });
    this.#session = performServerHandshake(socket, options);
    this.#session.once("connect", () => {
      if (!this.#session.destroyed) this.#session.setLocalWindowSize(connectionWindowBytes);
    });
    this.#session.on(
      "stream",
      (stream: ServerHttp2Stream, _headers: unknown, flags: number, raw: string[]) =>
        this.#begin(stream, (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0, raw),
    );
    this.#session.on("remoteSettings", () => this.#control());
    this.#session.on("ping", () => this.#control());
    this.#session.on("error", (error) => this.#broken(error));
    socket.once("close", () => {
      for (const inbound of this.#open) inbound.connectionGone();
      this.#sink.closed();
    });
  }

  close(): void {
    if (!this.#session.closed) this.#session.close();
  }

  destroy(): void {
    this.#session.destroy();
    this.#socket.destroy();
  }

  check(now: number): void {
    const { bytesRead, bytesWritten } = this.#socket;
    if (bytesRead + bytesWritten !== this.#bytes) this.#movedAt = now;
    this.#bytes = bytesRead + bytesWritten;
    if (bytesRead !== this.#bytesRead) this.#pingedAt = undefined;
    this.#bytesRead = bytesRead;
    this.#tellUnseen();
    let waiting = 0;
    for (const inbound of this.#open) {
      if (inbound.isOpen) waiting += unlookedAt(inbound);
      inbound.check(now, stalledMs);
    }
    if (this.#watch.bytes(bytesRead, waiting, now))
      this.#flooded("frames that belong to no message");
    else if (this.#open.size === 0 && now - this.#idleSince >= idleMs) this.#idle(now);
    else if (now - this.#movedAt >= stalledMs) this.destroy();
    else if (this.#open.size > 0) this.#expectLife(now);
  }

  #expectLife(now: number): void {
    if (this.#pingedAt !== undefined) {
      if (now - this.#pingedAt >= answerPingMs) this.destroy();
    } else if (now - this.#movedAt >= quietMs && !this.#session.destroyed) {
      this.#pingedAt = now;
      // That bytes come is seen at the next look.
      this.#session.ping(() => {});
    }
  }

  #idle(now: number): void {
    this.close();
    if (now - this.#idleSince >= idleMs + lingerMs) this.destroy();
  }

  #begin(stream: ServerHttp2Stream, hasEnded: boolean, raw: readonly string[]): void {
    this.#watch.request(raw);
    this.#unseen.seen(stream.id ?? 0);
    const inbound = new H2Inbound(stream, raw, hasEnded, {
      piece: (bytes) => this.#watch.piece(bytes),
      answered: () => this.#watch.answered(),
      closed: this.#closed,
    });
    this.#open.add(inbound);
    inbound.events = this.#sink.request(inbound);
  }

  readonly #closed = (inbound: H2Inbound, isTakenBack: boolean): void => {
    this.#open.delete(inbound);
    const now = performance.now();
    if (this.#open.size === 0) this.#idleSince = now;
    if (inbound.isOpen) this.#watch.unread(unlookedAt(inbound));
    if (isTakenBack && this.#watch.reset(now)) this.#flooded("requests that it takes back");
  };

  /** nghttp2 resets what it cannot read without a word to Node; on a connection that is being closed, whatever comes. */
  #tellUnseen(): void {
    if (this.#isBroken || this.#session.closed) return;
    const { lastProcStreamID = 0 } = this.#session.state;
    for (let left = this.#unseen.take(lastProcStreamID); left > 0; left -= 1)
      this.#sink.malformed(
        new ProxyError(
          "MalformedRequest",
          "a request was begun and not read: its fields break the rules of HTTP/2, are more than are read, or did not end in time",
        ),
      );
  }

  #control(): void {
    if (this.#watch.control(performance.now())) this.#flooded("SETTINGS or PING frames");
  }

  #flooded(what: string): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    const error = new ProxyError("LimitExceeded", `the HTTP/2 connection sends too many ${what}`);
    this.#sink.malformed(error);
    this.#session.destroy(error, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  /** What nghttp2 refuses of a connection; it has sent GOAWAY with its reason. */
  #broken(error: Error & { readonly code?: string }): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    // A client that ends its connection with a reason of its own sent nothing wrong.
    if (error.code === "ERR_HTTP2_SESSION_ERROR" || error.code === "ECONNRESET") return;
    this.#sink.malformed(
      new ProxyError("MalformedRequest", "the connection is not well-formed HTTP/2", {
        cause: error,
      }),
    );
  }
}

/** What may have come of a body and waits: as much as Node keeps before it stops giving the window back, one piece more than that, and then the window. */
function unlookedAt({ keptBytes }: H2Inbound): number {
  return keptBytes + largestPieceBytes + streamWindowBytes;
}
