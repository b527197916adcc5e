// One session of a pod on one connection: takes each operation through decide -> (hold) -> intent, and hands back how to record what came of it.
import type { RequestState } from "../contract/control.ts";
import type { EventBody } from "../contract/event.ts";
import type { DetectMask } from "../policy/bundle.ts";
import { DecisionMemo } from "../policy/decision-memo.ts";
import type { Decision } from "../policy/decision.ts";
import { masksThatHold } from "../policy/mask/conditional.ts";
import type { KeptThinking } from "../policy/llm/anthropic/kept-thinking.ts";
import type { TokenVault } from "../policy/mask/token-vault.ts";
import type { FoundMark } from "../policy/marks.ts";
import type { ConnectionId, Operation, Subject } from "../policy/operation.ts";
import { isUncounted, overLimit, overRate } from "./budget/admission.ts";
import type { Admission, Admissions, BudgetRefusal } from "./budget/admission.ts";
import type { AskBudgets } from "./budget/purses.ts";
import { neverSent, type Spending } from "./budget/spending.ts";
import { ProxyError } from "./errors.ts";
import { asProxyError } from "./gate-error.ts";
import { operationDigest } from "./operation-digest.ts";
import { holdForApproval } from "./hold.ts";
import type { PodMarks } from "./marks.ts";
import type { MinuteCount } from "./limits.ts";
import { Moment } from "./moment.ts";
import type { GateSession, Grants, LiveGrant, Passage, PassOptions, Recorder } from "./pipeline.ts";
import { changesSomething, eventOperation, refusedContents } from "./record.ts";
import { SessionEvents } from "./session-events.ts";
import { newSessionId } from "./session-id.ts";

export interface GateOptions {
  readonly connection: ConnectionId;
  readonly subject: Subject;
  readonly grants: Grants;
  readonly recorder: Recorder;
  /** Of all connections of the pod together. */
  readonly marks: PodMarks;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Marks every event of a local run: neither groups nor duties are checked there. */
  readonly assurance?: "local";
  /** Asks the operator for this proxy's part of shared budgets; without it none of tokens or costs can be spent. */
  readonly askBudgets?: AskBudgets;
  readonly onDecision?: (decision: Decision, operation: Operation) => void;
}

/** Of all sessions on one connection. */
export interface Shared {
  readonly rate: MinuteCount;
  readonly admissions: Admissions;
  readonly vault: TokenVault;
  readonly thinking: KeptThinking;
}

export class Session implements GateSession {
  readonly id = newSessionId();
  readonly #options: GateOptions;
  readonly #connection: string;
  readonly #rate: MinuteCount;
  readonly #admissions: Admissions;
  readonly #ended = new AbortController();
  readonly #onClose: () => void;
  #subject: Subject;
  readonly #events: SessionEvents;
  readonly #memo = new DecisionMemo();
  readonly #moment: Moment;
  #operations = 0;
  #closed = false;
  readonly #release: () => void;

  readonly vault: TokenVault;
  readonly thinking: KeptThinking;

  constructor(
    options: GateOptions,
    connection: string,
    shared: Shared,
    chain: string | undefined,
    label: string | undefined,
    onClose: () => void,
  ) {
    this.#options = options;
    this.#connection = connection;
    this.vault = shared.vault;
    this.thinking = shared.thinking;
    this.#moment = new Moment(() => this.#standing(), options.now);
    this.#rate = shared.rate;
    this.#admissions = shared.admissions;
    this.#onClose = onClose;
    this.#subject = chain === undefined ? options.subject : { ...options.subject, chain };
    this.#events = new SessionEvents(this.id, options, this.#subject);
    this.#release = options.grants.keepInUse(connection);
    this.#events.append(
      "session-start",
      label === undefined
        ? {}
        : { operation: { kind: options.connection.protocol, summary: label } },
    );
  }

  get chain(): string | undefined {
    return this.#subject.chain;
  }

  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  get marks(): readonly string[] {
    return this.#options.marks.names;
  }

  onMark(listener: () => void): () => void {
    return this.#options.marks.watch(listener);
  }

  mark(found: readonly FoundMark[], operation: Operation): void {
    const { marks, grants, now } = this.#options;
    for (const { mark, ...by } of found) {
      if (marks.keeps(mark)) continue;
      const detail = grants.current(this.#connection)?.bundle.recording.detail ?? "Metadata";
      const { kind, summary } = eventOperation(operation, detail);
      if (!marks.has(mark))
        this.#events.note("mark", { operation: { kind, summary }, mark: { name: mark, ...by } });
      marks.add({
        name: mark,
        ...by,
        since: new Date(now()).toISOString(),
        connection: this.#connection,
        session: this.id,
        operation: summary,
      });
    }
  }

  masksNow(masks: readonly DetectMask[]): readonly DetectMask[] {
    return masksThatHold(masks, () => ({
      subject: this.#subject,
      connection: this.#options.connection,
      session: this.#standing(),
      time: new Date(this.#options.now()),
    }));
  }

  setChain(claimed: string | undefined): void {
    const chain = claimed ?? this.#options.subject.chain;
    if (chain === this.#subject.chain) return;
    this.#subject =
      chain === undefined ? this.#options.subject : { ...this.#options.subject, chain };
    this.#events.setSubject(this.#subject);
  }

  end(cause: ProxyError): void {
    this.#ended.abort(cause);
  }

  close(cause?: ProxyError): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
    this.#release();
    this.#events.note(
      "session-end",
      cause === undefined ? {} : { error: { code: cause.code, message: cause.message } },
    );
  }

  pass(operation: Operation, options: PassOptions): Passage | Promise<Passage> {
    if (this.#ended.signal.aborted) return { go: false, error: this.#cause() };
    const grant = this.#options.grants.current(this.#connection);
    if (grant === undefined || this.#options.recorder.full())
      return this.#passLater(operation, options);
    return this.#passUnder(grant, operation, options);
  }

  /** The slow way in: a grant must be had first, or the spool must find room (back-pressure, then refusal). */
  async #passLater(operation: Operation, options: PassOptions): Promise<Passage> {
    try {
      const signal = AbortSignal.any([options.signal, this.#ended.signal]);
      await this.#options.recorder.room(signal);
      return await this.#passUnder(
        await this.#options.grants.acquire(this.#connection, signal),
        operation,
        options,
      );
    } catch (error) {
      return { go: false, error: asProxyError(error, this.#connection) };
    }
  }

  #passUnder(
    grant: LiveGrant,
    operation: Operation,
    options: PassOptions,
  ): Passage | Promise<Passage> {
    const late = overRate(this.#connection, grant.bundle, this.#rate, this.#options.now);
    if (late !== undefined) return this.#refuseOverLimit(operation, grant, late, options);
    const decision = this.#decide(grant, operation);
    this.#operations += 1;
    const isCounted = decision.verdict === "allow" && !isUncounted(grant.bundle);
    if (!isCounted) this.#options.onDecision?.(decision, operation);
    switch (decision.verdict) {
      case "deny":
        return this.#refuse(
          grant,
          operation,
          decision,
          new ProxyError(
            decision.reason === "MaskNotProvable" ? "MaskNotProvable" : "Denied",
            decision.message,
          ),
          options,
        );
      case "allow":
        return isCounted
          ? this.#goCounted(grant, operation, decision, options, this.marks)
          : this.#goOn(grant, operation, decision, this.marks, undefined);
      case "hold":
        return this.#hold(grant, operation, decision, options);
      default:
        return decision.verdict satisfies never;
    }
  }

  #goOn(
    grant: LiveGrant,
    operation: Operation,
    decision: Decision,
    under: readonly string[],
    spending: Spending | undefined,
  ): Passage | Promise<Passage> {
    const body = this.#events.body(grant.bundle.recording.detail, operation, decision);
    return decision.verdict === "hold" ||
      grant.bundle.recording.strict ||
      changesSomething(operation)
      ? this.#goWithIntent(body, operation, decision, under, spending)
      : this.#go(body, operation, decision, spending);
  }

  /** As `#goOn`, once budgets and guards have what it takes. */
  #goCounted(
    grant: LiveGrant,
    operation: Operation,
    decision: Decision,
    options: PassOptions,
    under: readonly string[],
  ): Passage | Promise<Passage> {
    // Drivers repeat what is theirs, and a person has looked at each operation that was held.
    const mayRepeat = decision.reason === "SessionBasics" || decision.verdict === "hold";
    const admitting = this.#admissions.admit(grant.bundle, {
      operation,
      maxOutputTokens: decision.maxOutputTokens,
      inputTokens: options.inputTokens,
      digest: mayRepeat
        ? undefined
        : () => operationDigest(this.#subject, this.#connection, options.exact()),
    });
    const then = (admission: Admission): Passage | Promise<Passage> => {
      if (!("spending" in admission))
        return this.#refuseOverLimit(operation, grant, admission, options);
      if (decision.verdict === "allow") this.#options.onDecision?.(decision, operation);
      return this.#goOn(grant, operation, decision, under, admission.spending);
    };
    if (!(admitting instanceof Promise)) return then(admitting);
    return admitting.then((admission) => {
      // The operator was asked meanwhile: what was decided before may not hold any more.
      const { aborted } = this.#ended.signal;
      const changed = aborted ? this.#cause() : this.refusalNow(operation, decision);
      if (changed === undefined) return then(admission);
      if ("spending" in admission) admission.spending?.settle(neverSent);
      return this.#refuse(grant, operation, decision, changed, options);
    });
  }

  /** What the rules and the Connection put on the pod's session is there before the upstream can answer. */
  #go(
    body: EventBody,
    operation: Operation,
    decision: Decision,
    spending: Spending | undefined,
  ): Passage {
    try {
      if (decision.marks !== undefined) this.mark(decision.marks, operation);
    } catch (error) {
      spending?.settle(neverSent);
      const refused = asProxyError(error, this.#connection);
      this.#events.closing(body)({ status: "denied", error: refused.code });
      return { go: false, decision, error: refused };
    }
    const record = this.#events.closing(body);
    return {
      go: true,
      decision,
      marks: this.marks,
      spending,
      done:
        spending === undefined
          ? record
          : (outcome, contents) => {
              spending.settle(outcome);
              record(outcome, contents);
            },
    };
  }

  /**
   * The intent is durable before anything is forwarded; the operation event names it later.
   *
   * @param under the marks that it was decided under: with others by now it is decided again
   */
  async #goWithIntent(
    body: EventBody,
    operation: Operation,
    decision: Decision,
    under: readonly string[],
    spending: Spending | undefined,
  ): Promise<Passage> {
    try {
      const { seq } = await this.#options.recorder.appendDurably("intent", body);
      const closing = { ...body, intent: seq };
      const refused = under === this.marks ? undefined : this.refusalNow(operation, decision);
      if (refused === undefined) return this.#go(closing, operation, decision, spending);
      spending?.settle(neverSent);
      this.#events.closing(closing, under)({ status: "denied", error: refused.code });
      return { go: false, decision, error: refused };
    } catch (error) {
      spending?.settle(neverSent);
      return { go: false, decision, error: asProxyError(error, this.#connection) };
    }
  }

  async #hold(
    grant: LiveGrant,
    operation: Operation,
    decision: Decision,
    options: PassOptions,
  ): Promise<Passage> {
    const digest = operationDigest(this.#subject, this.#connection, options.exact());
    const content = options.content?.();
    let under = this.marks;
    const held = await holdForApproval({
      grants: this.#options.grants,
      request: {
        connection: this.#connection,
        session: this.id,
        digest,
        kind: operation.kind,
        summary: operation.summary,
        ...(content === undefined ? {} : { detail: content.text }),
        ...(this.#subject.chain === undefined ? {} : { chain: this.#subject.chain }),
      },
      terms: decision.approvals ?? [],
      onWait: options.onWait,
      signal: AbortSignal.any([options.signal, this.#ended.signal]),
      stillHeld: () => {
        under = this.marks;
        return this.refusalNow(operation);
      },
    });
    if (!held.go)
      return this.#refuse(grant, operation, decision, held.error, options, held.request);
    if (this.#ended.signal.aborted)
      return this.#refuse(grant, operation, decision, this.#cause(), options, held.request);
    return isUncounted(grant.bundle)
      ? this.#goOn(grant, operation, decision, under, undefined)
      : this.#goCounted(grant, operation, decision, options, under);
  }

  /** An approval never outlives the rule that asked for it, and neither does a connection that was let through. */
  refusalNow(operation: Operation, before?: Decision): ProxyError | undefined {
    const grant = this.#options.grants.current(this.#connection);
    if (grant === undefined)
      return new ProxyError(
        "GrantEnded",
        `the grant for connection ${this.#connection} ended while the operation was going on`,
      );
    const decision = this.#decide(grant, operation);
    if (decision.verdict === "deny") return new ProxyError("Denied", decision.message);
    return decision.verdict === "hold" && before?.verdict === "allow"
      ? new ProxyError(
          "Denied",
          `while it was going on the operation came to need a person's approval, so it ended; send it again to ask: ${decision.message}`,
        )
      : undefined;
  }

  decideNow(operation: Operation): Decision | undefined {
    const grant = this.#options.grants.current(this.#connection);
    return grant && this.#decide(grant, operation);
  }

  #decide(grant: LiveGrant, operation: Operation): Decision {
    return this.#memo.decide(grant.prepared, this.#subject, operation, this.#moment);
  }

  #standing() {
    return { id: this.id, operations: this.#operations, marks: this.marks };
  }

  /** A refusal is always strict: it is durable before the agent hears it, or the agent hears that it could not be recorded. */
  async #refuse(
    grant: LiveGrant,
    operation: Operation,
    decision: Decision,
    error: ProxyError,
    options: PassOptions,
    request?: RequestState,
  ): Promise<Passage> {
    const pending = error.code === "Pending" || error.code === "ApprovalTimeout";
    try {
      const contents = refusedContents(operation, grant.bundle.recording.detail, options);
      const body: EventBody = {
        ...this.#events.body(grant.bundle.recording.detail, operation, decision),
        outcome: { status: pending ? "pending" : "denied", error: error.code },
        ...(request === undefined
          ? {}
          : {
              request: {
                name: request.name,
                verdict: request.phase,
                ...(request.by === undefined ? {} : { by: request.by }),
              },
            }),
      };
      await this.#options.recorder.appendDurably("operation", body, contents);
      return { go: false, decision, error };
    } catch (failure) {
      return { go: false, decision, error: asProxyError(failure, this.#connection) };
    }
  }

  #refuseOverLimit(
    operation: Operation,
    grant: LiveGrant,
    refusal: BudgetRefusal,
    options: PassOptions,
  ): Promise<Passage> {
    const decision = overLimit(refusal);
    this.#options.onDecision?.(decision, operation);
    return this.#refuse(grant, operation, decision, refusal.error, options);
  }

  #cause(): ProxyError {
    return asProxyError(this.#ended.signal.reason, this.#connection);
  }
}
