// The HTTP room: takes connections of the agent, on whichever listener they came, and answers their requests through the gates of their route.
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";

import type { ConnectionId } from "../../policy/operation.ts";
import { ProxyError } from "../errors.ts";
import type { Dial } from "../net/dial.ts";
import { endDeadlineMs } from "../pipeline.ts";
import type { Gate } from "../pipeline.ts";
import { ClientConnection } from "./client.ts";
import { Exchange } from "./exchange.ts";
import { forward } from "./forward.ts";
import type { ForwardContext } from "./forward.ts";
import type { Guard } from "./guard.ts";
import { maxHeaders } from "./head.ts";
import { refusalOf } from "./refusal.ts";
import { Upstreams } from "./upstreams.ts";

/** What a listener knows of the requests that arrive there. */
export interface HttpRoute {
  readonly scheme: "http" | "https";
  /**
   * The connection that serves this host and path, or undefined. Several can share a host: the longest endpoint path wins.
   *
   * @param host lower case, without port
   * @param path as sent, without query
   * @param port of the Host header, if it names one
   */
  select(host: string, path: string, port: number | undefined): Gate | undefined;
  /** Local mode: refuse what a web page sends. */
  readonly guard?: Guard;
  /** A forward proxy's listener: which route serves an absolute URL there. Throws ProxyError when none does. */
  named?(host: string, port: number): HttpRoute;
  /** A forward proxy's listener takes CONNECT, or throws ProxyError; everywhere else it is refused. */
  connect?(authority: string, request: IncomingMessage, socket: Socket, first: Buffer): void;
}

export interface HttpRoomOptions {
  readonly dial: Dial;
  /** PEM of the CAs trusted for upstreams that name none of their own. */
  readonly roots?: readonly string[];
  /** A failure that no code of the registry describes: for a log line. The agent hears only that it failed. */
  readonly onUnexpected?: (error: unknown) => void;
  /** Refused before it became an operation: for the record. */
  readonly onRefused?: (error: ProxyError, connection?: ConnectionId) => void;
}

export interface HttpRoom {
  /** Takes a connection before its first byte; TLS is already ended. */
  accept(socket: Socket | TLSSocket, route: HttpRoute): void;
  /** Lets what is being answered end, within the deadline. */
  close(deadlineMs?: number): Promise<void>;
}

/** For the head of a request, from its first byte. An agent on the same machine needs none of it. */
const headersTimeoutMs = 20_000;
/** A client that was answered for the last time closes at once, or is cut. */
const lingerMs = 2_000;
/** Node's own default is 16 KiB; agents carry cookies and long tokens. */
const maxHeaderSize = 32 * 1024;

export function createHttpRoom(options: HttpRoomOptions): HttpRoom {
  return new Room(options);
}

class Room implements HttpRoom {
  readonly #server: Server;
  readonly #context: ForwardContext;
  readonly #clients = new Map<Duplex, ClientConnection>();
  #closing = false;

  constructor(options: HttpRoomOptions) {
    this.#context = {
      upstreams: new Upstreams(options),
      onUnexpected: options.onUnexpected ?? ignore,
      onRefused: options.onRefused ?? ignore,
    };
    this.#server = createServer({
      insecureHTTPParser: false,
      maxHeaderSize,
      headersTimeout: headersTimeoutMs,
      connectionsCheckingInterval: headersTimeoutMs / 4,
      // No limit on the whole of a request: an upload may take its time, as long as bytes move (client.ts).
      requestTimeout: 0,
      // Idle connections are client.ts's, which knows whether one is in use.
      keepAliveTimeout: 0,
      noDelay: true,
    });
    this.#server.maxHeadersCount = maxHeaders + 1;
    this.#server.on("request", (request, response) => this.#serve(request, response, false));
    this.#server.on("checkContinue", (request, response) => this.#serve(request, response, true));
    this.#server.on("connect", (request, socket, first) => this.#connect(request, socket, first));
    this.#server.on("clientError", (error, socket) => this.#malformed(error, socket));
    // Node starts its check of `headersTimeout` when a server listens; this one is handed its connections instead.
    this.#server.emit("listening");
  }

  accept(socket: Socket | TLSSocket, route: HttpRoute): void {
    if (this.#closing || socket.destroyed) {
      socket.destroy();
      return;
    }
    const client = new ClientConnection(
      socket,
      route,
      (exchange) => void forward(exchange, this.#context),
    );
    this.#clients.set(socket, client);
    socket.once("close", () => this.#clients.delete(socket));
    this.#server.emit("connection", socket);
    if (socket instanceof TLSSocket) readThroughStream(socket);
  }

  async close(deadlineMs = endDeadlineMs): Promise<void> {
    this.#closing = true;
    const cut = setTimeout(
      () => this.#clients.forEach((client) => client.socket.destroy()),
      deadlineMs,
    );
    const ended: Promise<void>[] = [];
    for (const client of this.#clients.values()) {
      ended.push(new Promise((resolve) => client.socket.once("close", resolve)));
      client.end(new ProxyError("ShuttingDown", "the proxy is shutting down"));
    }
    await Promise.all(ended);
    clearTimeout(cut);
    this.#server.close();
    await this.#context.upstreams.close();
  }

  #serve(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    const client = this.#clients.get(request.socket);
    if (client === undefined) {
      request.socket.destroy();
      return;
    }
    // Writing to a connection that is gone is an error of the response, which its `close` has told already.
    response.on("error", ignore);
    client.begin(new Exchange(request, response, client, expectsContinue));
  }

  #connect(request: IncomingMessage, socket: Duplex, first: Buffer): void {
    const client = this.#clients.get(socket);
    try {
      if (client?.route.connect === undefined)
        throw new ProxyError(
          "NotSupported",
          "CONNECT is not served here: send requests to the address of a Connection",
        );
      this.#clients.delete(socket);
      client.route.connect(request.url ?? "", request, client.release(), first);
    } catch (error) {
      const refusal =
        error instanceof ProxyError
          ? error
          : new ProxyError("MalformedRequest", "the request is not well-formed HTTP/1.1");
      this.#context.onRefused(refusal);
      answerRaw(socket, refusal);
    }
  }

  /** What Node's parser refuses never becomes a request. */
  #malformed(error: Error & { code?: string }, socket: Duplex): void {
    if (!socket.writable || error.code === "ECONNRESET") {
      socket.destroy();
      return;
    }
    const refusal = parserError(error.code);
    // A client that leaves in the middle of a request sent nothing wrong.
    if (error.code !== "HPE_INVALID_EOF_STATE") this.#context.onRefused(refusal);
    if (this.#clients.get(socket)?.endAfterAnswers(refusal) !== true) answerRaw(socket, refusal);
  }
}

/**
 * Node's parser takes what it reads from the socket's handle, and pauses when a request comes while the answer before it is not yet
 * drained. A TLS handle does not pause with it: it goes on with the records it has already, and what follows the head is taken for
 * malformed (HPE_PAUSED). With a listener of ours the parser is fed by the stream, which keeps what comes while it is paused.
 */
function readThroughStream(socket: TLSSocket): void {
  socket.on("data", ignore);
}

function parserError(code: string | undefined): ProxyError {
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

/** Where there is no response object: one message, then the end. */
function answerRaw(socket: Duplex, error: ProxyError): void {
  const { status, headers, body } = refusalOf(error, undefined, undefined);
  let text = `HTTP/1.1 ${status} ${error.code}\r\n`;
  for (let at = 0; at + 1 < headers.length; at += 2)
    text += `${headers[at]}: ${headers[at + 1]}\r\n`;
  socket.end(Buffer.concat([Buffer.from(`${text}connection: close\r\n\r\n`, "latin1"), body]));
  // Nobody reads here any more: unread, the client's end would never be seen, and an unread byte would reset the answer away.
  socket.resume();
  const cut = setTimeout(() => socket.destroy(), lingerMs).unref();
  socket.once("close", () => clearTimeout(cut));
}

function ignore(): void {}
