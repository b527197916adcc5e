// Refuses what could read masked columns out of sight of their lineage: other code, statistics, relations nobody knows.
//
// The lineage engine (lineage/) follows values through the text. This is the other half of the argument in prove.ts: that
// there is no way to a masked value but through the text. It listens to the same walk that finds a statement's accesses.
import { dotted, type CatalogNames } from "../sql/catalog-names.ts";
import {
  isDefinitionFunction,
  isSystemSchema,
  isWithoutValues,
  partitionBound,
  valueColumnOf,
} from "../sql/catalog-relations.ts";
import { meantBy, type RangeItem, type RelationUse } from "../sql/scope.ts";
import type { ColumnUse, Sink } from "../sql/walk-context.ts";
import type { CatalogRelation, MaskCatalog } from "./catalog.ts";
import type { Rows, Taint } from "./lineage/columns.ts";
import { isKeyed, type MaskedColumns } from "./masked-columns.ts";

export interface Uses {
  /** The first use that cannot be proven, as a sentence. */
  problem: string | undefined;
  /** A masked column is in reach of the statement, through views too. */
  touchesMasked: boolean;
  /** Relations with masked columns named where rows are read or written. */
  maskedReads: number;
  /** Bounds of partitions are read: whether a masked table has any depends on the moment. */
  readsBounds: boolean;
  /** Every relation that is named, but PostgreSQL's own. */
  readonly relations: Set<string>;
}

/** What there is to know of a view before it is read. */
export interface ViewReach {
  /** Why it may not be read. */
  readonly problem: string | undefined;
  readonly reachesMasked: boolean;
}

export interface GuardRules {
  readonly masked: MaskedColumns;
  readonly catalog: MaskCatalog;
  readonly names: CatalogNames;
  readonly view: (view: CatalogRelation) => ViewReach;
  /** The columns of a table or view, `schema.name`. */
  readonly rows: (key: string) => Rows;
}

export function createGuard(rules: GuardRules): { readonly sink: Sink; readonly uses: Uses } {
  const { masked, catalog, names } = rules;
  const uses: Uses = {
    problem: undefined,
    touchesMasked: false,
    maskedReads: 0,
    readsBounds: false,
    relations: new Set(),
  };
  const forbid = (sentence: string): void => {
    uses.problem ??= sentence;
  };

  const column = (use: ColumnUse): void => {
    if (use.ignored) return;
    const last = use.path[use.path.length - 1] ?? "";
    const qualified = use.star ? use.path.length > 0 : use.path.length > 1;
    catalogValues(meantBy(use), use.star, last, qualified);
    if (!use.star && qualified) attribute(last);
  };

  /** `c.*`, `c` and `c.f` with a function f of rows use every column of c, whatever c is. */
  const catalogValues = (
    items: readonly RangeItem[],
    star: boolean,
    last: string,
    qualified: boolean,
  ): void => {
    for (const item of items) {
      for (const { schema, name } of item.relations) {
        const key = dotted(schema, name);
        const value = valueColumnOf(key);
        if (value === undefined) continue;
        const isWholeRow = qualified ? names.isRowFunction(last) : item.alias === last;
        if (star || last === value || isWholeRow) valuesIn(key, value);
      }
    }
  };
  const valuesIn = (key: string, value: string): void => {
    // psql reads it for every `\d`. A bound holds values of a partition key; a masked one is masked in each partition, too.
    if (value === partitionBound && ![...masked.byName.keys()].some(isInTree)) {
      uses.readsBounds = true;
      return;
    }
    forbid(
      `${key}.${value} can show what masked columns hold; while masks exist, name the other columns of ${key} that are needed`,
    );
  };
  /** A partition, or a child of another table. */
  const isInTree = (key: string): boolean => (catalog.relations.get(key)?.parents.length ?? 0) > 0;

  /** `c.f` and `(c).f` where f is no column of c call f on the whole row. */
  const attribute = (last: string): void => {
    const own = { schema: "pg_catalog", name: last };
    if (catalog.rowFunctions.has(last))
      forbid(`.${last} may call the function public.${last}, which could read masked columns`);
    else if (names.isRowFunction(last) && !names.isSafeFunction(own))
      forbid(`.${last} may call the function pg_catalog.${last}, which is not safe`);
  };

  const reachesMasked = (key: string, known: CatalogRelation | undefined): boolean =>
    (masked.byName.get(key)?.size ?? 0) > 0 ||
    (known?.kind === "view" && rules.view(known).reachesMasked);

  const relation = (use: RelationUse): void => {
    const key = dotted(use.schema, use.name);
    if (isSystemSchema(use.schema)) {
      if (!isWithoutValues(key))
        forbid(
          `${key} can show what masked columns hold; while masks exist only the drivers' look-ups are read`,
        );
      return;
    }
    uses.relations.add(key);
    const known = catalog.relations.get(key);
    const reaches = reachesMasked(key, known);
    uses.touchesMasked ||= reaches;
    if (touchesRows.has(use.statement)) {
      if (reaches) uses.maskedReads += 1;
      rowsOf(use, key, known);
    } else if (reaches && reshapes.has(use.statement))
      forbid(
        `relation ${key} has masked columns, and ${use.statement.toUpperCase()} could move them where no mask finds them`,
      );
  };

  const rowsOf = (use: RelationUse, key: string, known: CatalogRelation | undefined): void => {
    if (known === undefined) {
      forbid(
        `relation ${key} is not known yet, so masks cannot be proven for it; try again in a minute`,
      );
      return;
    }
    if (known.hasRules && writes.has(use.statement))
      forbid(
        `relation ${key} has rules, which could read masked columns when it is written; write the tables behind it`,
      );
    if (known.kind !== "view") return;
    const { problem } = rules.view(known);
    if (problem !== undefined) forbid(problem);
  };

  const listed = (use: RelationUse, columns: readonly string[] | "all", written: boolean): void => {
    if (!listsMatter.has(use.statement)) return;
    const key = dotted(use.schema, use.name);
    const value = valueColumnOf(key);
    if (value !== undefined && (columns === "all" || columns.includes(value))) valuesIn(key, value);
    if (!written) return;
    for (const { name, taint } of rules.rows(key).columns)
      if (columns === "all" || name === undefined || columns.includes(name)) keyed(taint);
  };

  /** A value of one's own, read back masked, shows what that value becomes. */
  const keyed = (taint: Taint): void => {
    for (const column of taint)
      if (isKeyed(column) && column.predicates === "Deny")
        forbid(
          `column ${column.column} is masked by ${column.transform.kind}, and writing into it would show what a chosen value becomes; leave it out, or set predicates: Allow on its masking entry`,
        );
  };

  const sink: Sink = {
    relation,
    column,
    listed,
    join: () => undefined,
    attribute,
    call: (name, _statement, bare) => {
      if (name.schema === "pg_catalog" && valueFunctions.has(name.name))
        forbid(
          `the function pg_catalog.${name.name} can show what masked columns hold; it is not called while masks exist`,
        );
      const mine = bare && catalog.publicFunctions.has(name.name);
      const isHarmless = names.isSafeFunction(name) || isDefinitionFunction(name);
      if (!isHarmless || mine) {
        forbid(
          `the function ${dotted(mine ? "public" : name.schema, name.name)} could read masked columns; while masks exist only safe functions of PostgreSQL's own are called`,
        );
      }
    },
    operator: (name, _statement, bare) => {
      if (
        name.schema === "pg_catalog"
          ? bare && catalog.queryOperators.has(name.name)
          : name.schema !== "public" || catalog.queryOperators.has(name.name)
      ) {
        forbid(`the operator ${dotted(name.schema, name.name)} could read masked columns`);
      }
    },
    // Input functions and domain checks see one value each, and no new type can be made while masks exist.
    cast: () => undefined,
    statement: (kind, { opaque }) => {
      if (opaque === true)
        forbid(
          `${kind.toUpperCase()} can do more than its text shows, such as reading masked columns; it is refused while masks exist`,
        );
    },
    refuse: forbid,
    within: (_wrapper, run) => run(),
  };
  return { sink, uses };
}

/** Safe ones of PostgreSQL's own that show values of rows: those a partition is for. */
const valueFunctions: ReadonlySet<string> = new Set(["pg_get_partition_constraintdef"]);
/** Kinds that read or write rows, so that the relation must be known. */
const touchesRows: ReadonlySet<string> = new Set([
  "select",
  "insert",
  "update",
  "delete",
  "merge",
  "copy",
  "explain",
]);
const writes: ReadonlySet<string> = new Set(["insert", "update", "delete", "merge"]);
/** Kinds that change what a relation is called or holds, so that masks would no longer find their columns. */
const reshapes: ReadonlySet<string> = new Set(["create", "alter"]);
/** Kinds whose column lists read or write values; DELETE, DROP and the like only remove. */
const listsMatter: ReadonlySet<string> = new Set(["select", "insert", "update", "merge", "copy"]);
