// Remembers decisions by what an SQL text was understood as: a prepared statement is decided once per bundle, not once per execution.
import { decide, type DecideContext, type PreparedBundle } from "./decide.ts";
import type { Decision } from "./decision.ts";
import type { Operation, SqlFacts, SqlOperation, Subject } from "./operation.ts";

/** An application uses tens to hundreds of distinct statements; more begin anew. */
const maxRemembered = 500;

interface Known {
  readonly accesses: SqlOperation["accesses"];
  readonly session: SqlOperation["session"];
  readonly decision: Decision;
}

/**
 * `decide`, with a memory. Only what depends on nothing but rules, subject and the text's own facts is remembered: no
 * rule of the bundle has a condition, and the answer is an allow. One for each session, whose subject seldom changes.
 */
export class DecisionMemo {
  #prepared: PreparedBundle | undefined;
  #subject: Subject | undefined;
  #known = new Map<SqlFacts, Known>();

  decide(
    prepared: PreparedBundle,
    subject: Subject,
    operation: Operation,
    context: DecideContext,
  ): Decision {
    if (operation.kind !== "sql" || operation.unrecognised !== undefined || prepared.conditional)
      return decide(prepared, subject, operation, context);
    if (this.#prepared !== prepared || this.#subject !== subject) {
      this.#prepared = prepared;
      this.#subject = subject;
      this.#known = new Map();
    }
    const { facts, accesses, session } = operation;
    const known = this.#known.get(facts);
    // The facts of a text stand for it; what was added to its accesses since is another question.
    if (known !== undefined && known.accesses === accesses && known.session === session)
      return known.decision;
    const decision = decide(prepared, subject, operation, context);
    if (decision.verdict === "allow") this.#remember(facts, { accesses, session, decision });
    return decision;
  }

  #remember(facts: SqlFacts, known: Known): void {
    // A Map that is emptied would keep what it held alive (its old table points to the new one).
    if (this.#known.size >= maxRemembered) this.#known = new Map();
    this.#known.set(facts, known);
  }
}
