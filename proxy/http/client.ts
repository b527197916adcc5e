// One connection of the agent: its sessions (one for each Connection it reaches), the exchanges under way on it, and when it ends.
import { ProxyError } from "../errors.ts";
import { endDeadlineMs } from "../pipeline.ts";
import type { Gate, GateSession } from "../pipeline.ts";
import type { Exchange } from "./exchange.ts";
import { FieldMemory } from "./head.ts";
import { SentHeaders } from "./headers.ts";
import type { InboundLeg } from "./inbound.ts";
import { RecognisedMemory } from "./recognised.ts";
import type { HttpRoute } from "./room.ts";

/** How long an idle connection stays to hear why it is cut. */
const cutLingerMs = 2_000;

export class ClientConnection {
  readonly route: HttpRoute;
  /** The name in the TLS handshake, lower case; undefined where there was none. */
  readonly servername: string | undefined;
  readonly fields = new FieldMemory();
  readonly sentHeaders = new SentHeaders();
  readonly recognised = new RecognisedMemory();
  readonly #sessions = new Map<Gate, GateSession>();
  /** Where there is one at a time, as in HTTP/1.1, it stands here: a set that is emptied makes itself a new table. */
  #exchange: Exchange | undefined;
  readonly #others = new Set<Exchange>();
  #leg: InboundLeg | undefined;
  #ended: ProxyError | undefined;
  #cut: NodeJS.Timeout | undefined;

  constructor(route: HttpRoute, servername: string | undefined) {
    this.route = route;
    this.servername = servername;
  }

  /** What carries its requests; known a moment later, since it is made with this. */
  set leg(leg: InboundLeg) {
    this.#leg = leg;
  }

  begin(exchange: Exchange): void {
    if (this.#exchange === undefined) this.#exchange = exchange;
    else this.#others.add(exchange);
    // It will be refused: its session has ended. Its answer is the last one here.
    if (this.#ended !== undefined) this.#leg?.close();
  }

  finished(exchange: Exchange): void {
    if (this.#exchange === exchange) this.#exchange = undefined;
    else this.#others.delete(exchange);
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

  /** The session outlives this connection, which it was opened on: whoever takes it closes it. */
  release(session: GateSession): void {
    for (const [gate, known] of this.#sessions) if (known === session) this.#sessions.delete(gate);
  }

  /** Finishes what is being answered and then closes; what a quarantine names is cut at once. */
  end(reason: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended =
      reason instanceof ProxyError ? reason : new ProxyError("GrantEnded", "the session is over");
    const isCut = this.#ended.code === "Quarantined";
    const isIdle = this.#exchange === undefined && this.#others.size === 0;
    // Idle: the client finds it closed and opens another, which the gate judges afresh. After a cut its next request may be on
    // its way already; for a moment that is refused with the reason, where a closed connection would say nothing.
    if (!isCut || !isIdle) this.#leg?.close();
    // What was not answered yet is told why; what is being answered breaks off.
    if (isCut) this.#cutAll(this.#ended);
    this.#cut = setTimeout(() => this.destroy(), isCut ? cutLingerMs : endDeadlineMs);
  }

  #cutAll(reason: ProxyError): void {
    this.#exchange?.end(reason);
    for (const exchange of this.#others) exchange.end(reason);
  }

  /** Ends it now. */
  destroy(): void {
    this.#leg?.destroy();
  }

  /** The connection is closed, or serves another protocol from here on. */
  closed(): void {
    clearTimeout(this.#cut);
    for (const session of this.#sessions.values()) session.close(this.#ended);
    this.#sessions.clear();
  }
}
