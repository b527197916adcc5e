// HTTP/1.1 from the agent, read and written by node:http: requests of one connection are served one after the other.
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";

import { ProxyError } from "../errors.ts";
import { ClientGone } from "./body.ts";
import { cleartextError, cleartextRefusal } from "./h2-cleartext.ts";
import { maxHeaders } from "./head.ts";
import type {
  BodyReader,
  InboundAnswer,
  InboundBody,
  InboundEvents,
  InboundLeg,
  InboundRequest,
  InboundSink,
} from "./inbound.ts";
import { refusalOf } from "./refusal.ts";

/** For the head of a request, from its first byte. An agent on the same machine needs none of it. */
const headersTimeoutMs = 20_000;
/** Node's own default is 16 KiB; agents carry cookies and long tokens. */
const maxHeaderSize = 32 * 1024;
/** A kept-alive connection without a request is closed after this; client libraries keep theirs for 5 to 60 s. */
const idleMs = 75_000;
/** No byte either way during an exchange: longer than the upstream may take for its first. */
const stalledMs = 660_000;
/** HTTP pipelining is obsolete; a client that sends more at once without reading is not one of ours. */
const maxPipelined = 16;
/** A client that was answered for the last time closes at once, or is cut. */
const lingerMs = 2_000;
/** What nobody reads of a body; from the same machine this is some ten milliseconds of reading. */
const discardLimit = 16 * 1024 * 1024;
const discardMs = 10_000;

/** The connections that node:http reads. */
export class NodeLegs {
  readonly #server: Server;
  readonly #legs = new Map<Duplex, NodeLeg>();

  constructor() {
    this.#server = createServer({
      insecureHTTPParser: false,
      maxHeaderSize,
      headersTimeout: headersTimeoutMs,
      connectionsCheckingInterval: headersTimeoutMs / 4,
      // No limit on the whole of a request: an upload may take its time, as long as bytes move.
      requestTimeout: 0,
      keepAliveTimeout: 0,
      noDelay: true,
    });
    this.#server.maxHeadersCount = maxHeaders + 1;
    this.#server.on("request", (request, response) => this.#begin(request, response, false));
    this.#server.on("checkContinue", (request, response) => this.#begin(request, response, true));
    this.#server.on("connect", (request, socket, first) =>
      this.#legs.get(socket)?.connect(request, first),
    );
    this.#server.on("clientError", (error, socket) => {
      const leg = this.#legs.get(socket);
      if (leg === undefined || !socket.writable || "code" in error === false) socket.destroy();
      else leg.malformed(String(error.code));
    });
    // Node starts its check of `headersTimeout` when a server listens; this one is handed its connections instead.
    this.#server.emit("listening");
  }

  accept(socket: Socket, sink: InboundSink): InboundLeg {
    const leg = new NodeLeg(socket, sink);
    this.#legs.set(socket, leg);
    socket.once("close", () => this.#legs.delete(socket));
    this.#server.emit("connection", socket);
    return leg;
  }

  close(): void {
    this.#server.close();
  }

  #begin(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    const leg = this.#legs.get(request.socket);
    if (leg === undefined) request.socket.destroy();
    else leg.begin(request, response, expectsContinue);
  }
}

class NodeLeg implements InboundLeg {
  readonly #socket: Socket;
  readonly #sink: InboundSink;
  /** The first is being answered, the others wait for their turn. */
  readonly #requests: NodeRequest[] = [];
  #events: InboundEvents | undefined;
  #isClosing = false;
  #stillMs = 0;
  #bytes = 0;

  constructor(socket: Socket, sink: InboundSink) {
    this.#socket = socket;
    this.#sink = sink;
    socket.setTimeout(idleMs);
    socket.on("timeout", this.#onTimeout);
    socket.once("close", this.#onClose);
  }

  get isClosing(): boolean {
    return this.#isClosing;
  }

  close(): void {
    this.#isClosing = true;
    if (this.#requests.length === 0) this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  begin(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    // Writing to a connection that is gone is an error of the response, which its `close` has told already.
    response.on("error", ignore);
    if (this.#requests.length >= maxPipelined) {
      this.#socket.destroy();
      return;
    }
    this.#requests.push(new NodeRequest(request, response, this, expectsContinue));
    if (this.#requests.length === 1) this.#next();
  }

  connect(request: IncomingMessage, first: Buffer): void {
    if (this.#requests.length > 0) {
      this.#socket.destroy();
      return;
    }
    // What the client sent without waiting belongs to the tunnel.
    if (first.length > 0) this.#socket.unshift(first);
    this.#requests.push(new NodeRequest(request, new RawAnswer(this.#socket), this, false));
    this.#next();
  }

  /** What Node's parser refuses never becomes a request. */
  malformed(code: string): void {
    if (code === "ECONNRESET") {
      this.#socket.destroy();
      return;
    }
    const error = parserError(code);
    // A client that leaves in the middle of a request sent nothing wrong.
    if (code !== "HPE_INVALID_EOF_STATE") this.#sink.malformed(error);
    const broken = this.#requests.find(({ isComplete }) => !isComplete);
    this.#isClosing = true;
    if (this.#requests.length === 0) answerRaw(this.#socket, error, code === h2Preface);
    else if (broken === this.#requests[0]) {
      this.#events?.broken(error);
      broken?.fail(error);
    } else if (broken !== undefined) this.#socket.destroy();
  }

  finished(request: NodeRequest): void {
    if (this.#requests[0] !== request) return;
    this.#requests.shift();
    this.#events = undefined;
    if (this.#requests.length > 0) this.#next();
    else if (this.#isClosing) this.#socket.end();
  }

  drained(): void {
    this.#events?.drained();
  }

  abort(): void {
    // TLS has its own end mark, which destroy leaves out; plain TCP needs a reset to differ from the end of a close-delimited answer.
    if (this.#socket instanceof TLSSocket) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  /** Gives the socket up to another protocol. */
  release(): Socket {
    this.#socket.setTimeout(0);
    this.#socket.off("timeout", this.#onTimeout).off("close", this.#onClose);
    this.#requests.length = 0;
    this.#sink.closed();
    return this.#socket;
  }

  #next(): void {
    const [request] = this.#requests;
    if (request === undefined) return;
    const events = this.#sink.request(request);
    // It may be answered already.
    if (this.#requests[0] === request) this.#events = events;
  }

  readonly #onTimeout = (): void => {
    const bytes = this.#socket.bytesRead + this.#socket.bytesWritten;
    this.#stillMs = bytes === this.#bytes ? this.#stillMs + idleMs : idleMs;
    this.#bytes = bytes;
    if (this.#requests.length === 0 || this.#stillMs >= stalledMs) this.#socket.destroy();
    else this.#socket.setTimeout(idleMs);
  };

  readonly #onClose = (): void => {
    this.#events?.gone();
    for (const request of this.#requests.splice(0)) request.fail(new ClientGone());
    this.#events = undefined;
    this.#sink.closed();
  };
}

class NodeRequest implements InboundRequest, InboundBody, InboundAnswer {
  readonly method: string;
  readonly target: string;
  readonly scheme = undefined;
  readonly authority = undefined;
  readonly headers: readonly string[];
  readonly length: number | undefined;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse | RawAnswer;
  readonly #leg: NodeLeg;
  #continueOwed: boolean;
  #isDiscarding = false;
  #reader: BodyReader | undefined;

  constructor(
    request: IncomingMessage,
    response: ServerResponse | RawAnswer,
    leg: NodeLeg,
    expectsContinue: boolean,
  ) {
    this.method = request.method ?? "";
    this.target = request.url ?? "";
    this.headers = request.rawHeaders.map((text, at) => (at % 2 === 0 ? text.toLowerCase() : text));
    const length = request.headers["content-length"];
    const isEndless = request.headers["transfer-encoding"] !== undefined;
    this.length = isEndless ? undefined : Number(length ?? 0);
    this.#request = request;
    this.#response = response;
    this.#leg = leg;
    this.#continueOwed = expectsContinue;
  }

  get body(): InboundBody {
    return this;
  }

  get answer(): InboundAnswer {
    return this;
  }

  get isComplete(): boolean {
    return this.#request.complete && this.#request.readableLength === 0;
  }

  get hasBegun(): boolean {
    return this.#response.headersSent;
  }

  read(reader: BodyReader): void {
    if (this.#continueOwed && !(this.#response instanceof RawAnswer))
      this.#response.writeContinue();
    this.#continueOwed = false;
    if (this.#reader === undefined) {
      this.#request.on("data", (chunk: Buffer) => this.#reader?.data(chunk));
      this.#request.on("end", () => this.#reader?.end([]));
      this.#request.on("error", () => this.fail(new ClientGone()));
    }
    this.#reader = reader;
    this.#request.resume();
  }

  pause(): void {
    if (!this.#isDiscarding) this.#request.pause();
  }

  resume(): void {
    if (!this.#isDiscarding) this.#request.resume();
  }

  fail(error: Error): void {
    if (!this.#request.complete) this.#reader?.failed(error);
    this.#reader = undefined;
  }

  inform(status: number, headers: readonly string[]): void {
    if (this.#request.httpVersionMinor === 0 || this.#response instanceof RawAnswer) return;
    const link = headers[headers.indexOf("link") + 1];
    if (status === 102) this.#response.writeProcessing();
    else if (status === 103 && link !== undefined && headers.includes("link"))
      this.#response.writeEarlyHints({ link });
  }

  begin(status: number, headers: readonly string[]): void {
    const flat = this.#leg.isClosing ? [...headers, "connection", "close"] : [...headers];
    this.#response.writeHead(status, flat);
    // A stream's first byte may be seconds away; the agent learns at once that it was accepted.
    if (!headers.includes("content-length")) this.#response.flushHeaders();
  }

  write(chunk: Buffer): boolean {
    if (this.#response.write(Buffer.from(chunk))) return true;
    this.#response.once("drain", () => this.#leg.drained());
    return false;
  }

  end(last?: Buffer, trailers: readonly string[] = []): void {
    if (trailers.length > 0) this.#response.addTrailers(toPairs(trailers));
    // A string joins the head in one write; as bytes it would be a vector of two.
    if (last === undefined) this.#response.end();
    else this.#response.end(last.toString("latin1"), "latin1");
    this.#leg.finished(this);
    this.#discard();
  }

  abort(): void {
    this.#leg.abort();
  }

  handOver(status: number, headers: readonly string[]): Socket {
    const socket = this.#leg.release();
    socket.write(headOf(status, headers));
    return socket;
  }

  /**
   * Takes the rest of a body that nobody reads off the wire, so that the connection stays usable and the client, which
   * may still be sending, gets to read its answer; one that goes on for too long or stalls loses its connection.
   */
  #discard(): void {
    const request = this.#request;
    this.#isDiscarding = true;
    this.#reader = undefined;
    if (this.isComplete) return;
    let left = discardLimit;
    const timer = setTimeout(() => {
      if (!request.complete) request.socket.destroy();
    }, discardMs).unref();
    request.on("data", (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) request.socket.destroy();
    });
    const done = (): void => clearTimeout(timer);
    request.once("end", done).once("close", done).on("error", done);
    request.resume();
  }
}

/** Where there is no response object: one message, then the end. */
class RawAnswer {
  headersSent = false;
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  writeHead(status: number, headers: readonly string[]): void {
    this.headersSent = true;
    this.#socket.write(headOf(status, [...headers, "connection", "close"]));
  }

  flushHeaders(): void {}

  addTrailers(): void {}

  once(_event: "drain", _listener: () => void): void {}

  write(chunk: Buffer): boolean {
    return this.#socket.write(chunk);
  }

  end(text = "", _encoding?: "latin1"): void {
    this.#socket.end(text, "latin1");
    linger(this.#socket);
  }
}

function headOf(status: number, headers: readonly string[]): string {
  let text = `HTTP/1.1 ${status} \r\n`;
  for (let at = 0; at + 1 < headers.length; at += 2)
    text += `${headers[at]}: ${headers[at + 1]}\r\n`;
  return `${text}\r\n`;
}

function answerRaw(socket: Socket, error: ProxyError, speaksH2: boolean): void {
  if (speaksH2) {
    socket.end(cleartextRefusal(error));
    linger(socket);
    return;
  }
  const { status, headers, body } = refusalOf(error, undefined, undefined);
  const answer = new RawAnswer(socket);
  answer.writeHead(status, headers);
  answer.end(body.toString("latin1"));
}

/** Nobody reads here any more: unread, the client's end would never be seen, and an unread byte would reset the answer away. */
function linger(socket: Socket): void {
  socket.resume();
  const cut = setTimeout(() => socket.destroy(), lingerMs).unref();
  socket.once("close", () => clearTimeout(cut));
}

/** What llhttp says of HTTP/2's first line. */
const h2Preface = "HPE_PAUSED_H2_UPGRADE";

function parserError(code: string): ProxyError {
  if (code === h2Preface) return cleartextError();
  if (code === "HPE_HEADER_OVERFLOW")
    return new ProxyError(
      "TooLarge",
      `the headers of a request may have at most ${maxHeaderSize} bytes`,
    );
  if (code === "ERR_HTTP_REQUEST_TIMEOUT")
    return new ProxyError(
      "MalformedRequest",
      `the head of the request did not arrive within ${headersTimeoutMs / 1_000} s`,
    );
  return new ProxyError("MalformedRequest", "the request is not well-formed HTTP/1.1");
}

function toPairs(flat: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at] ?? "", flat[at + 1] ?? ""]);
  return pairs;
}

function ignore(): void {}
