// Remembers decisions by what was decided on: a prepared statement, or a request that its client repeats, is decided once per bundle, not once per
// execution.
import { decide, type DecideContext, type PreparedBundle } from "./decide.ts";
import type { Decision } from "./decision.ts";
import type { HttpOperation, Operation, SqlFacts, SqlOperation, Subject } from "./operation.ts";

/** An application uses tens to hundreds of distinct statements; more begin anew. */
const maxRemembered = 500;

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
      this.#known = new Map();
      this.#request = undefined;
    }
    const known = kind === "sql" ? this.#statement(operation) : this.#repeated(operation);
    if (known !== undefined) return known;
    const decision = decide(prepared, subject, operation, context);
    if (decision.verdict === "allow") this.#remember(operation, decision);
    return decision;
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
    // A Map that is emptied would keep what it held alive (its old table points to the new one).
    if (this.#known.size >= maxRemembered) this.#known = new Map();
    this.#known.set(facts, { accesses, session, decision });
  }
}
