// The events of one session: who acts and on what stands in each, and an operation is closed once.
import { stable } from "../contract/canonical.ts";
import type { EventBody, EventDecision, EventOutcome, EventType } from "../contract/event.ts";
import type { RecordingDetail } from "../policy/bundle.ts";
import type { Decision } from "../policy/decision.ts";
import type { Operation, SqlFacts, SqlOperation, Subject } from "../policy/operation.ts";
import type { GateOptions } from "./gate-session.ts";
import type { Content } from "./pipeline.ts";
import { eventDecision, eventOperation } from "./record.ts";

type Said = NonNullable<EventBody["operation"]>;

/** Of SQL texts, as long as their facts are kept. */
const statements = new WeakMap<SqlFacts, Said>();

/** The facts of a text stand for it; where the parameters of an execution are not recorded, all its executions are described alike. */
function statementSaid(operation: SqlOperation): Said {
  const known = statements.get(operation.facts);
  if (known?.summary === operation.summary) return known;
  const said = stable(eventOperation(operation, "Statements"));
  statements.set(operation.facts, said);
  return said;
}

type Parts = Pick<GateOptions, "connection" | "recorder" | "marks" | "assurance">;

export class SessionEvents {
  readonly #session: string;
  readonly #parts: Parts;
  /** What stands in every event. */
  #base: EventBody;
  readonly #decisions = new WeakMap<Decision, EventDecision>();
  /** Of the last operation. What stands for one that is repeated is the same object, and its form is kept from the second time on. */
  #operation: Operation | undefined;
  #detail: RecordingDetail | undefined;
  #said: Said | undefined;

  constructor(session: string, parts: Parts, subject: Subject) {
    this.#session = session;
    this.#parts = parts;
    stable(parts.connection);
    this.#base = this.#baseFor(subject);
  }

  /** The chain is another now. */
  setSubject(subject: Subject): void {
    this.#base = this.#baseFor(subject);
  }

  /** Throws ProxyError RecordingUnavailable. */
  append(type: EventType, body: EventBody): void {
    this.#parts.recorder.append(type, { ...this.#base, ...body });
  }

  /** What happened and cannot be refused any more: the spool counts what it could not take. */
  note(type: EventType, body: EventBody): void {
    try {
      this.append(type, body);
    } catch {
      // Counted.
    }
  }

  /** Of an operation, before anything came of it. */
  body(detail: RecordingDetail, operation: Operation, decision: Decision): EventBody {
    const body = {
      ...this.#base,
      operation: this.#saying(operation, detail),
      decision: this.#decision(decision),
    };
    return decision.carried === undefined
      ? body
      : { ...body, marks: this.#parts.marks.of(decision.carried) };
  }

  /**
   * Returns what records the operation, the first time that it is called.
   *
   * @param under the marks it went on under: others by the time it is refused are why
   */
  closing(
    body: EventBody,
    under: readonly string[] = this.#parts.marks.names,
  ): (outcome: EventOutcome, contents?: readonly Content[]) => void {
    const { marks, recorder } = this.#parts;
    let isRecorded = false;
    return (outcome, contents) => {
      if (isRecorded) return;
      isRecorded = true;
      const isMarked = outcome.error === "Denied" && under !== marks.names;
      const closed = { ...body, outcome };
      try {
        recorder.append(
          "operation",
          isMarked ? { ...closed, marks: marks.of(marks.names) } : closed,
          contents,
        );
      } catch {
        // It went ahead and cannot be recorded: the spool counts the loss, and the next operation is refused (RecordingUnavailable).
      }
    };
  }

  #baseFor(subject: Subject): EventBody {
    const { connection, assurance } = this.#parts;
    return {
      session: this.#session,
      subject: stable(subject),
      connection,
      ...(assurance === undefined ? {} : { assurance }),
    };
  }

  #saying(operation: Operation, detail: RecordingDetail): Said {
    if (operation.kind === "sql" && detail === "Statements") return statementSaid(operation);
    if (operation === this.#operation && detail === this.#detail && this.#said !== undefined)
      return stable(this.#said);
    this.#operation = operation;
    this.#detail = detail;
    return (this.#said = eventOperation(operation, detail));
  }

  /** A rule that allows says so with the same decision every time. */
  #decision(decision: Decision): EventDecision {
    const known = this.#decisions.get(decision);
    if (known !== undefined) return known;
    const made = eventDecision(decision);
    this.#decisions.set(decision, made);
    return made;
  }
}
