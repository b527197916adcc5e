// Takes away the files that are not needed any more, beside the operations: giving a megabyte back takes some file systems milliseconds.
import { rm } from "node:fs/promises";

export class Removals {
  #underWay: Promise<unknown> = Promise.resolve();

  /** A file that cannot be removed stays: its events are sent again after a restart, and the operator has them. */
  remove(file: string): void {
    const others = this.#underWay;
    this.#underWay = rm(file, { force: true }).then(
      () => others,
      () => others,
    );
  }

  /** Resolves once nothing is under way. */
  async close(): Promise<void> {
    await this.#underWay;
  }
}
