// Decides a segment before any of it is forwarded: masks proven, every operation passed by the gate, holds waited for.
import { decide } from "../../policy/decide.ts";
import type { Bundle } from "../../policy/bundle.ts";
import { findIn, type Findings } from "../../policy/sql/findings.ts";
import { ProxyError } from "../errors.ts";
import type { LiveGrant, Passage } from "../pipeline.ts";
import { loadCatalog } from "./catalog-load.ts";
import type { Exchange } from "./exchange.ts";
import { Execution } from "./execution.ts";
import type { Masking } from "./masking.ts";
import { findingsOf } from "./look-into.ts";
import { heldContent } from "./held-content.ts";
import { errorResponse } from "./messages.ts";
import { HoldNotices } from "./hold-notices.ts";
import { loadOverloads, overloadsUnknown } from "./overloads.ts";
import { asProxyError, reachesUndecided, refusalMessage, replacedPortal } from "./refusal.ts";
import { relate, related } from "./relatives.ts";
import { voidedByReplication } from "./replication.ts";
import type { Request } from "./requests.ts";
import { checkSearchPath } from "./search-path.ts";
import { isOutdated, readAgain, refusedSince, runUnder } from "./second-look.ts";
import { followRules } from "./session-follow.ts";
import { runsByName } from "./unread-code.ts";

/** Where a segment stops: everything from `at` on is not forwarded, and the client gets `answer`. */
export interface Refused {
  readonly at: number;
  readonly answer: Buffer;
}

type Settled = Refused | undefined;

export class Settlement {
  readonly #x: Exchange;
  readonly #notices: HoldNotices;
  #hold = new AbortController();
  #cancelled = false;

  constructor(exchange: Exchange) {
    this.#x = exchange;
    this.#notices = new HoldNotices(exchange);
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
      if (masking === "load" || this.#mayShowAnother(masking, understood)) return true;
      return understood.namesTables && masks.relatives(grant, false) === "load";
    });
  }

  /** A view can be redefined to show a masked column under the very same name and number: what it reads is looked up anew. */
  #mayShowAnother(masking: Masking | undefined, understood: Execution["understood"]): boolean {
    return masking?.readsViews(understood) === true && this.#x.options.masks.mayBeOld();
  }

  /** Ends whatever is waited for: the client went away, or sent a CancelRequest. */
  abandon(cancelled: boolean): void {
    this.#notices.end();
    this.#cancelled = cancelled;
    this.#hold.abort();
    this.#hold = new AbortController();
  }

  #from(segment: readonly Request[], from: number, begun: boolean): Settled | Promise<Settled> {
    for (let index = from; index < segment.length; index++) {
      const request = segment[index];
      if (request === undefined) continue;
      const execution = this.#undecided(request);
      if (execution !== undefined) {
        const passage = this.#pass(execution, begun);
        if (passage instanceof Promise)
          return passage
            .finally(() => this.#notices.end())
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
        if (!this.#deniedRegardless(statement.understood)) return undefined;
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

  /** A Parse is refused when no parameter, chain or condition could make its Execute pass. */
  #deniedRegardless(understood: Execution["understood"]): boolean {
    const grant = this.#x.options.gate.current();
    if (grant === undefined || dependsOnMore(grant.bundle)) return false;
    const { namespace, serviceAccount } = grant.bundle.subject;
    const subject = { namespace, serviceAccount, pod: "", podUid: "" };
    const context = { session: { id: "", operations: 0 }, time: new Date(this.#x.now()) };
    const { sqlDetectors } = grant.prepared;
    const operation =
      sqlDetectors.length === 0
        ? understood.operation
        : {
            ...understood.operation,
            findings: findIn(this.#x.options.literalsOf(understood.text), sqlDetectors),
          };
    return decide(grant.prepared, subject, operation, context).verdict === "deny";
  }

  #pass(execution: Execution, begun: boolean): Passage | Promise<Passage> {
    const grant = this.#x.options.gate.current();
    return grant === undefined
      ? this.#passAfterGrant(execution, begun)
      : this.#passUnder(grant, execution, begun);
  }

  async #passAfterGrant(execution: Execution, begun: boolean): Promise<Passage> {
    try {
      const grant = await this.#x.options.gate.grant(this.#hold.signal);
      return await this.#passUnder(grant, execution, begun);
    } catch (error) {
      return { go: false, error: asProxyError(error, this.#x.connection) };
    }
  }

  #passUnder(
    grant: LiveGrant,
    execution: Execution,
    begun: boolean,
    followed = false,
  ): Passage | Promise<Passage> {
    const { bundle, prepared } = grant;
    const { settings } = this.#x;
    if (!followed && settings.behind(prepared)) return this.#passAfterFollowing(execution, begun);
    const { replicates = false, onlyTransaction } = execution.understood;
    const voided =
      this.#x.options.replication === undefined ? undefined : voidedByReplication(bundle);
    if (voided !== undefined) return this.#refuseAs(execution, "MaskNotProvable", voided);
    const calls = replicates ? [] : this.#x.options.overloads.calls(execution.understood);
    if (calls !== undefined) execution.callsToo(calls);
    else if (!onlyTransaction)
      return { go: false, error: overloadsUnknown(this.#x.connection, this.#x.halfSent(begun)) };
    const undoes = settings.refuses(prepared, execution.understood);
    if (undoes !== undefined) return this.#refuseAs(execution, "Denied", undoes);
    if (this.#x.changes.mixes(execution.understood))
      return this.#refuseAs(execution, "Denied", endsChangesWithMore);
    const { masks } = this.#x.options;
    const halfSent = this.#x.halfSent(begun);
    const relating = relate(this.#x, grant, execution, halfSent);
    if (relating === "load") return this.#passAfterCatalog(execution, begun);
    const astray =
      relating?.refused ??
      this.#x.path.refuses(execution.understood) ??
      this.#x.openCursors.refuses(
        execution,
        this.#x.options.session,
        bundle.generation,
        this.#x.registry.portals,
        (before) => related(this.#x, grant, before),
      );
    if (astray !== undefined) return this.#refuseAs(execution, "Denied", astray);
    settings.passes(execution.operation);
    // What only begins or ends a transaction shows nothing; a failed one must be ended even where no catalog can be read.
    const masking = onlyTransaction ? undefined : masks.for(bundle, halfSent);
    if (masking === "load") return this.#passAfterCatalog(execution, begun);
    runUnder(execution, grant, masking);
    if (this.#mayShowAnother(masking, execution.understood)) {
      masks.stale();
      return this.#passAfterCatalog(execution, begun);
    }
    const unproven = masking?.prove(execution.understood, execution.operation);
    if (unproven === undefined) return this.#look(grant, execution);
    // Another session may have created what is named here: look once more before saying no.
    if (masks.mayBeOld()) {
      masks.stale();
      return this.#passAfterCatalog(execution, begun);
    }
    return this.#refuseAs(execution, "MaskNotProvable", unproven);
  }

  /** Where rules ask for it, detectors look at what it says first. */
  #look({ prepared }: LiveGrant, execution: Execution): Passage | Promise<Passage> {
    const { sqlDetectors } = prepared;
    if (sqlDetectors.length === 0) return this.#ask(execution, execution.operation);
    const ask = (findings: Findings): Passage | Promise<Passage> => {
      execution.finds(findings);
      return this.#ask(execution, execution.operation);
    };
    const findings = findingsOf(execution, this.#x.options.literalsOf, sqlDetectors);
    return findings instanceof Promise ? findings.then(ask) : ask(findings);
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

  /** The rules changed, or the agent reset its session: the database follows first. */
  async #passAfterFollowing(execution: Execution, begun: boolean): Promise<Passage> {
    try {
      const grant = await this.#x.options.gate.grant(this.#hold.signal);
      await followRules(this.#x, grant.prepared, begun);
      return await this.#passUnder(grant, execution, begun, true);
    } catch (error) {
      return { go: false, error: asProxyError(error, this.#x.connection) };
    }
  }

  async #passAfterCatalog(execution: Execution, begun: boolean): Promise<Passage> {
    try {
      await loadCatalog(this.#x, begun);
      return await this.#pass(execution, begun);
    } catch (error) {
      const { code, message } = asProxyError(error, this.#x.connection);
      if (code === "MaskNotProvable") return this.#refuseAs(execution, code, message);
      // A failed transaction is what a client has to know first.
      const isFailed = this.#x.status === "E";
      return this.#refuseAs(execution, isFailed ? "UpstreamProtocol" : "Denied", message);
    }
  }

  /** The gate records the refusal: to it, what cannot be masked or would undo what the session is held to is not understood. */
  async #refuseAs(
    execution: Execution,
    code: "MaskNotProvable" | "UpstreamProtocol" | "Denied",
    why: string,
  ): Promise<Passage> {
    const { unparsed: _unparsed, ...operation } = execution.operation;
    const passage = await this.#ask(execution, { ...operation, unrecognised: why });
    if (passage.go) passage.done({ status: "denied", error: code });
    else if (passage.error.code !== "Denied") return passage;
    const { decision } = passage;
    const error = new ProxyError(
      code,
      code === "Denied" ? `connection ${this.#x.connection}: ${why}` : why,
    );
    return decision === undefined ? { go: false, error } : { go: false, decision, error };
  }

  #ask(execution: Execution, operation: Execution["operation"]): Passage | Promise<Passage> {
    const { understood, portal } = execution;
    return this.#x.options.session.pass(operation, {
      exact: () =>
        execution.exact ??
        (portal === undefined ? understood.text : `${understood.text}\0${portal.exact()}`),
      content: () => heldContent(operation, understood.text),
      onWait: (request) => this.#notices.begin(request),
      signal: this.#hold.signal,
    });
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

const endsChangesWithMore =
  "this transaction changed the schema, so what the rest of this text would run is not known before the transaction ends; send COMMIT or ROLLBACK by itself";

/** Runs something else than the beginning of a transaction and its settings. */
function asksOfDatabase({ statement, execution }: Request): boolean {
  const facts = (execution?.understood ?? statement?.understood)?.operation.facts;
  return facts?.statements.some((kind) => kind !== "transaction" && kind !== "set") ?? false;
}

/** Rules that look at parameters, chains or the moment: only Execute can tell. */
function dependsOnMore(bundle: Bundle): boolean {
  return bundle.rules.some(
    ({ action, when, chains, sql }) =>
      when !== undefined ||
      chains !== undefined ||
      (sql?.detect !== undefined && action !== "Deny"),
  );
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
