// Compiles the masks of a bundle for this room: proof by the policy core, then one cell function a column, chosen by table and attribute number.
import type { Bundle } from "../../policy/bundle.ts";
import { relationKey, type MaskCatalog } from "../../policy/mask/catalog.ts";
import { maskCatalogFromRows, maskCatalogQueries } from "../../policy/mask/catalog-query.ts";
import { createTextMasker } from "../../policy/mask/detect.ts";
import type { TextMasker } from "../../policy/mask/detect.ts";
import { createMaskBytes } from "../../policy/mask/for-type.ts";
import { firstUserOid } from "../../policy/mask/masked-columns.ts";
import { createMaskProver } from "../../policy/mask/prove.ts";
import type { MaskProver } from "../../policy/mask/prove.ts";
import type { SqlGrammar } from "../../policy/sql/grammar.ts";
import type { Field } from "./decode.ts";
import { createDetectingMask } from "./detecting-mask.ts";
import type { MaskEngine } from "./mask-source.ts";
import type { CellMask, Detected, Masking, RowPlan } from "./masking.ts";

export function createMaskEngine(grammar: SqlGrammar): MaskEngine {
  return {
    catalogQueries: maskCatalogQueries,
    catalog: maskCatalogFromRows,
    masking: (bundle, catalog) => compile(bundle, catalog, grammar),
  };
}

interface Compiled {
  readonly catalog: MaskCatalog | undefined;
  readonly prover: MaskProver | undefined;
  readonly detector: TextMasker | undefined;
  readonly key: Buffer;
}

function compile(bundle: Bundle, catalog: MaskCatalog | undefined, grammar: SqlGrammar): Masking {
  const key = Buffer.from(bundle.maskKey, "base64url");
  const { columnMasks, detectMasks } = bundle;
  const compiled: Compiled = {
    catalog,
    prover:
      columnMasks.length === 0 || catalog === undefined
        ? undefined
        : createMaskProver({ grammar, masks: columnMasks, catalog }),
    detector: detectMasks.length === 0 ? undefined : createTextMasker(detectMasks, key),
    key,
  };
  if (columnMasks.length > 0 && compiled.prover === undefined)
    throw new Error("column masks cannot be compiled without a catalog");
  return {
    prove: (understood, operation) => {
      // What is not understood is refused by the decision, which says it better.
      if (operation.unrecognised !== undefined) return undefined;
      const proof = compiled.prover?.prove(understood.shape);
      if (proof?.ok === false) return proof.message;
      const copiesOut =
        operation.facts.statements.includes("copy") &&
        operation.facts.relationsWritten.length === 0;
      return copiesOut && compiled.detector !== undefined
        ? "COPY TO would show what the detectors of this connection mask; use SELECT"
        : undefined;
    },
    readsViews: ({ shape, operation }) => {
      const proof =
        operation.unrecognised === undefined ? compiled.prover?.prove(shape) : undefined;
      return proof?.ok === true && proof.readsViews;
    },
    plan: (fields, detected, { shape }) => planRow(compiled, fields, detected, shape),
  };
}

function planRow(
  compiled: Compiled,
  fields: readonly Field[],
  detected: Detected,
  text: string,
): RowPlan | "unknown" | undefined {
  const cells: (CellMask | undefined)[] = [];
  const columns: string[] = [];
  let masks = false;
  const proof = compiled.prover?.prove(text);
  const named = proof?.ok === true ? proof.relations : nothing;
  for (const field of fields) {
    if (isUnknown(compiled, field, named)) return "unknown";
    const masked = compiled.prover?.masked.byOid.get(field.table)?.get(field.attribute);
    let cell: CellMask | undefined;
    if (masked !== undefined) {
      const format = field.format === 0 ? "text" : "binary";
      const bytes = createMaskBytes(masked.transform, compiled.key, field.type, format);
      cell = (buffer, start, end) => bytes(buffer.subarray(start, end));
      columns.push(masked.column);
    } else if (compiled.detector !== undefined)
      cell = createDetectingMask(compiled.detector, field, detected);
    cells.push(cell);
    masks ||= cell !== undefined;
  }
  return masks ? { cells, columns } : undefined;
}

const nothing: ReadonlySet<string> = new Set();

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
