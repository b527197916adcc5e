// One SQLite file, open in this thread: statements are prepared once, and run to their end before anything else does.
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import type { CompiledQuery, QueryResult } from "kysely";
import type { SqliteConnection } from "./sqlite-dialect.ts";

export interface SqliteFile {
  readonly file: string;
  readonly readOnly: boolean;
}

/** An array holds one value for each row: the statement runs once a row, and what is no array is the same for all. */
export type SqliteParameters = readonly (SQLInputValue | readonly SQLInputValue[])[];

export interface SqliteResult {
  readonly rows: readonly unknown[];
  readonly changes: number | bigint;
}

/** How long a statement waits for another process's lock. */
const busyTimeoutMs = 5_000;
/** Prepared statements kept; the store's queries are some forty, multi-row inserts in several sizes. */
const maxStatements = 128;

export class SqliteDatabase implements SqliteConnection {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor({ file, readOnly }: SqliteFile) {
    this.#database = new DatabaseSync(file, { readOnly, timeout: busyTimeoutMs });
    if (!readOnly) {
      // FULL: an acknowledged event survives a loss of power; NORMAL would not sync the WAL at commit.
      this.#database.exec(
        "pragma journal_mode = wal; pragma synchronous = full; pragma journal_size_limit = 67108864",
      );
    }
    this.#database.exec(
      "pragma cache_size = -8192; pragma temp_store = memory; pragma trusted_schema = off",
    );
  }

  run(sql: string, parameters: SqliteParameters): SqliteResult {
    return execute(this.#prepared(sql), parameters);
  }

  // Kysely's own interface; what it asks is answered before the promise is made.
  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    const { rows, changes } = this.run(sql, parameters as SqliteParameters);
    return { rows: rows as R[], numAffectedRows: BigInt(changes) };
  }

  streamQuery(): never {
    throw new Error("the audit store reads in pages, not in streams");
  }

  async close(): Promise<void> {
    this.#statements.clear();
    this.#database.close();
  }

  #prepared(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#database.prepare(sql);
    if (this.#statements.size >= maxStatements)
      this.#statements.delete(this.#statements.keys().next().value ?? "");
    this.#statements.set(sql, statement);
    return statement;
  }
}

function execute(statement: StatementSync, parameters: SqliteParameters): SqliteResult {
  const lists = parameters.flatMap((value, place) => (isList(value) ? [{ place, value }] : []));
  const row = parameters.map((value) => (isList(value) ? null : value));
  const [first] = lists;
  if (first === undefined)
    return statement.columns().length > 0
      ? { rows: statement.all(...row), changes: 0 }
      : { rows: [], changes: statement.run(...row).changes };
  for (let at = 0; at < first.value.length; at += 1) {
    for (const { place, value } of lists) row[place] = value[at] ?? null;
    statement.run(...row);
  }
  return { rows: [], changes: first.value.length };
}

function isList(
  value: SQLInputValue | readonly SQLInputValue[],
): value is readonly SQLInputValue[] {
  return Array.isArray(value);
}
