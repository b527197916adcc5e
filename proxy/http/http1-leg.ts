// One connection of an agent that speaks HTTP/1.1: its requests are read and served one after the other, and what waits is bounded.
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";

import { ClientGone } from "./body.ts";
import { Http1Request } from "./http1-request.ts";
import type { Http1Wire } from "./http1-request.ts";
import type { FlatHeaders, InboundEvents, InboundLeg, InboundSink } from "./inbound.ts";
import { unreadableOf } from "./refusal.ts";
import { RequestParser, Unreadable } from "./request-parser.ts";
import type { ReadRequest, RequestSink } from "./request-parser.ts";
import type { SharedReads } from "../net/shared-reads.ts";

/** Of a body nobody reads at the moment, and of requests sent without waiting for the answer before; more stays with the sender. */
const maxWaitingBytes = 64 * 1024;
/** From the first byte of a head to its last. An agent on the same machine needs none of it. */
const headSeconds = 20;
/** A kept-alive connection without a request is closed after this; client libraries keep theirs for 5 to 60 s. */
const idleSeconds = 75;
/** No byte either way during an exchange: longer than the upstream may take for its first. */
const stalledSeconds = 660;
/** A client that was answered for the last time closes at once, or is cut. */
const lingerSeconds = 2;
/** What nobody reads of a body is taken off the wire, so that its sender gets to read the answer. From the same machine this is some ten milliseconds of reading. */
const maxDiscardBytes = 16 * 1024 * 1024;
const discardSeconds = 10;

/** The seconds of all connections. */
export interface LegClock {
  /** Counts up once a second. */
  readonly second: number;
  date(): string;
}

/**
 * - `ready`: no request, or a part of its head.
 * - `serving`: one is being answered; what follows waits.
 * - `discarding`: it is answered, and the rest of its body comes.
 * - `lingering`: nothing is read any more, and our side is ended.
 */
type Phase = "ready" | "serving" | "discarding" | "lingering";

export class Http1Leg implements InboundLeg, RequestSink, Http1Wire {
  readonly #socket: Socket;
  readonly #sink: InboundSink;
  readonly #clock: LegClock;
  readonly #reads: SharedReads;
  readonly #parser: RequestParser;
  #phase: Phase = "ready";
  /** When the phase began, or bytes last moved in it; of a head, when its first byte came. */
  #since: number;
  #isInHead = false;
  #moved = 0;
  #discarded = 0;
  #request: Http1Request | undefined;
  #events: InboundEvents | undefined;
  #isClosing = false;
  #isBroken = false;
  #isPaused = false;
  #isGathering = false;

  /** @param reads where a plain connection's bytes come, instead of `data` events */
  constructor(accepted: Socket, sink: InboundSink, clock: LegClock, reads: SharedReads) {
    const taken =
      accepted instanceof TLSSocket
        ? undefined
        : reads.take(accepted, (chunk) => this.#onData(chunk));
    const socket = taken ?? accepted;
    this.#socket = socket;
    this.#sink = sink;
    this.#clock = clock;
    this.#reads = reads;
    this.#since = clock.second;
    this.#parser = new RequestParser(this);
    if (taken === undefined) socket.on("data", this.#onData);
    socket.on("drain", this.#onDrain);
    socket.on("end", this.#onEnd);
    socket.on("error", this.#onError);
    socket.on("close", this.#onClose);
    socket.resume();
  }

  get isClosing(): boolean {
    return this.#isClosing;
  }

  close(): void {
    this.#isClosing = true;
    if (this.#phase === "ready") this.#endSocket();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Ends what waits for too long; called every second. */
  check(): void {
    const seconds = this.#clock.second - this.#since;
    switch (this.#phase) {
      case "ready":
        if (this.#isInHead && seconds > headSeconds) this.#unreadable(lateHead());
        else if (seconds > idleSeconds) this.#socket.destroy();
        break;
      case "serving":
        this.#checkMoving(seconds);
        break;
      case "discarding":
        if (seconds > discardSeconds) this.#socket.destroy();
        break;
      case "lingering":
        // A slow client gets its last answer to the end.
        if (this.#socket.writableLength > 0) this.#checkMoving(seconds);
        else if (seconds > lingerSeconds) this.#socket.destroy();
        break;
      default:
        this.#phase satisfies never;
    }
  }

  // Of the parser.

  head(read: ReadRequest): void {
    const request = new Http1Request(read, this);
    this.#enter("serving");
    this.#isInHead = false;
    this.#request = request;
    if (read.isLast) this.#isClosing = true;
    if (!request.isComplete) this.#parser.pause();
    const events = this.#sink.request(request);
    if (!request.isOver) this.#events = events;
  }

  data(chunk: Buffer, isOwn: boolean): void {
    if (this.#phase === "serving") {
      this.#request?.take(chunk, isOwn);
      return;
    }
    this.#discarded += chunk.length;
    if (this.#discarded > maxDiscardBytes) this.#socket.destroy();
  }

  end(trailers: FlatHeaders): void {
    this.#request?.complete(trailers);
    if (this.#phase === "discarding") this.#next();
  }

  // Of the request.

  date(): string {
    return this.#clock.date();
  }

  write(bytes: string | Buffer): boolean {
    return typeof bytes === "string"
      ? this.#socket.write(bytes, "latin1")
      : this.#socket.write(bytes);
  }

  gather(): void {
    if (this.#isGathering) return;
    this.#isGathering = true;
    this.#socket.cork();
    process.nextTick(this.#ungather);
  }

  pauseBody(): void {
    if (this.#phase === "serving") this.#parser.pause();
  }

  resumeBody(): void {
    if (this.#phase === "serving") this.#read(this.#resumeParser);
  }

  answered(request: Http1Request): void {
    if (this.#request !== request) return;
    this.#events = undefined;
    if (request.isComplete) {
      this.#next();
      return;
    }
    // Whoever still waits for it need not any more.
    request.fail(new ClientGone());
    if (this.#isBroken || request.owesContinue) this.#endSocket();
    else {
      this.#discarded = 0;
      this.#enter("discarding");
      this.#read(this.#resumeParser);
    }
  }

  abort(request: Http1Request): void {
    if (this.#request === request) this.#events = undefined;
    // TLS has its own end mark, which destroy leaves out; plain TCP needs a reset to differ from the end of a close-delimited answer.
    if (this.#socket instanceof TLSSocket) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  release(): Socket {
    const socket = this.#socket;
    this.#events = undefined;
    socket.off("data", this.#onData).off("drain", this.#onDrain).off("end", this.#onEnd);
    socket.off("error", this.#onError).off("close", this.#onClose);
    socket.pause();
    const released = socket instanceof TLSSocket ? socket : this.#reads.release(socket);
    released.on("error", () => released.destroy());
    // What the client sent without waiting belongs to whoever takes it.
    const rest = this.#parser.rest();
    if (rest.length > 0) released.unshift(rest);
    this.#sink.closed();
    return released;
  }

  readonly #resumeParser = (): void => this.#parser.resume();
  readonly #nextRequest = (): void => this.#parser.next();

  readonly #ungather = (): void => {
    this.#isGathering = false;
    this.#socket.uncork();
  };

  readonly #onData = (chunk: Buffer): void => {
    if (this.#phase === "lingering" || this.#isBroken) return;
    try {
      this.#parser.push(chunk);
    } catch (error) {
      this.#unreadable(error);
      return;
    }
    this.#afterReading();
  };

  readonly #onDrain = (): void => this.#events?.drained();

  /** Whoever ends its side does not wait for an answer, as far as HTTP servers are concerned. */
  readonly #onEnd = (): void => {
    if (this.#phase === "serving") {
      this.#leave();
      this.#socket.destroy();
    } else if (!this.#socket.writableEnded) this.#socket.end();
  };

  readonly #onError = (): void => {
    this.#socket.destroy();
  };

  readonly #onClose = (): void => {
    this.#leave();
    this.#sink.closed();
  };

  #read(how: () => void): void {
    if (this.#isBroken) return;
    try {
      how();
    } catch (error) {
      this.#unreadable(error);
      return;
    }
    this.#afterReading();
  }

  #afterReading(): void {
    const isFull = this.#parser.waiting > maxWaitingBytes;
    if (isFull !== this.#isPaused) {
      this.#isPaused = isFull;
      if (isFull) this.#socket.pause();
      else this.#socket.resume();
    }
    if (this.#phase !== "ready" || this.#isInHead === this.#parser.isInHead) return;
    this.#isInHead = this.#parser.isInHead;
    this.#since = this.#clock.second;
  }

  #next(): void {
    this.#request = undefined;
    if (this.#isClosing) {
      this.#endSocket();
      return;
    }
    this.#enter("ready");
    this.#read(this.#nextRequest);
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#since = this.#clock.second;
  }

  /** Ours ends with what was written; theirs is read off, since an unread byte would reset the answer away. */
  #endSocket(): void {
    this.#enter("lingering");
    this.#request = undefined;
    this.#parser.rest();
    if (this.#isPaused) this.#socket.resume();
    this.#socket.end();
  }

  #unreadable(error: unknown): void {
    if (!(error instanceof Unreadable)) throw error;
    this.#isBroken = true;
    this.#isClosing = true;
    if (this.#phase === "serving") {
      this.#request?.fail(error);
      this.#events?.broken(error);
      return;
    }
    if (this.#phase === "ready") {
      this.#sink.malformed(error);
      this.#answerUnreadable(error);
    }
    this.#endSocket();
  }

  #answerUnreadable(error: Unreadable): void {
    if (error.answerBytes !== undefined) {
      this.#socket.write(error.answerBytes);
      return;
    }
    const request = new Http1Request(nobody, this);
    const { status, headers, body } = unreadableOf(error);
    request.begin(status, headers);
    request.end(body);
  }

  /** The client is gone: what is under way hears of it once. */
  #leave(): void {
    const events = this.#events;
    const request = this.#request;
    this.#events = undefined;
    this.#request = undefined;
    if (request === undefined || request.isOver) return;
    request.isOver = true;
    events?.gone();
    request.fail(new ClientGone());
  }

  #checkMoving(seconds: number): void {
    const { bytesRead, bytesWritten, writableLength } = this.#socket;
    const moved = bytesRead + bytesWritten - writableLength;
    if (moved !== this.#moved) this.#since = this.#clock.second;
    else if (seconds > stalledSeconds) this.#socket.destroy();
    this.#moved = moved;
  }
}

/** What could not be read has an answer all the same. */
const nobody: ReadRequest = {
  method: "GET",
  target: "",
  isOld: false,
  headers: [],
  length: 0,
  isLast: true,
  expectsContinue: false,
};

function lateHead(): Unreadable {
  return new Unreadable(
    408,
    "MalformedRequest",
    `the head of the request did not arrive within ${headSeconds} s`,
  );
}
