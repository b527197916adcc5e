// The masks of one bundle over one catalog, as this room uses them: proof before forwarding, a plan per row shape, errors that quote nothing.
import type { SqlOperation } from "../../policy/operation.ts";
import type { Field } from "./decode.ts";
import type { Understood } from "./understanding.ts";

/** A masked cell: the bytes that replace it, null for SQL NULL, or undefined when it stays as it is. */
export type CellMask = (buffer: Buffer, start: number, end: number) => Buffer | null | undefined;

export interface RowPlan {
  /** One entry a column; undefined where nothing needs looking at. */
  readonly cells: readonly (CellMask | undefined)[];
  /** `schema.table.column` of the masked columns in this shape. */
  readonly columns: readonly string[];
}

/** What detectors found in one result, by detector. */
export type Detected = Map<string, number>;

export interface Masking {
  /** Why the result of this operation cannot be masked for sure; undefined when it can. */
  prove(understood: Understood, operation: SqlOperation): string | undefined;
  /** Names a view: whether it may be read depends on what it reads at the moment. */
  readsViews(understood: Understood): boolean;
  /** Undefined: nothing to mask in this shape. `unknown`: a column's origin is not in the catalog, or not where the text says. */
  plan(
    fields: readonly Field[],
    detected: Detected,
    understood: Understood,
  ): RowPlan | "unknown" | undefined;
}
