// The masks of one bundle over one catalog, as this room uses them: proof before forwarding, a plan per row shape, errors that quote nothing.
import type { FoundMark } from "../../policy/marks.ts";
import type { SqlOperation } from "../../policy/operation.ts";
import type { CopyNotation } from "./copy-rows.ts";
import type { Cursors } from "./cursors.ts";
import type { Field } from "./decode.ts";
import type { Understood } from "./understanding.ts";

/** Every cell of a computed field, NULL or not. */
export interface CellConstant {
  readonly bytes: Buffer | null;
}

/** A masked cell: the bytes that replace it, null for SQL NULL, or undefined when it stays as it is. */
export type CellMask = (buffer: Buffer, start: number, end: number) => Buffer | null | undefined;

export interface RowPlan {
  /** One entry a column; undefined where nothing needs looking at. */
  readonly cells: readonly (CellMask | CellConstant | undefined)[];
  /** `schema.table.column` of the masked columns in this shape. */
  readonly columns: readonly string[];
  /** What these columns put on the pod's session, before the first row is shown. */
  readonly marks?: readonly FoundMark[];
  /** Of rows of COPY: how they are written, and whether the first is a line of names. */
  readonly copy?: { readonly notation: CopyNotation; readonly header: boolean };
}

/** What detectors found in one result, by detector. */
export type Detected = Map<string, number>;

/** A result as it is about to come. */
export interface ResultShape {
  /** Of the operation, in the form that proofs are kept by. */
  readonly text: string;
  /** Which statement of the text it is of. */
  readonly statement: number;
  readonly cursors: Pick<Cursors, "texts">;
}

/** `unknown`: a column's origin is not in the catalog, or not where the text says. A sentence says what else is wrong. */
export type Plan = RowPlan | "unknown" | { readonly refused: string } | undefined;

export interface Masking {
  /** Why the result of this operation cannot be masked for sure; undefined when it can. */
  prove(understood: Understood, operation: SqlOperation): string | undefined;
  /** Names a view: whether it may be read depends on what it reads at the moment. */
  readsViews(understood: Understood): boolean;
  /** Names of the cursors that this text declares; undefined where only detectors apply, which need no texts of cursors. */
  declares(understood: Understood): readonly string[] | undefined;
  /** Detectors look at the values of each result. */
  readonly detects: boolean;
  /** What their findings put on the pod's session, by detector. */
  readonly detectedMarks: ReadonlyMap<string, readonly FoundMark[]> | undefined;
  /** What the pod's session carries once this text has run, whatever it shows: its masked columns decide something. */
  decisiveMarks(understood: Understood): readonly FoundMark[];
  /** The fields of a RowDescription that answers this text; the same object while the same bytes come. */
  fields(text: string, buffer: Buffer, start: number, end: number): readonly Field[];
  /** Undefined: nothing to mask in this shape. */
  plan(fields: readonly Field[], detected: Detected, shape: ResultShape): Plan;
  /** The same for COPY TO, of which the server says only the number of columns, and whether they are binary. */
  copyPlan(columns: number, binary: boolean, shape: ResultShape): Plan;
}
