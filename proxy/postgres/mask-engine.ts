// Compiles the masks of a bundle for this room: proof by the policy core, then a plan for each result (mask-plan.ts).
import type { Bundle, ColumnMask } from "../../policy/bundle.ts";
import type { MaskCatalog } from "../../policy/mask/catalog.ts";
import { maskCatalogFromRows, maskCatalogQueries } from "../../policy/mask/catalog-query.ts";
import { createTextMasker } from "../../policy/mask/detect.ts";
import type { Followed } from "../../policy/followed.ts";
import { createMaskProver } from "../../policy/mask/prove.ts";
import { createRelatives, type Relatives } from "../../policy/mask/relatives.ts";
import type { Source, ViewColumns } from "../../policy/mask/relation-tree.ts";
import type { MaskedColumn } from "../../policy/mask/masked-columns.ts";
import type { CatalogNames } from "../../policy/sql/catalog-names.ts";
import type { SqlGrammar } from "../../policy/sql/grammar.ts";
import { marksByDetector, type FoundMark } from "../../policy/marks.ts";
import { copyOf, marksOfColumns, planCopy, planRow, type Compiled } from "./mask-plan.ts";
import type { MaskEngine } from "./mask-source.ts";
import type { Masking } from "./masking.ts";
import { PlanMemo } from "./plan-memo.ts";

const noCatalog = {};
type ByCatalog = WeakMap<object, Masking>;

/** Sessions share what is compiled for the same masks over one catalog: proofs and plans hold for all of them. Masks are told apart by their lists, which are a bundle's own. */
export function createMaskEngine(grammar: SqlGrammar, names: CatalogNames): MaskEngine {
  const byColumns = new WeakMap<object, WeakMap<object, ByCatalog>>();
  const byFollowed = new WeakMap<object, WeakMap<object, Relatives>>();
  return {
    relatives: (followed, catalog) =>
      under(under(byFollowed, followed, emptyMap<Relatives>), catalog, () =>
        createRelatives(catalog, followed, viewColumns(followed, catalog, grammar, names)),
      ),
    catalogQueries: maskCatalogQueries,
    catalog: maskCatalogFromRows,
    masking: (bundle, catalog) => {
      const byDetectors = under(byColumns, bundle.columnMasks, emptyMap<ByCatalog>);
      const byCatalog = under(byDetectors, bundle.detectMasks, emptyMap<Masking>);
      return under(byCatalog, catalog ?? noCatalog, () => compile(bundle, catalog, grammar, names));
    },
  };
}

/** By the lineage that masks go by: what rules name is followed as if it were masked. */
function viewColumns(
  { columnNames }: Followed,
  catalog: MaskCatalog,
  grammar: SqlGrammar,
  names: CatalogNames,
): ViewColumns {
  if (columnNames.length === 0) return () => undefined;
  const masks = columnNames.map((column): ColumnMask => ({
    column,
    transform: { kind: "redact" },
    policy: "",
  }));
  const prover = createMaskProver({ grammar, names, masks, catalog });
  const sources = new Map<MaskedColumn, Source>();
  for (const [relation, columns] of prover.masked.byName)
    for (const [column, masked] of columns) sources.set(masked, { relation, column });
  return (view) => {
    const made = prover.madeOf(view);
    return (
      made &&
      new Map(
        Array.from(made, ([name, from]) => [
          name,
          [...from].flatMap((one) => sources.get(one) ?? []),
        ]),
      )
    );
  };
}

function emptyMap<V>(): WeakMap<object, V> {
  return new WeakMap();
}

/** What the map holds under this key; made first where it holds nothing. */
function under<V>(map: WeakMap<object, V>, key: object, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

function compile(
  bundle: Bundle,
  catalog: MaskCatalog | undefined,
  grammar: SqlGrammar,
  names: CatalogNames,
): Masking {
  const key = Buffer.from(bundle.maskKey, "base64url");
  const { columnMasks, detectMasks } = bundle;
  const compiled: Compiled = {
    catalog,
    prover:
      columnMasks.length === 0 || catalog === undefined
        ? undefined
        : createMaskProver({ grammar, names, masks: columnMasks, catalog }),
    detector: detectMasks.length === 0 ? undefined : createTextMasker(detectMasks, key),
    key,
  };
  const marksColumns = columnMasks.some(({ marks }) => marks !== undefined);
  const memo = new PlanMemo();
  if (columnMasks.length > 0 && compiled.prover === undefined)
    throw new Error("column masks cannot be compiled without a catalog");
  return {
    prove: (understood, operation) => {
      // What is not understood is refused by the decision, which says it better.
      if (operation.unrecognised !== undefined) return undefined;
      const proof = compiled.prover?.prove(understood.shape);
      if (proof?.ok === false) return proof.message;
      for (const { rows, copies } of proof?.shown ?? []) {
        const copy = rows === undefined || copies === undefined ? undefined : copyOf(copies);
        if (typeof copy === "string") return copy;
      }
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
    declares: ({ shape }) => {
      if (compiled.prover === undefined) return undefined;
      const proof = compiled.prover.prove(shape);
      if (!proof.ok || proof.shown.every(({ declares }) => declares === undefined)) return noNames;
      return proof.shown.flatMap(({ declares }) => declares ?? []);
    },
    detects: compiled.detector !== undefined,
    detectedMarks: marksByDetector(detectMasks),
    decisiveMarks: ({ shape }) => {
      if (!marksColumns) return none;
      const proof = compiled.prover?.prove(shape);
      return proof?.ok === true ? marksOfColumns(proof.decidedBy) : none;
    },
    fields: (text, buffer, start, end) => memo.fields(text, buffer, start, end),
    plan: (fields, detected, shape) => {
      // What detectors find is counted by result, and what a cursor reads is known at the moment.
      const fixed =
        compiled.detector === undefined && shape.statement === 0 && !fetches(compiled, shape.text);
      const known = fixed ? memo.find(shape.text, fields) : undefined;
      if (known !== undefined) return known.of;
      const plan = planRow(compiled, fields, detected, shape);
      if (fixed && plan !== "unknown" && (plan === undefined || !("refused" in plan)))
        memo.keep(shape.text, fields, plan);
      return plan;
    },
    copyPlan: (columns, binary, shape) => planCopy(compiled, columns, binary, shape),
  };
}

const none: readonly FoundMark[] = [];
const noNames: readonly string[] = [];

function fetches({ prover }: Compiled, text: string): boolean {
  const proof = prover?.prove(text);
  return proof?.ok === true && proof.shown[0]?.fetches !== undefined;
}
