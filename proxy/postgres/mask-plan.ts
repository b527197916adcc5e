// What each column of a result in hand becomes: by its table and attribute number where it has them, by its lineage where it was computed.
import { relationKey, type MaskCatalog } from "../../policy/mask/catalog.ts";
import type { TextMasker } from "../../policy/mask/detect.ts";
import { createMaskBytes, derivedConstant } from "../../policy/mask/for-type.ts";
import {
  byPlace,
  placed,
  unionOf,
  wholeOf,
  type Column,
  type Rows,
  type Taint,
} from "../../policy/mask/lineage/columns.ts";
import type { CopyFormat, Shown } from "../../policy/mask/lineage/statement.ts";
import { firstUserOid } from "../../policy/mask/masked-columns.ts";
import type { MaskedColumn } from "../../policy/mask/masked-columns.ts";
import type { MaskProver } from "../../policy/mask/prove.ts";
import type { Field } from "./decode.ts";
import { createDetectingMask } from "./detecting-mask.ts";
import type { CellConstant, CellMask, Detected, Plan, ResultShape } from "./masking.ts";

/** The masks of one bundle over one catalog. */
export interface Compiled {
  readonly catalog: MaskCatalog | undefined;
  readonly prover: MaskProver | undefined;
  readonly detector: TextMasker | undefined;
  readonly key: Buffer;
}

interface Refused {
  readonly refused: string;
}

type Cell = CellMask | CellConstant | undefined;

/** Cells of one result while its plan is being made, and the columns that are masked in it. */
interface Draft {
  readonly cells: Cell[];
  readonly columns: Set<string>;
}

export function planRow(
  compiled: Compiled,
  fields: readonly Field[],
  detected: Detected,
  shape: ResultShape,
): Plan {
  const { prover, detector } = compiled;
  const named = prover === undefined ? nothing : namedBy(prover, shape);
  const shown = prover === undefined ? open : lineage(prover, shape, fields.length);
  if ("refused" in shown) return shown;
  const draft: Draft = { cells: [], columns: new Set() };
  for (const [index, field] of fields.entries()) {
    const column = shown.columns[index];
    if (isUnknown(compiled, field, named)) return "unknown";
    if (shown.shifty && isMisplaced(field, column)) return "unknown";
    const cell = cellOf(compiled, field, column, draft);
    draft.cells.push(
      cell === undefined && detector !== undefined
        ? createDetectingMask(detector, field, detected)
        : cell,
    );
  }
  return finished(draft);
}

function finished({ cells, columns }: Draft): Plan {
  return cells.some((cell) => cell !== undefined) ? { cells, columns: [...columns] } : undefined;
}

const nothing: ReadonlySet<string> = new Set();

function namedBy(prover: MaskProver, { text }: ResultShape): ReadonlySet<string> {
  const proof = prover.prove(text);
  return proof.ok ? proof.relations : nothing;
}

/** Nothing masked is in any column, except where its own table and number say so. */
const open: Rows = { columns: [], shifty: false };

/** The columns of a result of this many, or why there cannot be such a result. */
function lineage(prover: MaskProver, shape: ResultShape, count: number): Rows | Refused {
  const shown = shownOf(prover, shape.text, shape.statement);
  if (shown?.fetches !== undefined) return fetched(prover, shown.fetches, shape, count);
  if (shown?.rows === undefined) return shown === undefined ? miscounted : open;
  return expected(shown.rows, count) ?? miscounted;
}

const miscounted = {
  refused:
    "the result has other columns than its text and the catalog say, so its masks are not known; send the statement again",
};

function shownOf(prover: MaskProver, text: string, statement: number): Shown | undefined {
  const proof = prover.prove(text);
  return proof.ok ? proof.shown[statement] : undefined;
}

function expected(rows: Rows, count: number): Rows | undefined {
  const columns = placed(rows, count);
  return columns === undefined ? undefined : { columns, shifty: rows.shifty };
}

/** A cursor keeps the columns that its tables had when it was declared, so that another number of them now excludes no text. */
function anywhere({ columns }: Rows, count: number): Rows {
  const any: Column = { name: undefined, taint: wholeOf(columns) };
  return { columns: Array.from({ length: count }, () => any), shifty: false };
}

/** Whichever text of that name is open: its columns together with those of the others. */
function fetched(
  prover: MaskProver,
  name: string,
  { cursors }: ResultShape,
  count: number,
): Rows | Refused {
  const candidates: Rows[] = [];
  for (const text of cursors.texts(name) ?? []) {
    const proof = prover.prove(text);
    if (!proof.ok) return { refused: proof.message };
    for (const { declares, rows } of proof.shown) {
      if (declares !== name) continue;
      candidates.push(rows === undefined ? open : (expected(rows, count) ?? anywhere(rows, count)));
    }
  }
  const [first, ...more] = candidates;
  if (first === undefined)
    return {
      refused: `what the cursor "${name}" reads is not known here, so its rows cannot be masked; DECLARE it again, as a cursor of SQL`,
    };
  if (more.length === 0) return first;
  // Which of them came, no origin tells any more: where places are uncertain each column may be any.
  const placeable = candidates.map(byPlace);
  const columns = Array.from({ length: count }, (_, index) => ({
    name: undefined,
    taint: unionOf(placeable.flatMap((one) => one[index]?.taint ?? [])),
  }));
  return { columns, shifty: false };
}

function isMisplaced(field: Field, column: Column | undefined): boolean {
  const origin = column?.origin;
  return (
    origin !== undefined && (field.table !== origin.table || field.attribute !== origin.attribute)
  );
}

function cellOf(compiled: Compiled, field: Field, column: Column | undefined, draft: Draft): Cell {
  const masked = compiled.prover?.masked.byOid.get(field.table)?.get(field.attribute);
  if (masked !== undefined) return itself(compiled, field, masked, draft);
  if (column === undefined || column.taint.size === 0 || isPlain(compiled, field)) return undefined;
  return column.identity === undefined
    ? constant(column.taint, field, draft)
    : itself(compiled, field, column.identity, draft);
}

/** The very column of a table, which is not masked, whatever its lineage was taken for. */
function isPlain({ catalog }: Compiled, { table, attribute }: Field): boolean {
  return attribute > 0 && catalog?.byOid.get(table)?.kind === "table";
}

function itself(compiled: Compiled, field: Field, masked: MaskedColumn, draft: Draft): CellMask {
  draft.columns.add(masked.column);
  const format = field.format === 0 ? "text" : "binary";
  const bytes = createMaskBytes(masked.transform, compiled.key, field.type, format);
  return (buffer, start, end) => bytes(buffer.subarray(start, end));
}

function constant(taint: Taint, field: Field, draft: Draft): CellConstant {
  let nullified = false;
  for (const { column, transform } of taint) {
    draft.columns.add(column);
    nullified ||= transform.kind === "nullify";
  }
  return {
    bytes: derivedConstant(nullified, field.type, field.format === 0 ? "text" : "binary"),
  };
}

/**
 * A column of a table that the catalog has not seen could be masked under a name that is not known yet; and one of a
 * table that the text does not name shows that a table has taken another's name since the catalog was read. FETCH names none.
 */
function isUnknown(
  { catalog, prover }: Compiled,
  field: Field,
  named: ReadonlySet<string>,
): boolean {
  if (prover === undefined || field.table < firstUserOid) return false;
  const relation = catalog?.byOid.get(field.table);
  if (relation === undefined || (named.size > 0 && !named.has(relationKey(relation)))) return true;
  return field.attribute > 0 && !relation.columns.some(({ number }) => number === field.attribute);
}

/** Of COPY's columns neither table nor type are said: what was computed is NULL, the column itself has its catalog's type. */
export function planCopy(compiled: Compiled, count: number, shape: ResultShape): Plan {
  const { prover } = compiled;
  if (prover === undefined) return undefined;
  const shown = shownOf(prover, shape.text, shape.statement);
  if (shown === undefined) return "unknown";
  if (shown.rows === undefined) return undefined;
  const refused = objectionTo(shown.copies);
  if (refused !== undefined) return { refused };
  const columns = placed({ ...shown.rows, columns: byPlace(shown.rows) }, count);
  if (columns === undefined) return "unknown";
  const draft: Draft = { cells: [], columns: new Set() };
  for (const { taint, identity } of columns) {
    if (taint.size === 0) draft.cells.push(undefined);
    else if (identity === undefined) draft.cells.push(constant(taint, unknownField, draft));
    else {
      const field = { ...unknownField, type: identity.type };
      draft.cells.push(itself(compiled, field, identity, draft));
    }
  }
  return finished(draft);
}

const unknownField: Field = { name: "", table: 0, attribute: 0, type: 0, format: 0 };

export function objectionTo(copies: CopyFormat | undefined): string | undefined {
  if (copies === undefined || copies.format !== "text")
    return `COPY TO in ${copies?.format ?? "another"} format cannot be masked; use the text format, or SELECT`;
  if (copies.header) return "COPY TO with HEADER cannot be masked; leave HEADER out, or use SELECT";
  return copies.special === undefined
    ? undefined
    : `COPY TO with the option ${copies.special} cannot be masked; use the text format without options, or SELECT`;
}
