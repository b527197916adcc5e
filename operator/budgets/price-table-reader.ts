// The price table of a cluster: the ConfigMap chaperone-prices of the operator's namespace, as it was last read without a mistake.
import type { PriceTable } from "../../policy/budget/price.ts";
import { priceTableKey, priceTableName, readPriceTable } from "../../policy/budget/price-table.ts";
import { fieldAt, type KubeObject } from "../kube/objects.ts";
import type { StoreChange } from "../kube/store.ts";

export class PriceTableReader {
  readonly #namespace: string;
  readonly #onProblem: (problem: string) => void;
  #table: PriceTable | undefined;

  constructor(namespace: string, onProblem: (problem: string) => void) {
    this.#namespace = namespace;
    this.#onProblem = onProblem;
  }

  /** A table with a mistake keeps the one before it in force; one that is deleted leaves none. */
  get table(): PriceTable | undefined {
    return this.#table;
  }

  /** True where the table is another one now. */
  take({ before, after }: Pick<StoreChange<KubeObject>, "before" | "after">): boolean {
    const { name, namespace } = (after ?? before)?.metadata ?? {};
    if (name !== priceTableName || namespace !== this.#namespace) return false;
    const text = after === undefined ? undefined : fieldAt(after, "data", priceTableKey);
    if (after === undefined) this.#table = undefined;
    else if (typeof text !== "string") return this.#refuse(`has no ${priceTableKey}`);
    else {
      const read = readPriceTable(text);
      if ("problem" in read) return this.#refuse(`${priceTableKey} ${read.problem}`);
      this.#table = read.table;
    }
    return true;
  }

  #refuse(problem: string): false {
    this.#onProblem(`ConfigMap ${this.#namespace}/${priceTableName} ${problem}`);
    return false;
  }
}
