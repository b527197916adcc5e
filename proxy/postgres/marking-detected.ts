// What detectors found in one result, where a finding puts marks on the pod's session: at the first of a detector, before its row goes out.
import type { FoundMark } from "../../policy/marks.ts";
import type { Detected } from "./masking.ts";

export class MarkingDetected extends Map<string, number> implements Detected {
  readonly #marks: ReadonlyMap<string, readonly FoundMark[]>;
  readonly #put: (marks: readonly FoundMark[]) => void;

  /** @param put throws ProxyError where the session cannot carry them: then the row is not shown */
  constructor(
    marks: ReadonlyMap<string, readonly FoundMark[]>,
    put: (marks: readonly FoundMark[]) => void,
  ) {
    super();
    this.#marks = marks;
    this.#put = put;
  }

  override set(detector: string, count: number): this {
    const marks = this.has(detector) ? undefined : this.#marks.get(detector);
    if (marks !== undefined) this.#put(marks);
    return super.set(detector, count);
  }
}
