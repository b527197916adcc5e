// Joins this room to the policy core: the SQL recogniser and the mask engine of one process, over one grammar.
import type { Bundle } from "../../policy/bundle.ts";
import type { MaskCatalog } from "../../policy/mask/catalog.ts";
import { maskCatalogFromRows, maskCatalogQueries } from "../../policy/mask/catalog-query.ts";
import { createTextMasker, type TextMasker } from "../../policy/mask/detect.ts";
import { createMaskBytes } from "../../policy/mask/for-type.ts";
import { firstUserOid } from "../../policy/mask/masked-columns.ts";
import { createMaskProver, type MaskProver } from "../../policy/mask/prove.ts";
import type { SqlGrammar } from "../../policy/sql/grammar.ts";
import { createSqlRecogniser } from "../../policy/sql/recognise.ts";
import type { Field } from "./decode.ts";
import type { MaskEngine } from "./mask-source.ts";
import type { CellMask, Detected, Masking, RowPlan } from "./masking.ts";
import type { Recognise } from "./understanding.ts";

export interface Understanding {
  readonly recognise: Recognise;
  readonly masks: MaskEngine<MaskCatalog>;
}

/** text, varchar, bpchar, name, unknown, json, and xml: types whose text format is what people read. */
const textTypes: ReadonlySet<number> = new Set([25, 1043, 1042, 19, 705, 114, 142]);
const jsonbType = 3802;
const textFormat = 0;

export function createUnderstanding(grammar: SqlGrammar): Understanding {
  const recogniser = createSqlRecogniser({ grammar });
  return {
    recognise: recogniser.recognise,
    masks: {
      catalogQueries: maskCatalogQueries,
      catalog: maskCatalogFromRows,
      masking: (bundle, catalog) => createMasking(grammar, bundle, catalog),
    },
  };
}

function createMasking(grammar: SqlGrammar, bundle: Bundle, catalog: MaskCatalog | undefined): Masking {
  const key = Buffer.from(bundle.maskKey, "base64url");
  const prover = catalog === undefined ? undefined : createMaskProver({ grammar, masks: bundle.columnMasks, catalog });
  const detector = bundle.detectMasks.length === 0 ? undefined : createTextMasker(bundle.detectMasks, key);
  return {
    prove({ text }) {
      if (bundle.columnMasks.length === 0) return undefined;
      if (prover === undefined) return "the tables and columns of the database are not known yet, so nothing can be masked for sure";
      const proof = prover.prove(text);
      return proof.ok ? undefined : proof.message;
    },
    plan: (fields, detected) => planRow(fields, bundle, { key, prover, catalog, detector }, detected),
  };
}

interface Parts {
  readonly key: Buffer;
  readonly prover: MaskProver | undefined;
  readonly catalog: MaskCatalog | undefined;
  readonly detector: TextMasker | undefined;
}

function planRow(fields: readonly Field[], bundle: Bundle, parts: Parts, detected: Detected): RowPlan | "unknown" | undefined {
  const { prover, catalog, detector } = parts;
  const columns: string[] = [];
  const cells: (CellMask | undefined)[] = [];
  for (const field of fields) {
    if (bundle.columnMasks.length > 0 && field.table >= firstUserOid && catalog?.byOid.get(field.table) === undefined) return "unknown";
    const masked = prover?.masked.byOid.get(field.table)?.get(field.attribute);
    if (masked !== undefined) {
      columns.push(masked.column);
      const mask = createMaskBytes(masked.transform, parts.key, field.type, field.format === textFormat ? "text" : "binary");
      cells.push((buffer, start, end) => mask(buffer.subarray(start, end)));
    } else cells.push(detector === undefined ? undefined : detectingCell(field, detector, detected));
  }
  return cells.every((cell) => cell === undefined) ? undefined : { cells, columns };
}

/** Detectors read text: every text format, and the binary format of types whose bytes are their text. */
function detectingCell(field: Field, detector: TextMasker, detected: Detected): CellMask | undefined {
  const isText = textTypes.has(field.type) || field.format === textFormat;
  if (!isText && field.type !== jsonbType) return undefined;
  const skip = field.type === jsonbType && field.format !== textFormat ? 1 : 0;
  return (buffer, start, end) => {
    const { text, counts } = detector(buffer.toString("utf8", start + skip, end));
    const found = Object.entries(counts);
    if (found.length === 0) return undefined;
    for (const [name, count] of found) detected.set(name, (detected.get(name) ?? 0) + count);
    return skip === 0 ? Buffer.from(text, "utf8") : Buffer.concat([buffer.subarray(start, start + skip), Buffer.from(text, "utf8")]);
  };
}
