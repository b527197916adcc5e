// Proves that a statement shows masked columns only where they can be masked, or says which column and which use forbids it.
//
// The argument. At run time the proxy masks a result field by the table and attribute number that its RowDescription
// carries. PostgreSQL gives those to a field only when it is a bare column reference (possibly through joins); whatever is
// computed carries none. So nothing leaks if every use of a masked column is such a field of the outermost SELECT, and
// every other use, one that could compute with it, compare it, store it or hide where it came from, is refused here:
//
//   1. a reference that may mean a masked column anywhere but as a bare output column or star at the top is refused.
//      "May mean" is over-approximated over all scopes (policy/sql/scope.ts), so shadowing cannot hide one;
//   2. references to whole rows (`c`, `c.*` in an expression, `(c).ssn`, `c.row_to_json`) count as all columns;
//   3. so sub-queries, CTEs, set operations, cursors and stored results never carry a masked value outwards, and what is
//      computed from them carries none;
//   4. views over masked columns are refused unless their own query is proven not to use any, and unknown relations,
//      functions that are not on the safe list, and code nobody can see into are refused while masks exist, because they
//      could read the column themselves;
//   5. catalog relations beyond the drivers' look-ups are refused: statistics hold values, TOAST tables hold rows; and so is
//      every use, by star or whole row too, of the two columns of look-ups that hold values.
//
// What is left: error details may quote rows ("Failing row contains …"), so the proxy drops the detail of errors and
// notices while masks exist.
import { asBody, asText, bodyOf, constantText, strings } from "../sql/ast.ts";
import { dotted, type CatalogNames } from "../sql/catalog-names.ts";
import { isLookUpRelation, isSystemSchema, valueColumnOf } from "../sql/catalog-relations.ts";
import { meantBy, type RangeItem, type RelationUse } from "../sql/scope.ts";
import type { ColumnUse, OutputKey, Sink } from "../sql/walk-context.ts";
import type { CatalogRelation, MaskCatalog } from "./catalog.ts";
import type { MaskedColumn, MaskedColumns } from "./masked-columns.ts";

export interface Uses {
  /** The first use that cannot be proven, as a sentence. */
  problem: string | undefined;
  /** A relation with masked columns is named. */
  touchesMasked: boolean;
  /** Masked columns that stand as plain output columns. */
  readonly plain: Set<string>;
  /** Every relation that is named, but PostgreSQL's own. */
  readonly relations: Set<string>;
}

export interface UseRules {
  readonly masked: MaskedColumns;
  readonly catalog: MaskCatalog;
  readonly names: CatalogNames;
  /** Why a view may not be read; undefined when it may. */
  readonly viewProblem: (view: CatalogRelation) => string | undefined;
}

const systemColumns: ReadonlySet<string> = new Set([
  "tableoid",
  "ctid",
  "xmin",
  "xmax",
  "cmin",
  "cmax",
]);
const none: ReadonlyMap<string, MaskedColumn> = new Map();

export function createUseSink(rules: UseRules): { readonly sink: Sink; readonly uses: Uses } {
  const { masked, catalog, names } = rules;
  const uses: Uses = {
    problem: undefined,
    touchesMasked: false,
    plain: new Set(),
    relations: new Set(),
  };
  const forbid = (sentence: string): void => {
    uses.problem ??= sentence;
  };
  const maskedOf = (use: RelationUse): ReadonlyMap<string, MaskedColumn> =>
    masked.byName.get(dotted(use.schema, use.name)) ?? none;

  const misuse = (columns: Iterable<MaskedColumn>, where: string): void => {
    for (const { column } of columns) {
      forbid(
        `column ${column} is masked and may only be read as a plain output column of the outermost SELECT, not ${where}`,
      );
      return;
    }
  };

  const column = (use: ColumnUse): void => {
    if (use.ignored) return;
    const items = meantBy(use);
    const last = use.path[use.path.length - 1] ?? "";
    const qualified = use.star ? use.path.length > 0 : use.path.length > 1;
    catalogValues(items, use.star, last, qualified);
    if (!use.star && qualified) rowFunction(items, last);
    for (const item of items) {
      for (const relation of item.relations) {
        const columns = maskedOf(relation);
        const meant = use.star ? [...columns.values()] : maybe(columns.get(last));
        // Through a join alias the columns of several relations mix; one relation keeps its own.
        if (meant.length > 0 && use.plain && item.relations.length === 1)
          for (const { column: name } of meant) uses.plain.add(name);
        else misuse(meant, whereOf(use));
        if (!use.star && !qualified && item.alias === last)
          misuse(columns.values(), `as the whole row ${last}`);
      }
    }
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
  const valuesIn = (key: string, value: string): void =>
    forbid(
      `${key}.${value} can show what masked columns hold; while masks exist, name the other columns of ${key} that are needed`,
    );

  /** `c.f` where f is no column of c calls f on the whole row. */
  const rowFunction = (items: readonly RangeItem[], last: string): void => {
    for (const item of items) {
      for (const relation of item.relations) {
        const known = catalog.relations.get(dotted(relation.schema, relation.name));
        if (
          known === undefined ||
          systemColumns.has(last) ||
          known.columns.some(({ name }) => name === last)
        )
          continue;
        misuse(maskedOf(relation).values(), `by ${item.alias}.${last}, which is no column of it`);
      }
    }
    attribute(last);
  };
  const attribute = (last: string): void => {
    if (catalog.rowFunctions.has(last))
      forbid(`.${last} may call the function public.${last}, which could read masked columns`);
  };

  const relation = (use: RelationUse): void => {
    const key = dotted(use.schema, use.name);
    if (isSystemSchema(use.schema)) {
      if (!isLookUpRelation(key))
        forbid(
          `${key} can show what masked columns hold; while masks exist only the drivers' look-ups are read`,
        );
      return;
    }
    uses.relations.add(key);
    const columns = maskedOf(use);
    if (columns.size > 0) uses.touchesMasked = true;
    if (!touchesRows.has(use.statement)) {
      if (columns.size > 0 && reshapes.has(use.statement))
        misuse(columns.values(), `changed by ${use.statement.toUpperCase()}`);
      return;
    }
    const known = catalog.relations.get(key);
    if (known === undefined)
      forbid(
        `relation ${key} is not known yet, so masks cannot be proven for it; try again in a minute`,
      );
    else if (known.kind === "view") {
      const problem = rules.viewProblem(known);
      if (problem !== undefined) forbid(problem);
    }
  };

  const listed = (use: RelationUse, columns: readonly string[] | "all", written: boolean): void => {
    if (!listsMatter.has(use.statement)) return;
    const key = dotted(use.schema, use.name);
    const value = valueColumnOf(key);
    if (value !== undefined && (columns === "all" || columns.includes(value))) valuesIn(key, value);
    const here = maskedOf(use);
    const where = written
      ? `written by ${use.statement.toUpperCase()}`
      : `in a column list of ${use.statement.toUpperCase()}`;
    if (columns === "all") misuse(here.values(), where);
    else for (const name of columns) misuse(maybe(here.get(name)), where);
  };

  const join = (using: readonly string[] | "natural", items: readonly RangeItem[]): void => {
    for (const item of items) {
      for (const use of item.relations) {
        const columns = maskedOf(use);
        if (using === "natural") misuse(columns.values(), "in a NATURAL JOIN; write ON instead");
        else for (const name of using) misuse(maybe(columns.get(name)), "in USING");
      }
    }
  };

  /** ORDER BY 2 and ORDER BY alias sort by an output column without naming it. */
  const outputKey = ({ targets, key, scope, place }: OutputKey): void => {
    const outputs = targets.map((target) =>
      maskedOutput(target, (path, star) => {
        const items = meantBy({ path, star, scope });
        const last = path[path.length - 1] ?? "";
        return items
          .flatMap((item) => item.relations)
          .flatMap((use) => (star ? [...maskedOf(use).values()] : maybe(maskedOf(use).get(last))));
      }),
    );
    const position = Number(constantText(key) ?? Number.NaN);
    const [name, ...more] = strings(bodyOf(key, "ColumnRef")?.["fields"]);
    for (const [index, output] of outputs.entries()) {
      if (output.columns.length === 0) continue;
      // A star before the position may be any number of columns.
      const byPosition =
        Number.isInteger(position) &&
        (output.star ||
          outputs.some(({ star }, at) => star && at < index) ||
          position === index + 1);
      const byName = name !== undefined && more.length === 0 && output.name === name;
      if (byPosition || byName) misuse(output.columns, `in ${place}`);
    }
  };

  const sink: Sink = {
    relation,
    column,
    listed,
    join,
    outputKey,
    attribute,
    call: (name, _statement, bare) => {
      const mine = bare && catalog.publicFunctions.has(name.name);
      if (!names.isSafeFunction(name) || mine) {
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
/** Kinds that change what a relation is called or holds, so that masks would no longer find their columns. */
const reshapes: ReadonlySet<string> = new Set(["create", "alter"]);
/** Kinds whose column lists read or write values; DELETE, DROP and the like only remove. */
const listsMatter: ReadonlySet<string> = new Set(["select", "insert", "update", "merge", "copy"]);

function maybe(column: MaskedColumn | undefined): readonly MaskedColumn[] {
  return column === undefined ? [] : [column];
}

function whereOf(use: ColumnUse): string {
  return use.place === "the output"
    ? "in a sub-query, a set operation, DISTINCT, a cursor or a stored result"
    : `in ${use.place}`;
}

interface Output {
  readonly columns: readonly MaskedColumn[];
  readonly star: boolean;
  readonly name: string | undefined;
}

function maskedOutput(
  target: unknown,
  find: (path: readonly string[], star: boolean) => readonly MaskedColumn[],
): Output {
  const body = bodyOf(target, "ResTarget");
  const fields = bodyOf(body?.["val"], "ColumnRef")?.["fields"];
  if (fields === undefined) return { columns: [], star: false, name: undefined };
  const path = strings(fields);
  const star =
    Array.isArray(fields) &&
    fields.some((field) => asBody(asBody(field)?.["A_Star"]) !== undefined);
  const alias = asText(body?.["name"]);
  return { columns: find(path, star), star, name: alias === "" ? path[path.length - 1] : alias };
}
