// Many rows in one statement, told as columns: what all rows share is said once, so that a batch of events costs little more than its texts.
import { CompiledQuery, PostgresAdapter } from "kysely";
import { type AuditSchema, column, type Writing } from "./schema.ts";

export type Cell = string | number | null;
/** One value for all rows, or one for each. */
export type Column = Cell | readonly Cell[];
export type Columns<T> = { readonly [Name in keyof T]: Column };

/** One cell of each item; what is the same for all of them is said once. */
export function each<T>(items: readonly T[], cellOf: (item: T, index: number) => Cell): Column {
  return shared(items.map(cellOf)) ?? null;
}

/** The same for values that people search by (schema.ts): what all items share is looked at once. */
export function eachSearched<T>(
  items: readonly T[],
  valueOf: (item: T) => string | undefined,
): Column {
  const values = shared(items.map(valueOf));
  return typeof values === "object" ? values.map(column) : column(values);
}

/** Columns of rows that are made already; each has the members of the first. */
export function columnsOf<T extends { readonly [Name in keyof T]: Cell }>(
  rows: readonly T[],
): Columns<T> {
  const columns: Partial<Record<keyof T, Column>> = {};
  const [first] = rows;
  for (const name in first) columns[name] = each(rows, (row) => row[name]);
  return columns as Columns<T>;
}

function shared<T>(cells: readonly T[]): T | undefined | readonly T[] {
  const [first] = cells;
  return cells.every((cell) => cell === first) ? first : cells;
}

/**
 * Inserts `count` rows. Every name is one of ours, never text that came from outside; so is `onConflict`, the clause for
 * rows that are there already, in the words that both dialects share.
 */
export async function insertColumns<Table extends keyof AuditSchema>(
  tx: Writing,
  table: Table,
  columns: Columns<AuditSchema[Table]>,
  count: number,
  onConflict = "",
): Promise<void> {
  const names = Object.keys(columns);
  const values = Object.values<Column>(columns);
  const isPostgres = tx.getExecutor().adapter instanceof PostgresAdapter;
  await tx.executeQuery(
    isPostgres
      ? CompiledQuery.raw(`${unnestText(table, names, values)} ${onConflict}`, [...values, count])
      : // It runs once for each row (sqlite-database.ts).
        CompiledQuery.raw(
          `insert into ${table} (${names.join(", ")}) values (${names.map(() => "?").join(", ")}) ${onConflict}`,
          values,
        ),
  );
}

/** `unnest` walks its arrays side by side (PostgreSQL 18 manual, section 9.19); a shared value stands beside them. */
function unnestText(table: string, names: readonly string[], values: readonly Column[]): string {
  const type = (value: Column): string => {
    const sample = Array.isArray(value) ? value.find((cell) => cell !== null) : value;
    return typeof sample === "number" ? "bigint" : "text";
  };
  const isList = (value: Column): boolean => Array.isArray(value);
  const lists = values.flatMap((value, at) =>
    isList(value) ? [{ place: `$${at + 1}::${type(value)}[]`, name: `c${at}` }] : [],
  );
  const selected = values.map((value, at) =>
    isList(value) ? `c${at}` : `$${at + 1}::${type(value)}`,
  );
  const rows = [
    `generate_series(1, $${values.length + 1}::integer)`,
    ...lists.map(({ place }) => place),
  ];
  return `insert into ${table} (${names.join(", ")}) select ${selected.join(", ")} from rows from (${rows
    .map((row) => (row.startsWith("generate") ? row : `unnest(${row})`))
    .join(", ")}) as r (${["n", ...lists.map(({ name }) => name)].join(", ")})`;
}
