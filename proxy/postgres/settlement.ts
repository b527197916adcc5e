// Decides a segment before any of it is forwarded: what has to be known is looked up, every operation passes (passing.ts), and the first refusal ends it.
import type { ProxyError } from "../errors.ts";
import type { Passage } from "../pipeline.ts";
import { loadCatalog } from "./catalog-load.ts";
import type { Exchange } from "./exchange.ts";
import { Execution } from "./execution.ts";
import { errorResponse } from "./messages.ts";
import { loadOverloads } from "./overloads.ts";
import { mayShowAnother, Passing } from "./passing.ts";
import { reachesUndecided, refusalMessage, replacedPortal } from "./refusal.ts";
import type { Request } from "./requests.ts";
import { checkSearchPath } from "./search-path.ts";
import { isOutdated, readAgain, refusedSince } from "./second-look.ts";
import { runsByName } from "./unread-code.ts";

/** Where a segment stops: everything from `at` on is not forwarded, and the client gets `answer`. */
export interface Refused {
  readonly at: number;
  readonly answer: Buffer;
}

type Settled = Refused | undefined;

export class Settlement {
  readonly #x: Exchange;
  readonly #passing: Passing;
  #cancelled = false;

  constructor(exchange: Exchange) {
    this.#x = exchange;
    this.#passing = new Passing(exchange);
  }

  /** Synchronous when every operation is allowed and none needs a durable intent. */
  settle(segment: readonly Request[], begun: boolean): Settled | Promise<Settled> {
    this.#cancelled = false;
    const { status, queue, registry, implicit } = this.#x;
    if (status === "I" && !begun && queue.size === 0) registry.unread.noPortals();
    // What ends that transaction may be on its way: only its answer says what can be asked.
    if (!begun && queue.size > 0 && (implicit || status === "E"))
      return this.#x.drained().then(() => this.#looking(segment, begun));
    return this.#looking(segment, begun);
  }

  #looking(segment: readonly Request[], begun: boolean): Settled | Promise<Settled> {
    if (this.#x.path.doubtful && !this.#x.halfSent(begun))
      return checkSearchPath(this.#x, begun).then(() => this.#knowing(segment, begun));
    return this.#knowing(segment, begun);
  }

  #knowing(segment: readonly Request[], begun: boolean): Settled | Promise<Settled> {
    // Where they cannot be read, the statements that need to know say so.
    const { overloads, replication } = this.#x.options;
    if (
      replication !== "physical" &&
      this.#x.mayAsk(begun) &&
      overloads.due(this.#x.status === "I" || segment.some(asksOfDatabase))
    )
      return loadOverloads(this.#x, begun)
        .catch(() => undefined)
        .then(() => this.#settle(segment, begun));
    return this.#settle(segment, begun);
  }

  #settle(segment: readonly Request[], begun: boolean): Settled | Promise<Settled> {
    if (begun || !this.#wantsCatalog(segment)) return this.#from(segment, 0, begun);
    // A catalog that cannot be read is said at the Execute that needs it.
    return loadCatalog(this.#x, begun)
      .catch(() => undefined)
      .then(() => this.#from(segment, 0, begun));
  }

  /** Some drivers (asyncpg) send Parse ahead with a Flush: at its Execute the pipeline is half sent, too late to read the catalog. */
  #wantsCatalog(segment: readonly Request[]): boolean {
    const grant = this.#x.options.gate.current();
    if (grant === undefined || this.#x.status === "E") return false;
    return segment.some(({ kind, statement }) => {
      if (kind !== "parse" || statement === undefined || statement.understood.onlyTransaction)
        return false;
      const { masks } = this.#x.options;
      const { understood } = statement;
      const masking = masks.for(grant.bundle, false);
      if (masking === "load" || mayShowAnother(this.#x, masking, understood)) return true;
      return understood.namesTables && masks.relatives(grant, false) === "load";
    });
  }

  /** Ends whatever is waited for: the client went away, or sent a CancelRequest. */
  abandon(cancelled: boolean): void {
    this.#cancelled = cancelled;
    this.#passing.abandon();
  }

  #from(segment: readonly Request[], from: number, begun: boolean): Settled | Promise<Settled> {
    for (let index = from; index < segment.length; index++) {
      const request = segment[index];
      if (request === undefined) continue;
      const execution = this.#undecided(request);
      if (execution !== undefined) {
        const passage = this.#passing.pass(execution, begun);
        if (passage instanceof Promise)
          return passage
            .finally(() => this.#passing.waited())
            .then((taken) => this.#since(segment, index, execution, taken, begun))
            .then(
              (refused) =>
                refused ?? this.#replaced(request, index) ?? this.#from(segment, index + 1, begun),
            );
        const refused = this.#taken(segment, index, execution, passage);
        if (refused !== undefined) return refused;
      }
      if (request.refusal !== undefined) return { at: index, answer: request.refusal };
      const replaced = this.#replaced(request, index);
      if (replaced !== undefined) return replaced;
    }
    return undefined;
  }

  /** A portal that unread code may have put another in the place of, or that runs code which reaches one that is not decided. */
  #replaced(request: Request, at: number): Settled {
    const { execution } = request;
    if (execution?.passage !== undefined) this.#x.path.passes(execution.understood);
    const why = this.#x.registry.unread.refuses(request);
    if (why === undefined) return undefined;
    const name = request.portal?.name ?? "";
    return { at, answer: why === "replaced" ? replacedPortal(name) : reachesUndecided(name) };
  }

  /** Execute and Query are decided here; Parse and Bind only where no Execute of them is in sight. */
  #undecided(request: Request): Execution | undefined {
    switch (request.kind) {
      case "execute":
      case "query":
        return request.execution?.passage === undefined ? request.execution : undefined;
      case "parse": {
        const { statement } = request;
        if (statement === undefined || statement.executed || runsByName(statement))
          return undefined;
        if (!this.#passing.deniesRegardless(statement.understood)) return undefined;
        return new Execution(statement.understood, statement.understood.operation, undefined);
      }
      case "bind": {
        const { portal } = request;
        if (portal === undefined || portal.executed || runsByName(portal.statement))
          return undefined;
        portal.execution = new Execution(portal.statement.understood, portal.operation, portal);
        return portal.execution;
      }
      default:
        return undefined;
    }
  }

  /** Rules, masks and limits may have changed while a person was asked or an intent was written, also for what stands before it and is not sent yet. */
  async #since(
    segment: readonly Request[],
    index: number,
    execution: Execution,
    passage: Passage,
    begun: boolean,
  ): Promise<Settled> {
    const refused = this.#taken(segment, index, execution, passage);
    const first = segment.find(({ execution: decided }) => decided?.passage !== undefined);
    const waited = passage.decision?.verdict === "hold";
    const isLate = waited || isOutdated(this.#x, first?.execution, begun);
    const last = refused === undefined ? index : index - 1;
    if (waited && last >= 0) await readAgain(this.#x, begun);
    for (let at = isLate ? 0 : index; at <= last; at++) {
      const decided = at === index ? execution : segment[at]?.execution;
      const error = decided && (await refusedSince(this.#x, decided, begun, waited));
      if (decided === undefined || error === undefined) continue;
      decided.finish("denied", this.#x.now(), error.code);
      return { at: startOf(segment, at), answer: this.#answerTo(decided, error) };
    }
    return refused;
  }

  #answerTo(execution: Execution, error: ProxyError): Buffer {
    const cancelled = this.#cancelled;
    this.#cancelled = false;
    if (cancelled) return cancelledByClient();
    if (this.#x.status === "E" && sayNothingNew.has(error.code)) return transactionFailed();
    const { syntaxError, operation } = execution.understood;
    // Where a rule lets such texts pass, what refuses this one is said.
    const isOurs =
      operation.unparsed !== undefined &&
      this.#x.options.gate.current()?.prepared.letsUnparsedPass === true;
    return syntaxError !== undefined && error.code === "Denied" && !isOurs
      ? syntaxError
      : refusalMessage(error);
  }

  #taken(
    segment: readonly Request[],
    index: number,
    execution: Execution,
    passage: Passage,
  ): Refused | undefined {
    // Cancelled while something was looked up or written: it is not sent any more.
    if (passage.go && this.#cancelled) {
      this.#cancelled = false;
      passage.done({ status: "denied", error: "cancelled by the client" });
      return { at: startOf(segment, index), answer: cancelledByClient() };
    }
    if (passage.go) {
      execution.passage = passage;
      const { refusal, kind } = segment[index] ?? {};
      // Only asked because it looked refused; what runs is decided at its Execute.
      if (kind === "parse") execution.finish("ok", 0);
      if (refusal === undefined) return undefined;
      execution.finish("denied", this.#x.now(), "NotSupported");
      return { at: index, answer: refusal };
    }
    const answer = this.#answerTo(execution, passage.error);
    return { at: startOf(segment, index), answer };
  }
}

/** Runs something else than the beginning of a transaction and its settings. */
function asksOfDatabase({ statement, execution }: Request): boolean {
  const facts = (execution?.understood ?? statement?.understood)?.operation.facts;
  return facts?.statements.some((kind) => kind !== "transaction" && kind !== "set") ?? false;
}

/** Nothing of a refused statement is forwarded: not its Parse and not its Bind. */
function startOf(segment: readonly Request[], index: number): number {
  const refused = segment[index];
  for (let at = 0; at < index; at++) {
    const request = segment[at];
    if (request?.kind === "parse" && request.statement === refused?.statement) return at;
    if (request?.kind === "bind" && request.portal === refused?.portal) return at;
  }
  return index;
}

function cancelledByClient(): Buffer {
  return errorResponse({
    severity: "ERROR",
    sqlstate: "57014",
    message: "canceling statement due to user request",
  });
}

/** Where nothing can be looked up any more, the transaction's failure is what a client has to know. */
const sayNothingNew: ReadonlySet<ProxyError["code"]> = new Set([
  "MaskNotProvable",
  "UpstreamProtocol",
]);

/** What the server says to everything but the end of a failed transaction. */
function transactionFailed(): Buffer {
  return errorResponse({
    severity: "ERROR",
    sqlstate: "25P02",
    message: "current transaction is aborted, commands ignored until end of transaction block",
  });
}
