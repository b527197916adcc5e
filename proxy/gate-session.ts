// One session of a pod on one connection: takes each operation through decide -> (hold) -> intent, and hands back how to record what came of it.
import { createHash } from "node:crypto";
import { ulid } from "ulid";
import { stable } from "../contract/chain.ts";
import type { RequestState } from "../contract/control.ts";
import type {
  EventBody,
  EventDecision,
  EventOutcome,
  EventSubject,
  EventType,
} from "../contract/event.ts";
import type { DetectMask } from "../policy/bundle.ts";
import { DecisionMemo } from "../policy/decision-memo.ts";
import type { Decision } from "../policy/decision.ts";
import { masksThatHold } from "../policy/mask/conditional.ts";
import type { TokenVault } from "../policy/mask/token-vault.ts";
import type { FoundMark } from "../policy/marks.ts";
import type { ConnectionId, Operation, Subject } from "../policy/operation.ts";
import { ProxyError } from "./errors.ts";
import { asProxyError } from "./gate-error.ts";
import { holdForApproval } from "./hold.ts";
import type { PodMarks } from "./marks.ts";
import type { RateWindow } from "./limits.ts";
import type {
  Content,
  GateSession,
  Grants,
  LiveGrant,
  Passage,
  PassOptions,
  Recorder,
} from "./pipeline.ts";
import { changesSomething, eventDecision, eventOperation, refusedContents } from "./record.ts";

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
  readonly onDecision?: (decision: Decision, operation: Operation) => void;
}

export class Session implements GateSession {
  readonly id = ulid();
  readonly #options: GateOptions;
  readonly #connection: string;
  readonly #rate: RateWindow;
  readonly #ended = new AbortController();
  readonly #onClose: () => void;
  #subject: Subject;
  #eventSubject: EventSubject;
  readonly #eventDecisions = new WeakMap<Decision, EventDecision>();
  readonly #memo = new DecisionMemo();
  #operations = 0;
  #closed = false;
  readonly #release: () => void;

  readonly vault: TokenVault;

  constructor(
    options: GateOptions,
    connection: string,
    vault: TokenVault,
    rate: RateWindow,
    chain: string | undefined,
    label: string | undefined,
    onClose: () => void,
  ) {
    this.#options = options;
    this.#connection = connection;
    this.vault = vault;
    this.#rate = rate;
    this.#onClose = onClose;
    this.#subject = chain === undefined ? options.subject : { ...options.subject, chain };
    this.#eventSubject = stable(this.#subject);
    stable(options.connection);
    this.#release = options.grants.keepInUse(connection);
    options.recorder.append("session-start", {
      ...this.#base(),
      ...(label === undefined
        ? {}
        : { operation: { kind: options.connection.protocol, summary: label } }),
    });
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
        this.#append("mark", { operation: { kind, summary }, mark: { name: mark, ...by } });
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
    this.#eventSubject = stable(this.#subject);
  }

  end(cause: ProxyError): void {
    this.#ended.abort(cause);
  }

  close(cause?: ProxyError): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
    this.#release();
    this.#append(
      "session-end",
      cause === undefined ? {} : { error: { code: cause.code, message: cause.message } },
    );
  }

  /** What happened and cannot be refused any more: the spool counts what it could not take. */
  #append(type: EventType, body: EventBody): void {
    try {
      this.#options.recorder.append(type, { ...this.#base(), ...body });
    } catch {
      // Counted.
    }
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
    const now = this.#options.now();
    const perMinute = grant.bundle.limits.requestsPerMinute;
    if (perMinute !== undefined && !this.#rate.take(now, perMinute)) {
      return this.#refuseOverLimit(operation, grant, perMinute, options);
    }
    const decision = this.#decide(grant, operation, now);
    this.#operations += 1;
    this.#options.onDecision?.(decision, operation);
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
      case "allow": {
        const body = this.#body(grant, operation, decision);
        if (grant.bundle.recording.strict || changesSomething(operation))
          return this.#goWithIntent(body, operation, decision, this.marks);
        return this.#go(body, operation, decision);
      }
      case "hold":
        return this.#hold(grant, operation, decision, options);
      default:
        return decision.verdict satisfies never;
    }
  }

  /** What the rules and the Connection put on the pod's session is there before the upstream can answer. */
  #go(body: EventBody, operation: Operation, decision: Decision): Passage {
    try {
      if (decision.marks !== undefined) this.mark(decision.marks, operation);
    } catch (error) {
      const refused = asProxyError(error, this.#connection);
      this.#recorder(body)({ status: "denied", error: refused.code });
      return { go: false, decision, error: refused };
    }
    return { go: true, decision, marks: this.marks, done: this.#recorder(body) };
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
  ): Promise<Passage> {
    try {
      const { seq } = await this.#options.recorder.appendDurably("intent", body);
      const closing = { ...body, intent: seq };
      const refused = under === this.marks ? undefined : this.refusalNow(operation, decision);
      if (refused === undefined) return this.#go(closing, operation, decision);
      this.#recorder(closing, under)({ status: "denied", error: refused.code });
      return { go: false, decision, error: refused };
    } catch (error) {
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
    return this.#goWithIntent(this.#body(grant, operation, decision), operation, decision, under);
  }

  /** An approval never outlives the rule that asked for it, and neither does a connection that was let through. */
  refusalNow(operation: Operation, before?: Decision): ProxyError | undefined {
    const grant = this.#options.grants.current(this.#connection);
    if (grant === undefined)
      return new ProxyError(
        "GrantEnded",
        `the grant for connection ${this.#connection} ended while the operation was going on`,
      );
    const decision = this.#decide(grant, operation, this.#options.now());
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
    return grant && this.#decide(grant, operation, this.#options.now());
  }

  #decide(grant: LiveGrant, operation: Operation, now: number): Decision {
    return this.#memo.decide(grant.prepared, this.#subject, operation, {
      session: this.#standing(),
      time: new Date(now),
    });
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
        ...this.#body(grant, operation, decision),
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
    perMinute: number,
    options: PassOptions,
  ): Promise<Passage> {
    const message = `connection ${this.#connection} allows ${perMinute} operations a minute (limits.requestsPerMinute); try again later`;
    const decision: Decision = {
      verdict: "deny",
      policy: "",
      rule: "",
      reason: "LimitExceeded",
      message,
      mode: "Enforce",
    };
    return this.#refuse(
      grant,
      operation,
      decision,
      new ProxyError("LimitExceeded", message),
      options,
    );
  }

  /** @param under the marks it went on under: others by the time it is refused are why */
  #recorder(
    body: EventBody,
    under: readonly string[] = this.marks,
  ): (outcome: EventOutcome, contents?: readonly Content[]) => void {
    let recorded = false;
    return (outcome, contents) => {
      if (recorded) return;
      recorded = true;
      const isMarked = outcome.error === "Denied" && under !== this.marks;
      const marks = isMarked ? { marks: this.#options.marks.of(this.marks) } : {};
      try {
        this.#options.recorder.append("operation", { ...body, ...marks, outcome }, contents);
      } catch {
        // It went ahead and cannot be recorded: the spool counts the loss, and the next operation is refused (RecordingUnavailable).
      }
    };
  }

  #base(): EventBody {
    const { connection, assurance } = this.#options;
    return {
      session: this.id,
      subject: this.#eventSubject,
      connection,
      ...(assurance === undefined ? {} : { assurance }),
    };
  }

  #body(grant: LiveGrant, operation: Operation, decision: Decision): EventBody {
    return {
      ...this.#base(),
      operation: eventOperation(operation, grant.bundle.recording.detail),
      decision: this.#eventDecision(decision),
      ...(decision.carried !== undefined && { marks: this.#options.marks.of(decision.carried) }),
    };
  }

  /** A rule that allows says so with the same decision every time. */
  #eventDecision(decision: Decision): EventDecision {
    const known = this.#eventDecisions.get(decision);
    if (known !== undefined) return known;
    const made = eventDecision(decision);
    this.#eventDecisions.set(decision, made);
    return made;
  }

  #cause(): ProxyError {
    return asProxyError(this.#ended.signal.reason, this.#connection);
  }
}

/** What an approval binds to: this pod, this connection, this exact content. */
export function operationDigest(subject: Subject, connection: string, exact: string): string {
  return `sha256-${createHash("sha256")
    .update(JSON.stringify([subject.podUid, connection, exact]))
    .digest("base64url")}`;
}
