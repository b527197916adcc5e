// Many rows in one statement, told as columns: what all rows share is said once, so that a batch of events costs little more than its texts.
import { CompiledQuery, PostgresAdapter } from "kysely";
import type { AuditSchema, Writing } from "./schema.ts";

export type Cell = string | number | null;
/** One value for all rows, or one for each. */
export type Column = Cell | readonly Cell[];
export type Columns<T> = { readonly [Name in keyof T]: Column };

/** Makes columns of rows of one table: a column whose values are all the same becomes that value. */
export function columnsOf<T extends { readonly [Name in keyof T]: Cell }>(
  names: readonly (keyof T & string)[],
  rows: readonly T[],
): Columns<T> {
  const columns: Partial<Record<keyof T, Column>> = {};
  for (const name of names) {
    const first: Cell = rows[0]?.[name] ?? null;
    columns[name] = rows.every((row) => row[name] === first)
      ? first
      : rows.map((row): Cell => row[name]);
  }
  return columns as Columns<T>;
}

/** Inserts `count` rows. Every name is one of ours, never text that came from outside. */
export async function insertColumns<Table extends keyof AuditSchema>(
  tx: Writing,
  table: Table,
  columns: Columns<AuditSchema[Table]>,
  count: number,
): Promise<void> {
  const names = Object.keys(columns);
  const values = Object.values<Column>(columns);
  const isPostgres = tx.getExecutor().adapter instanceof PostgresAdapter;
  await tx.executeQuery(
    isPostgres
      ? CompiledQuery.raw(unnestText(table, names, values), [...values, count])
      : // The worker runs it once for each row (sqlite-worker.ts).
        CompiledQuery.raw(
          `insert into ${table} (${names.join(", ")}) values (${names.map(() => "?").join(", ")})`,
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
