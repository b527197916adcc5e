// Runs in a worker thread: owns one SQLite connection and executes what the dialect posts, one statement at a time.
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";

export interface SqliteWorkerData {
  readonly file: string;
  readonly readOnly: boolean;
}

export interface SqliteRequest {
  readonly id: number;
  /** Absent: close the database and end. */
  readonly sql?: string;
  /** An array holds one value for each row: the statement runs once a row, and what is no array is the same for all. */
  readonly parameters?: readonly (SQLInputValue | readonly SQLInputValue[])[];
}

export type SqliteAnswer =
  | { readonly id: number; readonly rows: readonly unknown[]; readonly changes: number | bigint }
  | { readonly id: number; readonly error: { readonly message: string; readonly code?: string } };

/** How long a statement waits for another process's lock. */
const busyTimeoutMs = 5_000;
/** Prepared statements kept; the store's queries are some forty, multi-row inserts in several sizes. */
const maxStatements = 128;

function open({ file, readOnly }: SqliteWorkerData): DatabaseSync {
  const database = new DatabaseSync(file, { readOnly, timeout: busyTimeoutMs });
  if (!readOnly) {
    // FULL: an acknowledged event survives a loss of power; NORMAL would not sync the WAL at commit.
    database.exec(
      "pragma journal_mode = wal; pragma synchronous = full; pragma journal_size_limit = 67108864",
    );
  }
  database.exec(
    "pragma cache_size = -8192; pragma temp_store = memory; pragma trusted_schema = off",
  );
  return database;
}

function serve(port: NonNullable<typeof parentPort>, database: DatabaseSync): void {
  const statements = new Map<string, StatementSync>();
  const prepared = (sql: string): StatementSync => {
    const known = statements.get(sql);
    if (known !== undefined) return known;
    const statement = database.prepare(sql);
    if (statements.size >= maxStatements) statements.delete(statements.keys().next().value ?? "");
    statements.set(sql, statement);
    return statement;
  };
  port.on("message", ({ id, sql, parameters = [] }: SqliteRequest) => {
    try {
      if (sql === undefined) {
        statements.clear();
        database.close();
        port.postMessage({ id, rows: [], changes: 0 } satisfies SqliteAnswer);
        port.close();
        return;
      }
      const statement = prepared(sql);
      port.postMessage({ id, ...execute(statement, parameters) } satisfies SqliteAnswer);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const code =
        error instanceof Error && "errstr" in error && typeof error.errstr === "string"
          ? { code: error.errstr }
          : {};
      port.postMessage({ id, error: { message, ...code } } satisfies SqliteAnswer);
    }
  });
}

function execute(
  statement: StatementSync,
  parameters: NonNullable<SqliteRequest["parameters"]>,
): { readonly rows: readonly unknown[]; readonly changes: number | bigint } {
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

// The one file that works when it is loaded: that is what a worker's entry is for.
if (parentPort !== null) serve(parentPort, open(workerData as SqliteWorkerData));
