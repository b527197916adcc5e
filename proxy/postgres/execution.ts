// One operation on its way: decided, forwarded, counted and recorded once.
import type { EventOutcome } from "../../contract/event.ts";
import type { Limits } from "../../policy/bundle.ts";
import type { FunctionAccess, SqlOperation } from "../../policy/operation.ts";
import type { Findings } from "../../policy/sql/findings.ts";
import type { ProxyError } from "../errors.ts";
import type { Content, GateSession, Passage } from "../pipeline.ts";
import type { CopyDigest } from "./copy-digest.ts";
import type { Detected, Masking, RowPlan } from "./masking.ts";
import type { RowRecorder } from "./row-recorder.ts";
import type { Portal, Quota } from "./statements.ts";
import type { Understood } from "./understanding.ts";

const noLimits: Limits = {};

function calling(operation: SqlOperation, calls: readonly FunctionAccess[]): SqlOperation {
  const { accesses, facts } = operation;
  const functions = [...new Set([...facts.functions, ...calls.map((call) => call.function)])];
  return { ...operation, accesses: [...accesses, ...calls], facts: { ...facts, functions } };
}

export class Execution {
  #understood: Understood;
  #operation: SqlOperation;
  readonly portal: Portal | undefined;
  /** What an approval is bound to, where it is neither the text alone nor the text with a portal's parameters. */
  readonly exact: string | undefined;
  /** The EXECUTE of SQL that runs it. */
  readonly runBy: string | undefined;
  readonly quota: Quota;
  /** Once allowed. */
  passage: (Passage & { readonly go: true }) | undefined = undefined;
  /** Of the rules it was allowed under. */
  generation: string | undefined = undefined;
  masking: Masking | undefined = undefined;
  limits: Limits = noLimits;
  recorder: RowRecorder | undefined = undefined;
  copied: CopyDigest | undefined = undefined;
  /** The masks of the result in hand; null when it needs none, undefined before its shape is known. */
  plan: RowPlan | null | undefined = undefined;
  detected: Detected | undefined = undefined;
  /** Which statement of its text the next result is of. */
  statement = 0;
  maskedColumns: Set<string> | undefined = undefined;
  rows = 0;
  /** `rows` when the command before this one of a multi-statement text was complete. */
  rowsBefore = 0;
  bytesIn = 0;
  bytesOut = 0;
  startedAt = 0;
  /** When its answer was there. */
  completedAt = 0;
  #finished = false;
  /** Of the pod's session when it was last asked. */
  #marks: readonly string[] | undefined;

  constructor(
    understood: Understood,
    operation: SqlOperation,
    portal: Portal | undefined,
    exact?: string,
    runBy?: string,
  ) {
    this.#understood = understood;
    this.#operation = operation;
    this.portal = portal;
    this.exact = exact;
    this.runBy = runBy;
    this.quota = portal?.quota ?? { rows: 0, bytes: 0 };
  }

  get understood(): Understood {
    return this.#understood;
  }

  /** With the parameters bound to it. */
  get operation(): SqlOperation {
    return this.#operation;
  }

  /** It may run these functions besides what its text says. */
  callsToo(calls: readonly FunctionAccess[]): void {
    const [first] = calls;
    if (first === undefined || this.#operation.accesses.includes(first)) return;
    this.#operation = calling(this.#operation, calls);
    const understood = this.#understood;
    const operation = calling(understood.operation, calls);
    this.#understood = {
      ...understood,
      operation,
      runsCode: true,
      returnsFromWrite: true,
      fetches: true,
      fetchesByCall: true,
    };
  }

  /** Before it is decided: what detectors found in its text and parameters. */
  finds(findings: Findings): void {
    this.#operation = { ...this.#operation, findings };
  }

  /** The accesses of its operation, with what else they touch. */
  touches(accesses: SqlOperation["accesses"]): void {
    if (accesses !== this.#operation.accesses) this.#operation = { ...this.#operation, accesses };
  }

  /** Whether a row of this many bytes still fits into the limits; counts it when it does. */
  admitRow(bytes: number): boolean {
    const { quota, limits } = this;
    quota.rows += 1;
    quota.bytes += bytes;
    if (limits.rowsPerResult !== undefined && quota.rows > limits.rowsPerResult) return false;
    if (limits.bytesPerResult !== undefined && quota.bytes > limits.bytesPerResult) return false;
    this.rows += 1;
    this.bytesOut += bytes;
    return true;
  }

  get limited(): boolean {
    return this.limits.rowsPerResult !== undefined || this.limits.bytesPerResult !== undefined;
  }

  setPlan(plan: RowPlan | undefined): void {
    this.plan = plan ?? null;
    if (plan === undefined || plan.columns.length === 0) return;
    this.maskedColumns ??= new Set();
    for (const column of plan.columns) this.maskedColumns.add(column);
  }

  /** What the rules say against it since the pod's session came to carry another mark; undefined for nothing. */
  refusedByMark(session: Pick<GateSession, "marks" | "refusalNow">): ProxyError | undefined {
    this.#marks ??= this.passage?.marks;
    if (this.passage === undefined || this.#marks === session.marks) return undefined;
    this.#marks = session.marks;
    return session.refusalNow(this.#operation, this.passage.decision);
  }

  /** Records what came of it; only the first call counts. */
  finish(status: EventOutcome["status"], now: number, error?: string): void {
    if (this.#finished || this.passage === undefined) return;
    this.#finished = true;
    const outcome: EventOutcome = {
      status,
      rows: this.rows,
      bytesIn: this.bytesIn,
      bytesOut: this.bytesOut,
      durationMs: this.startedAt === 0 ? 0 : Math.round((now - this.startedAt) * 1000) / 1000,
    };
    const masked = this.#masked();
    const copied = this.copied?.outcome();
    const whole =
      masked === undefined && error === undefined && copied === undefined
        ? outcome
        : {
            ...outcome,
            ...(copied === undefined ? {} : { copied }),
            ...(masked === undefined ? {} : { masked }),
            ...(error === undefined ? {} : { error }),
          };
    this.passage.done(whole, this.#contents());
  }

  #contents(): readonly Content[] | undefined {
    if (this.recorder === undefined) return undefined;
    const text: Content = { part: "request", text: this.understood.text };
    const rows = this.recorder.content();
    return rows === undefined ? [text] : [text, rows];
  }

  #masked(): EventOutcome["masked"] | undefined {
    const columns = this.maskedColumns;
    const detected = this.detected;
    const found = detected !== undefined && detected.size > 0;
    if (columns === undefined && !found) return undefined;
    return {
      ...(columns === undefined ? {} : { columns: [...columns] }),
      ...(found ? { detected: Object.fromEntries(detected) } : {}),
    };
  }
}
