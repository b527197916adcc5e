// Remembers, for each text under one set of masks, the row shape it was last described with and the plan for that: both are the same at nearly every execution.
import { readRowDescription, type Field } from "./decode.ts";
import type { RowPlan } from "./masking.ts";

/** As many as there are proofs of texts; more begin anew. */
const maxShapes = 1_000;
/** A RowDescription of hundreds of columns is kept by nobody. */
const maxDescribedBytes = 8 * 1024;

interface Known {
  /** The whole RowDescription: what differs in one bit is another shape. */
  readonly described: Buffer;
  readonly fields: readonly Field[];
  /** Undefined until it was made. */
  plan: { readonly of: RowPlan | undefined } | undefined;
}

export class PlanMemo {
  #known = new Map<string, Known>();

  /** The fields of a RowDescription; for the same bytes of the same text the same object. */
  fields(text: string, buffer: Buffer, start: number, end: number): readonly Field[] {
    const known = this.#known.get(text);
    if (known !== undefined && isSame(known.described, buffer, start, end)) return known.fields;
    const fields = readRowDescription(buffer, start, end);
    if (end - start > maxDescribedBytes) return fields;
    if (this.#known.size >= maxShapes) this.#known = new Map();
    const described = Buffer.from(buffer.subarray(start, end));
    this.#known.set(text, { described, fields, plan: undefined });
    return fields;
  }

  /** What was made for these very fields, if anything was. */
  find(text: string, fields: readonly Field[]): { readonly of: RowPlan | undefined } | undefined {
    const known = this.#known.get(text);
    return known?.fields === fields ? known.plan : undefined;
  }

  keep(text: string, fields: readonly Field[], plan: RowPlan | undefined): void {
    const known = this.#known.get(text);
    if (known?.fields === fields) known.plan = { of: plan };
  }
}

function isSame(described: Buffer, buffer: Buffer, start: number, end: number): boolean {
  return (
    described.length === end - start &&
    buffer.compare(described, 0, described.length, start, end) === 0
  );
}
