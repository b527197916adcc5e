// What a name in a query may mean to the lineage engine.
//
// Aliases and names of CTEs stand in the text, so they are resolved by PostgreSQL's rules. Which relation an unqualified
// column belongs to depends on what columns relations have at the moment the statement runs, and an agent that may alter
// one of its own tables could change that between proof and execution. So such a reference gets the columns of every
// relation in reach that has one of that name, in this query or any around it, and aliases hidden by a join count too:
// no shadowing can hide a masked column. What matches nothing may be anything in reach.
import { clean, unionOf, wholeOf, type Column, type Rows, type Taint } from "./columns.ts";

export interface Item {
  readonly alias: string;
  /** Set when the item has no alias and its schema may be written in front of it. */
  readonly schema?: string;
  readonly rows: Rows;
}

export interface Level {
  readonly parent: Level | undefined;
  readonly items: Item[];
  readonly ctes: ReadonlyMap<string, Rows>;
}

const noCtes: ReadonlyMap<string, Rows> = new Map();

export function levelIn(
  parent: Level | undefined,
  ctes: ReadonlyMap<string, Rows> = noCtes,
): Level {
  return { parent, items: [], ctes };
}

export function cteNamed(level: Level | undefined, name: string): Rows | undefined {
  for (let at = level; at !== undefined; at = at.parent) {
    const rows = at.ctes.get(name);
    if (rows !== undefined) return rows;
  }
  return undefined;
}

function visible(level: Level): Item[] {
  const items: Item[] = [];
  for (let at: Level | undefined = level; at !== undefined; at = at.parent) items.push(...at.items);
  return items;
}

function named(items: readonly Item[], qualifier: readonly string[]): readonly Item[] {
  const alias = qualifier.at(-1);
  const schema = qualifier.length > 1 ? qualifier.at(-2) : undefined;
  return items.filter(
    (item) => item.alias === alias && (schema === undefined || item.schema === schema),
  );
}

/** The items whose columns `*` or `c.*` brings; undefined when nobody in reach is called so. */
export function starItems(qualifier: readonly string[], level: Level): readonly Item[] | undefined {
  if (qualifier.length === 0) return level.items;
  const found = named(visible(level), qualifier);
  return found.length === 0 ? undefined : found;
}

const systemColumns: ReadonlySet<string> = new Set([
  "tableoid",
  "ctid",
  "xmin",
  "xmax",
  "cmin",
  "cmax",
]);

function everything(items: readonly Item[]): Column {
  return { name: undefined, taint: unionOf(items.map(({ rows }) => wholeOf(rows.columns))) };
}

/** What a column reference (identifiers as written) may stand for, as one column. */
export function resolve(path: readonly string[], level: Level): Column {
  const name = path.at(-1) ?? "";
  const items = visible(level);
  // RETURNING calls one row by several names.
  const found = [...new Set(path.length > 1 ? qualified(path, items) : bare(name, items))];
  const [only] = found;
  if (only === undefined) return everything(items);
  if (found.length === 1) return { name, taint: only.taint, identity: only.identity };
  return { name, taint: wholeOf(found) };
}

function bare(name: string, items: readonly Item[]): readonly Column[] {
  const found = items.flatMap(({ alias, rows }) => [
    ...rows.columns.filter((column) => column.name === name),
    // The alias alone is the whole row.
    ...(alias === name ? [{ name, taint: wholeOf(rows.columns) }] : []),
  ]);
  // Columns of unknown names may be meant, and prove nothing by themselves.
  const unnamed = items
    .flatMap(({ rows }) => rows.columns)
    .filter((column) => column.name === undefined && column.taint.size > 0);
  if (found.length > 0) return [...found, ...unnamed];
  return systemColumns.has(name) && unnamed.length === 0 ? [{ name, taint: clean }] : [];
}

function qualified(path: readonly string[], items: readonly Item[]): readonly Column[] {
  const name = path.at(-1) ?? "";
  return named(items, path.slice(0, -1)).map(({ rows }): Column => {
    const found = rows.columns.filter(
      (column) => column.name === name || column.name === undefined,
    );
    const [only] = found;
    // Of an unknown name it may be something else than that column, a function of the row for one.
    if (only !== undefined && found.length === 1)
      return only.name === undefined ? { name, taint: only.taint } : only;
    if (found.length > 1) return { name, taint: wholeOf(found) };
    // `c.row_to_json` calls a function on the row.
    return { name, taint: systemColumns.has(name) ? clean : wholeOf(rows.columns) };
  });
}

/** How many columns a name is looked up among. */
export function columnsInReach(level: Level): number {
  let count = 0;
  for (let at: Level | undefined = level; at !== undefined; at = at.parent)
    for (const { rows } of at.items) count += 1 + rows.columns.length;
  return count;
}

/** Everything in reach, for what stands outside any name. */
export function reach(level: Level): Taint {
  return everything(visible(level)).taint;
}
