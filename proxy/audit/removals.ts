// Takes away the files that are not needed any more, beside the operations: giving a megabyte back takes some file systems milliseconds.
import { rm } from "node:fs/promises";

export class Removals {
  /** The oldest first; as many as the spool has segments at most. */
  readonly #files: string[] = [];
  #underWay: Promise<void> | undefined;

  /**
   * One after the other, in the order given: what a killed process leaves has no hole. A file that cannot be removed stays with those behind it until
   * the next is given; after a restart their events are sent again, and the operator has them.
   */
  remove(file: string): void {
    this.#files.push(file);
    this.#underWay ??= this.#removeAll();
  }

  /** Resolves once nothing is under way. */
  async close(): Promise<void> {
    await this.#underWay;
  }

  async #removeAll(): Promise<void> {
    for (let [oldest] = this.#files; oldest !== undefined; [oldest] = this.#files) {
      const isGone = await rm(oldest, { force: true }).then(
        () => true,
        () => false,
      );
      if (!isGone) break;
      this.#files.shift();
    }
    this.#underWay = undefined;
  }
}
