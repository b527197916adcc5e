// One connection of the agent: its sessions (one for each Connection it reaches), the exchanges under way on it, and when it ends.
import type { Socket } from "node:net";

import { ProxyError } from "../errors.ts";
import { endDeadlineMs } from "../pipeline.ts";
import type { Gate, GateSession } from "../pipeline.ts";
import type { Exchange } from "./exchange.ts";
import type { HttpRoute } from "./room.ts";

/** A kept-alive connection without a request is closed after this; client libraries keep theirs for 5 to 60 s. */
const idleMs = 75_000;
/** No byte either way during an exchange: longer than the upstream may take for its first. */
const stalledMs = 660_000;
/** How long an idle connection stays to hear why it is cut. */
const cutLingerMs = 2_000;
/** HTTP pipelining is obsolete; a client that sends more at once without reading is not one of ours. */
const maxPipelined = 16;

export class ClientConnection {
  readonly socket: Socket;
  readonly route: HttpRoute;
  readonly #sessions = new Map<Gate, GateSession>();
  /** The first is being answered, the others wait for their turn. */
  readonly #exchanges: Exchange[] = [];
  readonly #start: (exchange: Exchange) => void;
  readonly #gone = new AbortController();
  #ended: ProxyError | undefined;
  #stillMs = 0;
  #bytes = 0;

  constructor(socket: Socket, route: HttpRoute, start: (exchange: Exchange) => void) {
    this.socket = socket;
    this.route = route;
    this.#start = start;
    socket.setTimeout(idleMs);
    socket.on("timeout", this.#onTimeout);
    socket.once("close", this.#onClose);
  }

  /** Aborts when the agent closes the connection. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** Set once a session here has ended: answers still to come close the connection. */
  get ended(): ProxyError | undefined {
    return this.#ended;
  }

  /** Requests of one connection are forwarded one after the other, as their sender wrote them. */
  begin(exchange: Exchange): void {
    if (this.#exchanges.length >= maxPipelined) {
      this.socket.destroy();
      return;
    }
    if (this.#exchanges.push(exchange) === 1) this.#start(exchange);
  }

  finished(exchange: Exchange): void {
    if (this.#exchanges[0] !== exchange) return;
    this.#exchanges.shift();
    const [next] = this.#exchanges;
    if (next !== undefined) this.#start(next);
    else if (this.#ended !== undefined) this.socket.end();
  }

  /** What follows on this connection cannot be read. True when an answer is still to come, after which it closes. */
  endAfterAnswers(error: ProxyError): boolean {
    const [current] = this.#exchanges;
    if (current === undefined) return false;
    const broken = this.#exchanges.find(({ request }) => !request.complete);
    // A body that cannot be read to its end is its own request's failure, said where no answer has begun.
    if (broken === undefined) this.end(error);
    else if (broken === current && current.cut(error)) this.socket.end();
    else this.socket.destroy();
    return true;
  }

  /** The session of this connection with one gate, opened at its first request. */
  session(gate: Gate, chain: string | undefined): GateSession {
    if (this.#ended !== undefined) throw this.#ended;
    const known = this.#sessions.get(gate);
    if (known !== undefined) {
      // A request without the header claims nothing: what the one before it claimed does not stay.
      known.setChain(chain);
      return known;
    }
    const session = gate.open(chain === undefined ? {} : { chain });
    this.#sessions.set(gate, session);
    if (session.ended.aborted) this.end(session.ended.reason);
    else
      session.ended.addEventListener("abort", () => this.end(session.ended.reason), { once: true });
    return session;
  }

  /** Finishes what is being answered and then closes; what a quarantine names is cut at once. */
  end(reason: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended =
      reason instanceof ProxyError ? reason : new ProxyError("GrantEnded", "the session is over");
    const isCut = this.#ended.code === "Quarantined";
    const [current] = this.#exchanges;
    // What was not answered yet is told why; what is being answered breaks off.
    if (isCut && current !== undefined && !current.cut(this.#ended)) {
      this.socket.destroy();
      return;
    }
    // Idle: the client finds it closed and opens another, which the gate judges afresh. After a cut its next request may be on
    // its way already; for a moment that is refused with the reason, where a closed connection would say nothing.
    if (this.#exchanges.length === 0 && (!isCut || current !== undefined)) this.socket.end();
    const cut = setTimeout(() => this.socket.destroy(), isCut ? cutLingerMs : endDeadlineMs);
    this.socket.once("close", () => clearTimeout(cut));
  }

  /** Gives the socket up to another protocol (CONNECT). */
  release(): Socket {
    this.socket.setTimeout(0);
    this.socket.off("timeout", this.#onTimeout).off("close", this.#onClose);
    this.#onClose();
    return this.socket;
  }

  readonly #onTimeout = (): void => {
    if (this.#exchanges.length === 0) {
      this.socket.destroy();
      return;
    }
    const bytes = this.socket.bytesRead + this.socket.bytesWritten;
    this.#stillMs = bytes === this.#bytes ? this.#stillMs + idleMs : idleMs;
    this.#bytes = bytes;
    if (this.#stillMs >= stalledMs) this.socket.destroy();
    else this.socket.setTimeout(idleMs);
  };

  readonly #onClose = (): void => {
    for (const exchange of this.#exchanges.splice(0)) exchange.clientGone();
    this.#gone.abort(new ProxyError("ShuttingDown", "the client closed its connection"));
    for (const session of this.#sessions.values()) session.close(this.#ended);
    this.#sessions.clear();
  };
}
