// The agent's own changes of what there is in the database: while their transaction is open they hold for its session alone, and they may be taken back.
import type { Understood } from "./understanding.ts";

export class SchemaChanges {
  #epoch = 0;
  #functionsEpoch = 0;
  #changed = false;
  #uncommitted = false;
  #foundWithin = false;

  /** What was found before this number changed holds no longer for this session. */
  get epoch(): number {
    return this.#epoch;
  }

  /** The same of what may be a function or an operator. */
  get functionsEpoch(): number {
    return this.#functionsEpoch;
  }

  /** Something was sent that may have changed the schema, and its transaction may still be open: what is found in it is nobody else's. */
  get uncommitted(): boolean {
    return this.#uncommitted;
  }

  /** The same, by a statement that says so. */
  get changed(): boolean {
    return this.#changed;
  }

  /** A look-up saw what is not committed. */
  foundWithin(): void {
    this.#foundWithin = true;
  }

  /** A text is on its way. */
  sent(understood: Understood): void {
    const { changesSchema, runsCode } = understood;
    if (changesSchema || runsCode) this.#uncommitted = true;
    if (changesSchema) this.#changed = true;
    // Behind COMMIT, ROLLBACK or ROLLBACK TO, what the transaction saw of itself is true for all, or never was.
    const isTakenBack = (this.#changed || this.#foundWithin) && controlsTransaction(understood);
    if (changesSchema || isTakenBack) this.#epoch += 1;
    if (understood.addsFunctions || isTakenBack) this.#functionsEpoch += 1;
  }

  /** What else stands in this text would go by what its own COMMIT or ROLLBACK has changed. */
  mixes(understood: Understood): boolean {
    if (!this.#changed && !this.#foundWithin) return false;
    const { facts } = understood.operation;
    return facts.count !== 1 && !understood.onlyTransaction && controlsTransaction(understood);
  }

  /** No transaction is open and nothing is outstanding. Returns whether a change may have been committed. */
  settled(): boolean {
    const changed = this.#changed;
    this.#changed = false;
    this.#uncommitted = false;
    this.#foundWithin = false;
    return changed;
  }
}

function controlsTransaction({ operation }: Understood): boolean {
  return operation.unrecognised !== undefined || operation.facts.statements.includes("transaction");
}
