// The HTTP room: takes connections of the agent, on whichever listener they came, and answers their requests through the gates of their route.
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";

import type { ConnectionId } from "../../policy/operation.ts";
import { ProxyError } from "../errors.ts";
import type { Dial } from "../net/dial.ts";
import { endDeadlineMs } from "../pipeline.ts";
import type { Gate, Passage } from "../pipeline.ts";
import { BodyBudget, maxHeldBytes } from "./body-budget.ts";
import { ClientConnection } from "./client.ts";
import { Exchange } from "./exchange.ts";
import { forward } from "./forward.ts";
import type { ForwardContext } from "./forward.ts";
import type { Guard } from "./guard.ts";
import { H2Legs } from "./h2-leg.ts";
import { Http1Legs } from "./http1-legs.ts";
import type { FlatHeaders, InboundRequest, InboundSink } from "./inbound.ts";
import type { AskMcp } from "./mcp/ask.ts";
import { Upstreams } from "./upstreams.ts";
import { WebSockets } from "./websocket/websockets.ts";

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
  /** A forward proxy's listener takes CONNECT. Throws ProxyError when nobody takes the tunnel to this authority; everywhere else it is refused. */
  connect?(
    authority: string,
    headers: FlatHeaders,
    signal: AbortSignal,
  ): TunnelAnswer | Promise<TunnelAnswer>;
}

/** Who takes a tunnel once it is open, or a refusal that is in the record already. */
export type TunnelAnswer =
  | { readonly take: (tunnel: Duplex) => void }
  | Extract<Passage, { go: false }>;

export interface HttpRoomOptions {
  readonly dial: Dial;
  /** PEM of the CAs trusted for upstreams that name none of their own. */
  readonly roots?: readonly string[];
  /** How long a body waits for room when those under way hold all that they may. */
  readonly bodyPatienceMs?: number;
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

export function createHttpRoom(options: HttpRoomOptions): HttpRoom {
  return new Room(options);
}

class Room implements HttpRoom {
  readonly #legs = new Http1Legs();
  readonly #h2Legs = new H2Legs();
  readonly #context: ForwardContext;
  readonly #budget: BodyBudget;
  readonly #clients = new Set<ClientConnection>();
  #closing: PromiseWithResolvers<void> | undefined;

  constructor(options: HttpRoomOptions) {
    this.#budget = new BodyBudget(maxHeldBytes, options.bodyPatienceMs);
    this.#context = {
      upstreams: new Upstreams(options),
      webSockets: new WebSockets(),
      mcp: askMcpLater(),
      onUnexpected: options.onUnexpected ?? ignore,
      onRefused: options.onRefused ?? ignore,
    };
  }

  accept(socket: Socket | TLSSocket, route: HttpRoute): void {
    if (this.#closing !== undefined || socket.destroyed) {
      socket.destroy();
      return;
    }
    const named = socket instanceof TLSSocket ? socket.servername : undefined;
    const servername = typeof named === "string" ? named.toLowerCase() : undefined;
    const client = new ClientConnection(route, servername);
    this.#clients.add(client);
    const sink = this.#sinkOf(client);
    client.leg =
      socket instanceof TLSSocket && socket.alpnProtocol === "h2"
        ? this.#h2Legs.accept(socket, sink)
        : this.#legs.accept(socket, sink);
  }

  async close(deadlineMs = endDeadlineMs): Promise<void> {
    this.#closing = Promise.withResolvers<void>();
    const cut = setTimeout(() => {
      for (const client of this.#clients) client.destroy();
    }, deadlineMs);
    for (const client of this.#clients)
      client.end(new ProxyError("ShuttingDown", "the proxy is shutting down"));
    this.#context.webSockets.close();
    this.#settle();
    await this.#closing.promise;
    clearTimeout(cut);
    this.#legs.close();
    this.#h2Legs.close();
    await this.#context.upstreams.close();
  }

  #sinkOf(client: ClientConnection): InboundSink {
    return {
      request: (request: InboundRequest) => {
        const exchange = new Exchange(request, client, this.#budget);
        client.begin(exchange);
        forward(exchange, this.#context);
        return exchange;
      },
      malformed: (error) => this.#context.onRefused(error),
      closed: () => {
        this.#clients.delete(client);
        client.closed();
        this.#settle();
      },
    };
  }

  #settle(): void {
    if (this.#clients.size === 0) this.#closing?.resolve();
  }
}

/** Loaded with the first request that needs it: few pods have an MCP server. */
function askMcpLater(): AskMcp {
  let loaded: Promise<AskMcp> | undefined;
  return async (asking) => {
    loaded ??= import("./mcp/ask.ts").then(({ createAskMcp }) => createAskMcp());
    return (await loaded)(asking);
  };
}

function ignore(): void {}
