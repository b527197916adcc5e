// One operation on its way to the gate: the session follows the rules, its relations and masks are known, detectors have looked, a person was asked.
import type { Bundle } from "../../policy/bundle.ts";
import { decide } from "../../policy/decide.ts";
import { findIn, type Findings } from "../../policy/sql/findings.ts";
import { ProxyError } from "../errors.ts";
import type { LiveGrant, Passage } from "../pipeline.ts";
import { loadCatalog } from "./catalog-load.ts";
import type { Exchange } from "./exchange.ts";
import type { Execution } from "./execution.ts";
import { heldContent } from "./held-content.ts";
import { HoldNotices } from "./hold-notices.ts";
import { findingsOf } from "./look-into.ts";
import type { Masking } from "./masking.ts";
import { overloadsUnknown } from "./overloads.ts";
import { asProxyError } from "./refusal.ts";
import { relate, related } from "./relatives.ts";
import { voidedByReplication } from "./replication.ts";
import { runUnder } from "./second-look.ts";
import { followRules } from "./session-follow.ts";

export class Passing {
  readonly #x: Exchange;
  readonly #notices: HoldNotices;
  #hold = new AbortController();

  constructor(exchange: Exchange) {
    this.#x = exchange;
    this.#notices = new HoldNotices(exchange);
  }

  /** Ends whatever is waited for. */
  abandon(): void {
    this.#notices.end();
    this.#hold.abort();
    this.#hold = new AbortController();
  }

  /** Nobody has to be told any more that something is waited for. */
  waited(): void {
    this.#notices.end();
  }

  /** A Parse is refused when no parameter, chain or condition could make its Execute pass. */
  deniesRegardless(understood: Execution["understood"]): boolean {
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

  /** @param begun some of its segment is on the way already */
  pass(execution: Execution, begun: boolean): Passage | Promise<Passage> {
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
    if (mayShowAnother(this.#x, masking, execution.understood)) {
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
      return await this.pass(execution, begun);
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
}

/** A view can be redefined to show a masked column under the very same name and number: what it reads is looked up anew. */
export function mayShowAnother(
  { options }: Exchange,
  masking: Masking | undefined,
  understood: Execution["understood"],
): boolean {
  return masking?.readsViews(understood) === true && options.masks.mayBeOld();
}

const endsChangesWithMore =
  "this transaction changed the schema, so what the rest of this text would run is not known before the transaction ends; send COMMIT or ROLLBACK by itself";

/** Rules that look at parameters, chains or the moment: only Execute can tell. */
function dependsOnMore(bundle: Bundle): boolean {
  return bundle.rules.some(
    ({ action, when, chains, sql }) =>
      when !== undefined ||
      chains !== undefined ||
      (sql?.detect !== undefined && action !== "Deny"),
  );
}
