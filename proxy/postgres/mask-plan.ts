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
import type { FoundMark } from "../../policy/marks.ts";
import type { MaskProver } from "../../policy/mask/prove.ts";
import type { Field } from "./decode.ts";
import type { CopyNotation } from "./copy-rows.ts";
import { createDetectingMask } from "./detecting-mask.ts";
import type { CellConstant, CellMask, Detected, Plan, ResultShape, RowPlan } from "./masking.ts";

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
  readonly columns: Set<MaskedColumn>;
}

/** What these columns put on the pod's session. */
export function marksOfColumns(columns: Iterable<MaskedColumn>): readonly FoundMark[] {
  return [...columns].flatMap(({ column, marks = [] }) =>
    marks.map((mark): FoundMark => ({ ...mark, column })),
  );
}

/** As a plan says it: each column once, whichever of its masks came. */
function told({ columns }: Draft): Pick<RowPlan, "columns" | "marks"> {
  const marks = marksOfColumns(columns);
  return {
    columns: [...new Set([...columns].map(({ column }) => column))],
    ...(marks.length > 0 && { marks }),
  };
}

export function planRow(
  compiled: Compiled,
  fields: readonly Field[],
  detected: Detected,
  shape: ResultShape,
): Plan {
  const { prover, detector } = compiled;
  const proof = prover?.prove(shape.text);
  const statement = proof?.ok === true ? proof.shown[shape.statement] : undefined;
  const shown = prover === undefined ? open : lineage(prover, statement, shape, fields.length);
  if (shown === "unknown" || "refused" in shown) return shown;
  // FETCH names no relation.
  const isOfText = proof?.ok === true && statement?.fetches === undefined;
  const named = isOfText ? proof.relations : nothing;
  const spelled = isOfText ? shape.text : undefined;
  const draft: Draft = { cells: [], columns: new Set() };
  for (const [index, field] of fields.entries()) {
    const column = shown.columns[index];
    if (isUnknown(compiled, field, named)) return "unknown";
    if (shown.shifty && isMisplaced(field, column)) return "unknown";
    if (isRenamed(compiled, field, column, spelled)) return "unknown";
    const cell = cellOf(compiled, field, column, draft);
    draft.cells.push(
      cell === undefined && detector !== undefined
        ? createDetectingMask(detector, field, detected)
        : cell,
    );
  }
  return finished(draft);
}

function finished(draft: Draft): Plan {
  const { cells } = draft;
  return cells.some((cell) => cell !== undefined) ? { cells, ...told(draft) } : undefined;
}

const nothing: ReadonlySet<string> = new Set();

/** Nothing masked is in any column, except where its own table and number say so. */
const open: Rows = { columns: [], shifty: false };

/** The columns of a result of this many, or why there cannot be such a result. */
function lineage(
  prover: MaskProver,
  statement: Shown | undefined,
  shape: ResultShape,
  count: number,
): Rows | Refused | "unknown" {
  if (statement === undefined) return "unknown";
  if (statement.fetches !== undefined) return fetched(prover, statement.fetches, shape, count);
  return statement.rows === undefined ? open : (expected(statement.rows, count) ?? "unknown");
}

function expected(rows: Rows, count: number): Rows | undefined {
  const columns = placed(rows, count);
  return columns === undefined ? undefined : { columns, shifty: rows.shifty };
}

/** The rows of a cursor, by whichever of the texts that declared one of its name. */
function fetched(
  prover: MaskProver,
  name: string,
  { cursors }: ResultShape,
  count: number,
): Rows | Refused | "unknown" {
  const candidates: Rows[] = [];
  for (const text of cursors.texts(name) ?? []) {
    const proof = prover.prove(text);
    if (!proof.ok) return { refused: proof.message };
    for (const { declares, rows = open } of proof.shown)
      if (declares === name) candidates.push(rows);
  }
  const [first, ...more] = candidates;
  if (first === undefined)
    return {
      refused: `what the cursor "${name}" reads is not known here, so its rows cannot be masked; DECLARE it again, as a cursor of SQL`,
    };
  if (more.length > 0) return anyOf(candidates, count);
  return first === open ? open : (expected(first, count) ?? "unknown");
}

/** Whichever of these it is: those of another width could be it only if the catalog were wrong, and then anything goes. */
function anyOf(candidates: readonly Rows[], count: number): Rows {
  const placing = candidates.map((rows) =>
    rows === open ? [] : placed({ ...rows, columns: byPlace(rows) }, count),
  );
  const astray = candidates.filter((_, index) => placing[index] === undefined);
  const stray = unionOf(astray.map(({ columns }) => wholeOf(columns)));
  const columns = Array.from({ length: count }, (_, index) => ({
    name: undefined,
    taint: unionOf([stray, ...placing.flatMap((one) => one?.[index]?.taint ?? [])]),
  }));
  return { columns, shifty: false };
}

/** A column that came under another name than the catalog's, which the text does not say, or which is that of a masked one: it was renamed since. */
function isRenamed(
  { catalog, prover }: Compiled,
  { name, table, attribute }: Field,
  column: Column | undefined,
  text: string | undefined,
): boolean {
  const relation = attribute > 0 ? catalog?.byOid.get(table) : undefined;
  const there = relation?.columns.find(({ number }) => number === attribute);
  if (relation === undefined || there === undefined || there.name === name) return false;
  if (text !== undefined && !mayName(text, name)) return true;
  const isTainted = column !== undefined && column.taint.size > 0 && relation.kind === "table";
  return isTainted && prover?.masked.byName.get(relationKey(relation))?.has(name) === true;
}

/** Escapes (`U&"\0061"`) may name anything. */
function mayName(text: string, name: string): boolean {
  const lower = text.toLowerCase();
  return lower.includes(name.toLowerCase()) || lower.includes("u&") || name.includes('"');
}

function isMisplaced(field: Field, column: Column | undefined): boolean {
  const origin = column?.origin;
  return (
    origin !== undefined && (field.table !== origin.table || field.attribute !== origin.attribute)
  );
}

function cellOf(compiled: Compiled, field: Field, column: Column | undefined, draft: Draft): Cell {
  const masked = compiled.prover?.masked.byOid.get(field.table)?.get(field.attribute);
  if (masked !== undefined && !isTraced(compiled, field, column))
    return itself(compiled, field, masked, draft);
  if (column === undefined || column.taint.size === 0 || isPlain(compiled, field)) return undefined;
  return column.identity === undefined
    ? constant(column.taint, field, draft)
    : itself(compiled, field, column.identity, draft);
}

/** A view's column has the masks of what it shows beside its own; its lineage knows them all. */
function isTraced({ catalog }: Compiled, { table }: Field, column: Column | undefined): boolean {
  return (
    column !== undefined && column.taint.size > 0 && catalog?.byOid.get(table)?.kind === "view"
  );
}

/** The very column of a table, which is not masked, whatever its lineage was taken for. */
function isPlain({ catalog }: Compiled, { table, attribute }: Field): boolean {
  return attribute > 0 && catalog?.byOid.get(table)?.kind === "table";
}

function itself(compiled: Compiled, field: Field, masked: MaskedColumn, draft: Draft): CellMask {
  draft.columns.add(masked);
  const format = field.format === 0 ? "text" : "binary";
  const bytes = createMaskBytes(masked.transform, compiled.key, field.type, format);
  return (buffer, start, end) => bytes(buffer.subarray(start, end));
}

function constant(taint: Taint, field: Field, draft: Draft): CellConstant {
  let nullified = false;
  for (const masked of taint) {
    draft.columns.add(masked);
    nullified ||= masked.transform.kind === "nullify";
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

/**
 * Of COPY's columns neither table nor type are said: what was computed is NULL, the column itself has its catalog's type.
 *
 * @param binary what the server says of the rows
 */
export function planCopy(
  compiled: Compiled,
  count: number,
  binary: boolean,
  shape: ResultShape,
): Plan {
  const { prover } = compiled;
  if (prover === undefined) return undefined;
  const proof = prover.prove(shape.text);
  const shown = proof.ok ? proof.shown[shape.statement] : undefined;
  if (shown === undefined) return "unknown";
  if (shown.rows === undefined) return undefined;
  const copy = copyOf(shown.copies);
  if (typeof copy === "string") return { refused: copy };
  if (binary !== (copy.notation === "binary")) return "unknown";
  const columns = placed({ ...shown.rows, columns: byPlace(shown.rows) }, count);
  if (columns === undefined) return "unknown";
  const draft: Draft = { cells: [], columns: new Set() };
  const plain: Field = { ...unknownField, format: copy.notation === "binary" ? 1 : 0 };
  for (const { taint, identity } of columns) {
    if (taint.size === 0) draft.cells.push(undefined);
    else if (identity === undefined) draft.cells.push(constant(taint, plain, draft));
    else draft.cells.push(itself(compiled, { ...plain, type: identity.type }, identity, draft));
  }
  return { cells: draft.cells, ...told(draft), copy };
}

const unknownField: Field = { name: "", table: 0, attribute: 0, type: 0, format: 0 };

function isNotation(format: string): format is CopyNotation {
  return format === "text" || format === "csv" || format === "binary";
}

/** How its rows are written, or why they cannot be masked. */
export function copyOf(copies: CopyFormat | undefined): NonNullable<RowPlan["copy"]> | string {
  const format = copies?.format ?? "another";
  if (copies === undefined || !isNotation(format))
    return `COPY TO in ${format} format cannot be masked; use text, csv or binary, or SELECT`;
  return copies.special === undefined
    ? { notation: format, header: copies.header }
    : `COPY TO with the option ${copies.special} cannot be masked; leave it out, or use SELECT`;
}
