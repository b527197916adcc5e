// Proves for one text that everything it shows can be masked, and says how; or says which column and which use forbids it.
//
// The argument. A masked value can come to the agent by a field of a result that is the column itself, by a field that
// was computed from it, by what it decides (which rows come, in which order, how many, whether the statement fails, how
// long it takes), by another place that it is stored in, or past the text altogether.
//
//   1. The column itself: PostgreSQL gives a field a table and attribute number exactly when it is that column and
//      nothing else, through joins, sub-queries and CTEs. At run time such a field has the column's own transform, or
//      none if the column is not masked, whatever is thought of it here. Of views it gives the view's number.
//   2. Computed: for every other field the lineage engine (lineage/) names the masked columns whose values may be in it:
//      all that its expression mentions, in conditions of CASE too, through sub-queries, CTEs (recursive ones until
//      nothing changes), set operations, joins, VALUES, views and RETURNING. If there are any, every cell of the field,
//      NULL or not, becomes one constant, so nothing of the value is left in it. Only where the field is the column
//      itself or its text, in every branch, its transform is applied instead.
//   3. Names over-approximate (lineage/level.ts): a reference counts as every column it could mean in this query and
//      those around it, a whole row as all its columns, an unknown name as everything in reach. So neither shadowing nor
//      an ALTER TABLE between proof and execution makes less of a value than there is. Where fields are told by their
//      place and a star over a table that the agent might alter stands before them, the places count as uncertain, or
//      the fields that the star brought must be those of the catalog (`shifty`). A result with another number of
//      columns than predicted is refused.
//   4. Decided: predicates on a masked column are refused unless its mask says `predicates: Allow`, and so is
//      every operation on it that may fail, take long or give rows depending on its value (lineage/trace.ts). NULL
//      is shown as NULL by most transforms, so whether there is a value may be asked.
//   5. Stored: values from masked columns are never written anywhere, in tables, views or functions. Constants and
//      parameters may be written into a masked column; that shows nothing, unless its transform is keyed (hash,
//      tokenize): read back, they would show what values of one's choice become, so there they are refused, and what is
//      not masked never goes through a keyed transform. Cursors are remembered by the text that
//      declared them.
//   6. Past the text: functions that are not on the safe list, operators and code that could run queries, statistics,
//      TOAST tables, relations that are not known, rules, and statements that move masked columns are refused while
//      masks exist (guard.ts).
//
// The text of a view is its author's: it is traced for what it shows, its predicates are no agent's question. What is
// left: error details may quote rows ("Failing row contains …"), so the proxy drops the detail of errors and notices
// while masks exist.
import type { ColumnMask } from "../bundle.ts";
import { stricterTransform } from "../strictness.ts";
import { tagged } from "../sql/ast.ts";
import { createCatalogNames, type CatalogNames } from "../sql/catalog-names.ts";
import type { SqlGrammar } from "../sql/grammar.ts";
import { createTextCache } from "../sql/text-cache.ts";
import { walkStatement } from "../sql/walk-statement.ts";
import { relationKey, type CatalogRelation, type MaskCatalog } from "./catalog.ts";
import { createGuard, type GuardRules, type ViewReach } from "./guard.ts";
import {
  clean,
  union,
  unknownColumns,
  wholeOf,
  type Column,
  type Rows,
  type Taint,
} from "./lineage/columns.ts";
import { shownBy, tracedStatements, type Shown } from "./lineage/statement.ts";
import { maxSteps, tooComplex, Untraceable } from "./lineage/trace.ts";
import { traceQuery } from "./lineage/write.ts";
import { maskedColumns, type MaskedColumn, type MaskedColumns } from "./masked-columns.ts";

export type MaskProof =
  | {
      readonly ok: true;
      /** A relation with masked columns is named: errors and notices may quote its rows, so their detail is dropped. */
      readonly touchesMasked: boolean;
      /** What each statement of the text shows, in their order. */
      readonly shown: readonly Shown[];
      /** Every relation the text names, `schema.name`, PostgreSQL's own left out: its result's columns are of these or of none. */
      readonly relations: ReadonlySet<string>;
      /** Masked columns whose values choose rows, their order or number: it tells of them whatever it shows. */
      readonly decidedBy: ReadonlySet<MaskedColumn>;
      /** One of them is a view, whose definition was read with the catalog. */
      readonly readsViews: boolean;
    }
  | { readonly ok: false; readonly message: string };

export interface MaskProver {
  readonly masked: MaskedColumns;
  /** Why not, or how the rows of this text are masked. */
  prove(text: string): MaskProof;
  /** The masked columns that each column of a view is made of; undefined where that cannot be told. */
  madeOf(view: string): ReadonlyMap<string, ReadonlySet<MaskedColumn>> | undefined;
}

export interface MaskProverOptions {
  readonly grammar: SqlGrammar;
  readonly masks: readonly ColumnMask[];
  readonly catalog: MaskCatalog;
  /** To share them: they take a third of a megabyte. */
  readonly names?: CatalogNames;
  readonly maxEntries?: number;
}

const defaultMaxEntries = 1000;
const maxCacheBytes = 2 * 1024 * 1024;
const bytesPerProof = 300;
const bytesPerColumn = 100;
const nothingMasked: MaskProof = {
  ok: true,
  touchesMasked: false,
  shown: [],
  relations: new Set(),
  decidedBy: new Set(),
  readsViews: false,
};
const unknownRelation: Rows = { columns: [unknownColumns(clean)], shifty: false };

const none: ReadonlySet<string> = new Set();

interface View extends ViewReach {
  readonly rows: Rows;
}

/** One per pair of catalog and masks; results are remembered by text alone, so a change of either makes a new prover. */
export function createMaskProver(options: MaskProverOptions): MaskProver {
  const { grammar, catalog } = options;
  const masked = maskedColumns(options.masks, catalog);
  const names = options.names ?? createCatalogNames();
  const views = new Map<string, View>();
  const tables = new Map<string, Rows>();
  const cache = createTextCache<MaskProof>(options.maxEntries ?? defaultMaxEntries, maxCacheBytes);

  const viewOf = (view: CatalogRelation): View => {
    const key = relationKey(view);
    const known = views.get(key);
    if (known !== undefined) return known;
    // Views cannot be circular; should the catalog say so, the second look refuses.
    views.set(key, unreadable(`view ${key} reads itself`));
    const found = readView(view, key);
    views.set(key, found);
    return found;
  };
  const rowsOfRelation = (key: string): Rows => {
    const known = tables.get(key);
    if (known !== undefined) return known;
    const relation = catalog.relations.get(key);
    if (relation === undefined) return unknownRelation;
    const rows = relation.kind === "view" ? viewOf(relation).rows : tableRows(relation, masked);
    tables.set(key, rows);
    return rows;
  };

  const guardRules: GuardRules = { masked, catalog, names, view: viewOf, rows: rowsOfRelation };
  // Whether a view calls functions of `public` is known from what it depends on, not guessed from its text.
  const viewRules: GuardRules = { ...guardRules, catalog: { ...catalog, publicFunctions: none } };

  const tracing = (
    refuse: (sentence: string) => void,
    decidedBy: Set<MaskedColumn> | undefined,
  ) => {
    let steps = 0;
    return {
      names,
      relation: rowsOfRelation,
      refuse,
      decided: (taint: Taint) => {
        for (const column of taint) decidedBy?.add(column);
      },
      step: (cost = 1) => {
        steps += cost;
        if (steps > maxSteps) throw new Untraceable(tooComplex);
      },
    };
  };

  /** What a view shows; what it decides by is its author's. */
  const readView = (view: CatalogRelation, key: string): View => {
    if (view.callsFunctions)
      return unreadable(
        `view ${key} calls functions that could read masked columns; read its tables instead`,
      );
    if (view.definition === undefined) {
      const base = view.reads.find((read) => masked.byName.has(read));
      return base === undefined
        ? { problem: undefined, reachesMasked: false, rows: tableRows(view, masked) }
        : unreadable(
            `the query of view ${key} is not known, and it reads ${base}, which has masked columns; read the table instead`,
          );
    }
    const parsed = grammar.parse(view.definition);
    const [statement, ...more] = parsed.ok ? parsed.statements : [];
    const node = tagged(statement?.node);
    if (node === undefined || more.length > 0)
      return unreadable(`the query of view ${key} cannot be read; read its tables instead`);
    const { sink, uses } = createGuard(viewRules);
    walkStatement(statement?.node, sink, names);
    const rows = traced(() =>
      traceQuery(
        node,
        tracing(() => undefined, undefined),
      ),
    );
    const problem = uses.problem ?? (typeof rows === "string" ? rows : undefined);
    if (problem !== undefined || typeof rows === "string")
      return {
        ...unreadable(`view ${key} cannot be masked: ${problem ?? ""}`),
        reachesMasked: uses.touchesMasked,
      };
    return {
      problem: undefined,
      reachesMasked: uses.touchesMasked,
      rows: viewRows(view, rows, masked),
    };
  };

  const walk = (text: string): MaskProof => {
    const parsed = grammar.parse(text);
    if (!parsed.ok) return { ok: false, message: parsed.message };
    const { sink, uses } = createGuard(guardRules);
    const decidedBy = new Set<MaskedColumn>();
    const trace = tracing(sink.refuse, decidedBy);
    const shown: Shown[] = [];
    for (const { node: statement } of parsed.statements) {
      const before = uses.maskedReads;
      walkStatement(statement, sink, names);
      const node = tagged(statement);
      if (uses.problem !== undefined || node === undefined) break;
      const reads = uses.maskedReads > before;
      if (reads && !tracedStatements.has(node.tag))
        sink.refuse("masked columns cannot be traced through a statement of this kind");
      const found = traced(() => shownBy(node, reads, trace));
      if (typeof found === "string") sink.refuse(found);
      else shown.push(withoutCleanRows(found));
    }
    if (uses.problem !== undefined) return { ok: false, message: uses.problem };
    const { touchesMasked, relations } = uses;
    const readsViews =
      uses.readsBounds || [...relations].some((key) => catalog.relations.get(key)?.kind === "view");
    return { ok: true, touchesMasked, shown, relations, decidedBy, readsViews };
  };

  const prove = (text: string): MaskProof => {
    if (options.masks.length === 0) return nothingMasked;
    const known = cache.get(text);
    if (known !== undefined) return known;
    const proof = walk(text);
    cache.set(text, proof, bytesPerProof + bytesPerColumn * columnCount(proof));
    return proof;
  };
  const madeOf: MaskProver["madeOf"] = (key) => {
    const view = catalog.relations.get(key);
    if (view?.kind !== "view") return undefined;
    const { problem, rows } = viewOf(view);
    if (problem !== undefined) return undefined;
    return new Map(rows.columns.map(({ name = "", taint }) => [name, taint]));
  };
  return { masked, prove, madeOf };
}

function traced<Result>(run: () => Result): Result | string {
  try {
    return run();
  } catch (error) {
    if (error instanceof Untraceable) return error.message;
    throw error;
  }
}

/** Rows with nothing masked in them need no looking at. */
function withoutCleanRows({ rows, ...shown }: Shown): Shown {
  return rows === undefined || wholeOf(rows.columns).size === 0 ? shown : { ...shown, rows };
}

function columnCount(proof: MaskProof): number {
  return proof.ok ? proof.shown.reduce((sum, { rows }) => sum + (rows?.columns.length ?? 0), 0) : 0;
}

function unreadable(problem: string): View {
  return { problem, reachesMasked: false, rows: unknownRelation };
}

function tableRows(relation: CatalogRelation, masked: MaskedColumns): Rows {
  const here = masked.byName.get(relationKey(relation));
  const columns = relation.columns.map(({ name, number, generated = false }): Column => {
    const found = here?.get(name);
    const origin = { table: relation.oid, attribute: number };
    return found === undefined
      ? { name, taint: clean, origin, generated }
      : { name, taint: new Set([found]), identity: found, origin, generated };
  });
  return { columns, shifty: here === undefined || here.size === 0 };
}

/** The names, numbers and masks are the view's, the lineage its query's, column by column. */
function viewRows(view: CatalogRelation, { columns }: Rows, masked: MaskedColumns): Rows {
  const here = masked.byName.get(relationKey(view));
  const whole = wholeOf(columns);
  const even = columns.length === view.columns.length && columns.every(({ many }) => many !== true);
  return {
    columns: view.columns.map(({ name, number }, index): Column => {
      const column = even ? columns[index] : undefined;
      const shown = { taint: column?.taint ?? whole, identity: column?.identity };
      const origin = { table: view.oid, attribute: number };
      return { name, ...withOwnMask(shown, here?.get(name)), origin };
    }),
    shifty: whole.size === 0 && (here === undefined || here.size === 0),
  };
}

/** A mask that names the view's column adds to those of what the column shows: of two on one value the stricter is applied. */
function withOwnMask(
  shown: Pick<Column, "taint" | "identity">,
  own: MaskedColumn | undefined,
): Pick<Column, "taint" | "identity"> {
  if (own === undefined) return shown;
  const { taint, identity } = shown;
  return {
    taint: union(taint, new Set([own])),
    identity: taint.size === 0 ? own : identity && stricterOf(identity, own),
  };
}

/** Undefined where neither shows as little as both together. */
function stricterOf(one: MaskedColumn, other: MaskedColumn): MaskedColumn | undefined {
  const key = JSON.stringify(stricterTransform(one.transform, other.transform));
  return [one, other].find((column) => column.key === key);
}
