// The proof for one text: parse, walk every statement with the rules of column-use.ts, remember the answer by text.
import type { ColumnMask } from "../bundle.ts";
import { createCatalogNames } from "../sql/catalog-names.ts";
import type { SqlGrammar } from "../sql/grammar.ts";
import { createTextCache } from "../sql/text-cache.ts";
import { walkStatement } from "../sql/walk-statement.ts";
import { relationKey, type CatalogRelation, type MaskCatalog } from "./catalog.ts";
import { createUseSink, type UseRules } from "./column-use.ts";
import { maskedColumns, type MaskedColumns } from "./masked-columns.ts";

export type MaskProof =
  | {
      readonly ok: true;
      /** A relation with masked columns is named: errors and notices may quote its rows, so their detail is dropped. */
      readonly touchesMasked: boolean;
      /** Masked columns that stand as plain output columns; the rows' fields carry their table and number. */
      readonly plainColumns: readonly string[];
      /** Every relation the text names, `schema.name`, PostgreSQL's own left out: its result's columns are of these or of none. */
      readonly relations: ReadonlySet<string>;
      /** One of them is a view, whose definition was read with the catalog. */
      readonly readsViews: boolean;
    }
  | { readonly ok: false; readonly message: string };

export interface MaskProver {
  readonly masked: MaskedColumns;
  /** Why not, or that every masked column of this text can be masked by RowDescription. */
  prove(text: string): MaskProof;
}

export interface MaskProverOptions {
  readonly grammar: SqlGrammar;
  readonly masks: readonly ColumnMask[];
  readonly catalog: MaskCatalog;
  readonly maxEntries?: number;
}

const defaultMaxEntries = 1000;
const maxCacheBytes = 2 * 1024 * 1024;
const bytesPerProof = 300;
const nothingMasked: MaskProof = {
  ok: true,
  touchesMasked: false,
  plainColumns: [],
  relations: new Set(),
  readsViews: false,
};

/** One per pair of catalog and masks; results are remembered by text alone, so a change of either makes a new prover. */
export function createMaskProver(options: MaskProverOptions): MaskProver {
  const { grammar, catalog } = options;
  const masked = maskedColumns(options.masks, catalog);
  const rules = { masked, catalog, names: createCatalogNames() };
  const views = new Map<string, string | undefined>();
  const cache = createTextCache<MaskProof>(options.maxEntries ?? defaultMaxEntries, maxCacheBytes);

  const walk = (text: string): MaskProof => {
    const parsed = grammar.parse(text);
    if (!parsed.ok) return { ok: false, message: parsed.message };
    const { sink, uses } = createUseSink({ ...rules, viewProblem });
    for (const { node } of parsed.statements) walkStatement(node, sink, rules.names);
    if (uses.problem !== undefined) return { ok: false, message: uses.problem };
    const { touchesMasked, relations } = uses;
    const readsViews = [...relations].some((key) => catalog.relations.get(key)?.kind === "view");
    return { ok: true, touchesMasked, plainColumns: [...uses.plain], relations, readsViews };
  };

  /** A view may be read when its own query uses no masked column at all, not even as output: it would lose its number. */
  const viewProblem: UseRules["viewProblem"] = (view) => {
    const key = relationKey(view);
    if (views.has(key)) return views.get(key);
    // Views cannot be circular; should the catalog say so, the second look refuses.
    views.set(key, `view ${key} reads itself`);
    const problem = problemOf(view);
    views.set(key, problem);
    return problem;
  };

  const problemOf = (view: CatalogRelation): string | undefined => {
    const key = relationKey(view);
    if (view.callsFunctions)
      return `view ${key} calls functions that could read masked columns; read its tables instead`;
    if (view.definition === undefined) {
      const base = view.reads.find((read) => masked.byName.has(read));
      return base === undefined
        ? undefined
        : `view ${key} reads ${base}, which has masked columns; read the table instead`;
    }
    const proof = walk(view.definition);
    if (!proof.ok) return `view ${key} cannot be masked: ${proof.message}`;
    const [column] = proof.plainColumns;
    return column === undefined
      ? undefined
      : `view ${key} shows the masked column ${column}; read the table instead`;
  };

  const prove = (text: string): MaskProof => {
    if (options.masks.length === 0) return nothingMasked;
    const known = cache.get(text);
    if (known !== undefined) return known;
    const proof = walk(text);
    cache.set(text, proof, bytesPerProof);
    return proof;
  };
  return { masked, prove };
}
