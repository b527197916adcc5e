// Remembers decisions by what was decided on: a prepared statement, or a request that its client repeats, is decided once per bundle, not once per
// execution.
import { decide, type DecideContext, type PreparedBundle } from "./decide.ts";
import type { Decision } from "./decision.ts";
import type { HttpOperation, Operation, SqlFacts, SqlOperation, Subject } from "./operation.ts";
import { sqlWeight } from "./sql/weight.ts";

/** An application uses tens to hundreds of distinct statements; more begin anew. */
const maxRemembered = 500;
/** What they may take in a session: 500 with ten names each, and no thousands of giants. */
const maxRememberedBytes = 512 * 1024;

interface Known {
  readonly accesses: SqlOperation["accesses"];
  readonly session: SqlOperation["session"];
  readonly decision: Decision;
}

/**
 * `decide`, with a memory. Only what depends on nothing but rules, subject and the operation's own facts is remembered: no
 * rule of the bundle has a condition of the moment, and the answer is an allow. One for each session, whose subject seldom changes.
 */
export class DecisionMemo {
  #prepared: PreparedBundle | undefined;
  #subject: Subject | undefined;
  #known = new Map<SqlFacts, Known>();
  #knownBytes = 0;
  /** The last request: one that is the same again is the same object. */
  #request: HttpOperation | undefined;
  #requestDecision: Decision | undefined;

  decide(
    prepared: PreparedBundle,
    subject: Subject,
    operation: Operation,
    context: DecideContext,
  ): Decision {
    const { kind, unrecognised } = operation;
    if (prepared.isOfTheMoment || unrecognised !== undefined || (kind !== "sql" && kind !== "http"))
      return decide(prepared, subject, operation, context);
    if (this.#prepared !== prepared || this.#subject !== subject) {
      this.#prepared = prepared;
      this.#subject = subject;
      this.#forget();
      this.#request = undefined;
    }
    const known = kind === "sql" ? this.#statement(operation) : this.#repeated(operation);
    if (known !== undefined) return known;
    const decision = decide(prepared, subject, operation, context);
    if (decision.verdict === "allow") this.#remember(operation, decision);
    return decision;
  }

  /** Whether this statement would not be decided anew. */
  remembers(operation: SqlOperation): boolean {
    return this.#statement(operation) !== undefined;
  }

  #repeated(operation: HttpOperation): Decision | undefined {
    return this.#request === operation ? this.#requestDecision : undefined;
  }

  /** The facts of a text stand for it; what was added to its accesses since is another question. */
  #statement({ facts, accesses, session }: SqlOperation): Decision | undefined {
    const known = this.#known.get(facts);
    return known !== undefined && known.accesses === accesses && known.session === session
      ? known.decision
      : undefined;
  }

  #remember(operation: HttpOperation | SqlOperation, decision: Decision): void {
    if (operation.kind === "http") {
      this.#request = operation;
      this.#requestDecision = decision;
      return;
    }
    const { facts, accesses, session } = operation;
    const bytes = sqlWeight(operation);
    if (bytes > maxRememberedBytes / 4) return;
    if (this.#known.size >= maxRemembered || this.#knownBytes + bytes > maxRememberedBytes)
      this.#forget();
    this.#known.set(facts, { accesses, session, decision });
    this.#knownBytes += bytes;
  }

  /** A Map that is emptied would keep what it held alive (its old table points to the new one). */
  #forget(): void {
    this.#known = new Map();
    this.#knownBytes = 0;
  }
}
