// Carries an open WebSocket between an agent and an upstream: frames are read and written anew on each side, text is masked and kept as
// the policy asks, and whoever ends it is told in the protocol's own words.
import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";

import { ProxyError } from "../../errors.ts";
import { closeCodes, closePayload, encodeFrame, opcodes, WebSocketViolation } from "./frame.ts";
import type { MessageKind, Opcode } from "./frame.ts";
import { FrameReader } from "./frame-reader.ts";
import type { MessageWork } from "./messages.ts";

export interface WebSocketRelayOptions {
  /** Both are paused, past the handshake. */
  readonly agent: Duplex;
  readonly upstream: Duplex;
  /** What the upstream sent behind its head. */
  readonly first: Buffer;
  readonly idleMs: number;
  /** Towards the agent, payloads alone. */
  readonly maxBytesOut: number;
  readonly fromAgent: MessageWork;
  readonly fromUpstream: MessageWork;
  /** Asked when bytes arrive; an error ends it. */
  readonly check: () => ProxyError | undefined;
}

export interface WebSocketEnd {
  /** Payloads from the agent, to the agent. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** What ended it, where neither side did. */
  readonly cause: ProxyError | undefined;
}

/** Of one message; it passes piece by piece, so this bounds how long one can go on, not memory. */
const maxMessageBytes = 256 * 1024 * 1024;
/** For the other side's Close after ours, and for its end after both. */
const closeTimeoutMs = 5_000;

interface Side {
  readonly stream: Duplex;
  readonly reader: FrameReader;
  /** Frames to an upstream are a client's, and masked. */
  readonly isUpstream: boolean;
  saidClose: boolean;
  heardClose: boolean;
  isGone: boolean;
}

export class WebSocketRelay {
  readonly ended: Promise<WebSocketEnd>;
  readonly #resolve: (end: WebSocketEnd) => void;
  readonly #options: WebSocketRelayOptions;
  readonly #agent: Side;
  readonly #upstream: Side;
  #idle: NodeJS.Timeout | undefined;
  #closing: NodeJS.Timeout | undefined;
  #bytesIn = 0;
  #bytesOut = 0;
  #cause: ProxyError | undefined;
  /** Nothing is carried any more. */
  #isEnding = false;
  #isOver = false;

  constructor(options: WebSocketRelayOptions) {
    const { promise, resolve } = Promise.withResolvers<WebSocketEnd>();
    this.ended = promise;
    this.#resolve = resolve;
    this.#options = options;
    this.#agent = this.#side(options.agent, false);
    this.#upstream = this.#side(options.upstream, true);
  }

  start(): void {
    this.#idle = setTimeout(() => this.#onIdle(), this.#options.idleMs);
    this.#listen(this.#agent, this.#upstream);
    this.#listen(this.#upstream, this.#agent);
    if (this.#options.first.length > 0) this.#take(this.#upstream, this.#options.first);
    this.#agent.stream.resume();
    this.#upstream.stream.resume();
  }

  /** A text of ours for the agent, between two messages of the upstream's. */
  tell(text: string): void {
    if (!this.#isEnding) this.#say(this.#agent, opcodes.text, true, Buffer.from(text));
  }

  /** Both sides are told, with a code each, and have a moment to say goodbye. */
  end(cause: ProxyError, code: number): void {
    this.#end(cause, code, closeCodes.goingAway);
  }

  #end(cause: ProxyError, agentCode: number, upstreamCode: number): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#cause = cause;
    this.#sayClose(this.#agent, agentCode, cause.message);
    this.#sayClose(this.#upstream, upstreamCode, "");
    this.#closeWithin(closeTimeoutMs);
  }

  #side(stream: Duplex, isUpstream: boolean): Side {
    const side: Side = {
      stream,
      isUpstream,
      saidClose: false,
      heardClose: false,
      isGone: false,
      reader: new FrameReader(
        isUpstream ? "server" : "client",
        {
          data: (kind, bytes, isFirst, isLast) => this.#data(side, kind, bytes, isFirst, isLast),
          control: (kind, payload) =>
            this.#say(
              this.#other(side),
              kind === "ping" ? opcodes.ping : opcodes.pong,
              true,
              payload,
            ),
          close: (code, reason) => this.#heardClose(side, code, reason),
        },
        maxMessageBytes,
      ),
    };
    return side;
  }

  #other(side: Side): Side {
    return side === this.#agent ? this.#upstream : this.#agent;
  }

  #listen(side: Side, other: Side): void {
    const { stream } = side;
    stream.on("data", (chunk: Buffer) => this.#take(side, chunk));
    stream.on("drain", () => other.stream.resume());
    stream.on("error", () => undefined);
    stream.once("end", () => this.#left(side));
    stream.once("close", () => this.#left(side));
  }

  #take(side: Side, chunk: Buffer): void {
    if (side.heardClose) return;
    this.#idle?.refresh();
    const refused = this.#isEnding ? undefined : this.#options.check();
    if (refused !== undefined) this.end(refused, closeCodes.policyViolation);
    try {
      side.reader.push(chunk);
    } catch (error) {
      this.#violated(side, error);
    }
    if (this.#other(side).stream.writableNeedDrain) side.stream.pause();
  }

  /** Whoever broke the protocol hears how; to the other it is somebody else's failure. */
  #violated(side: Side, error: unknown): void {
    side.heardClose = true;
    if (!(error instanceof WebSocketViolation)) {
      this.#end(
        new ProxyError("UpstreamProtocol", "the WebSocket could not be carried"),
        closeCodes.badGateway,
        closeCodes.goingAway,
      );
      return;
    }
    if (side.isUpstream)
      this.#end(
        new ProxyError("UpstreamProtocol", `the upstream broke WebSocket: ${error.message}`),
        error.code === closeCodes.policyViolation || error.code === closeCodes.tryAgainLater
          ? error.code
          : closeCodes.badGateway,
        error.code,
      );
    else
      this.#end(
        new ProxyError("MalformedRequest", error.message),
        error.code,
        closeCodes.goingAway,
      );
  }

  #data(side: Side, kind: MessageKind, bytes: Buffer, isFirst: boolean, isLast: boolean): void {
    if (this.#isEnding) return;
    if (side.isUpstream) this.#bytesOut += bytes.length;
    else this.#bytesIn += bytes.length;
    if (this.#bytesOut > this.#options.maxBytesOut) {
      this.end(
        new ProxyError(
          "LimitExceeded",
          `the upstream sent more than ${this.#options.maxBytesOut} bytes (limits.bytesPerResult)`,
        ),
        closeCodes.policyViolation,
      );
      return;
    }
    const work = side.isUpstream ? this.#options.fromUpstream : this.#options.fromAgent;
    const opcode = kind === "text" ? opcodes.text : opcodes.binary;
    const other = this.#other(side);
    for (const piece of work.take(kind, bytes, isFirst, isLast))
      this.#say(other, piece.isFirst ? opcode : opcodes.continuation, piece.isLast, piece.bytes);
  }

  #heardClose(side: Side, code: number | undefined, reason: string): void {
    side.heardClose = true;
    const other = this.#other(side);
    this.#sayClose(other, code, reason);
    this.#closeWithin(closeTimeoutMs);
    this.#finishIfClosed();
  }

  #sayClose(side: Side, code: number | undefined, reason: string): void {
    if (side.saidClose) return;
    this.#say(side, opcodes.close, true, closePayload(code, reason));
    side.saidClose = true;
    this.#finishIfClosed();
  }

  /** Each side said it and heard it: the connections end, an agent's by us, as a server does (section 7.1.1). */
  #finishIfClosed(): void {
    for (const side of [this.#agent, this.#upstream])
      if (side.saidClose && side.heardClose && !side.stream.writableEnded) side.stream.end();
  }

  #say(side: Side, opcode: Opcode, isFinal: boolean, payload: Buffer): void {
    if (side.saidClose || !side.stream.writable) return;
    const key = side.isUpstream ? randomBytes(4) : undefined;
    side.stream.write(encodeFrame(opcode, isFinal, payload, key));
  }

  /** A side that leaves without a Close was cut off, and so is the other: it must not take that for an end. */
  #left(side: Side): void {
    side.isGone = true;
    const other = this.#other(side);
    if (other.isGone) this.#finish();
    else if (!side.heardClose && !this.#isEnding) {
      if (side.isUpstream)
        this.#cause = new ProxyError("UpstreamProtocol", "the upstream broke the WebSocket off");
      this.#finish();
    }
  }

  #closeWithin(ms: number): void {
    this.#closing ??= setTimeout(() => this.#finish(), ms);
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#isEnding = true;
    clearTimeout(this.#idle);
    clearTimeout(this.#closing);
    this.#agent.stream.destroy();
    this.#upstream.stream.destroy();
    this.#resolve({ bytesIn: this.#bytesIn, bytesOut: this.#bytesOut, cause: this.#cause });
  }

  #onIdle(): void {
    const seconds = Math.round(this.#options.idleMs / 1000);
    this.end(
      new ProxyError("LimitExceeded", `nothing was said for ${seconds} s (limits.idleTimeout)`),
      closeCodes.goingAway,
    );
  }
}
