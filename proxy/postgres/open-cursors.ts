// What FETCH may go on reading: each cursor that SQL declared was decided then, and is decided again once rules or marks have changed.
import type { Decision } from "../../policy/decision.ts";
import type { SqlOperation } from "../../policy/operation.ts";
import type { GateSession } from "../pipeline.ts";
import type { Execution } from "./execution.ts";

/** Declarations that may still be open; behind more, FETCH under other rules is refused. */
const maxDeclared = 64;

interface Declared {
  readonly operation: SqlOperation;
  readonly decision: Decision;
  readonly generation: string | undefined;
  readonly marks: readonly string[];
  /** WITH HOLD: it outlives its transaction. */
  readonly isHeld: boolean;
}

export class OpenCursors {
  #declared: Declared[] = [];
  #isForgetful = false;

  /** A text is on its way. */
  sent({ understood, operation, passage, generation }: Execution): void {
    if (!understood.declares || passage === undefined) return;
    const { decision, marks } = passage;
    const known = this.#declared.some(
      (other) =>
        other.operation.facts === operation.facts &&
        other.generation === generation &&
        other.marks === marks,
    );
    // Of one text with other parameters it is the text's relations that rules speak about; conditions may look at the parameters, too.
    if (known && operation.params.length === 0) return;
    if (this.#declared.length >= maxDeclared) {
      this.#isForgetful = true;
      return;
    }
    const isHeld = /\bhold\b/i.test(understood.text);
    this.#declared.push({ operation, decision, generation, marks, isHeld });
  }

  /** No transaction is open and nothing is outstanding. */
  transactionEnded(): void {
    if (this.#declared.length === 0) return;
    this.#declared = this.#declared.filter(({ isHeld }) => isHeld);
    if (this.#declared.length === 0) this.#isForgetful = false;
  }

  /** Why FETCH may not go on under the rules and marks of now; undefined for nearly all. */
  refuses(
    { understood }: Execution,
    session: Pick<GateSession, "marks" | "refusalNow">,
    generation: string,
    related: (operation: SqlOperation) => SqlOperation,
  ): string | undefined {
    if (!understood.fetches) return undefined;
    for (const { operation, decision, ...under } of this.#declared) {
      if (under.generation === generation && under.marks === session.marks) continue;
      if (this.#isForgetful)
        return "the rules changed since cursors of this session were declared, which are too many to be decided again; declare them anew";
      const refused = session.refusalNow(related(operation), decision);
      if (refused !== undefined)
        return `a cursor of this session reads what the rules refuse by now (${refused.message}); close it, and end its transaction`;
    }
    return undefined;
  }
}
