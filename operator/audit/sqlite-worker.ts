// Runs in a worker thread: owns one SQLite connection, executes what is posted one statement at a time, and takes whole groups of batches.
import { parentPort, workerData } from "node:worker_threads";
import type { Arrival, IngestResult } from "./ingest.ts";
import type { AuditDatabase } from "./schema.ts";
import {
  SqliteDatabase,
  type SqliteFile,
  type SqliteParameters,
  type SqliteResult,
} from "./sqlite-database.ts";

/** With neither: close the database and end. */
export interface SqliteRequest {
  readonly id: number;
  readonly query?: { readonly sql: string; readonly parameters: SqliteParameters };
  readonly ingest?: SqliteIngest;
}

export interface SqliteIngest {
  readonly group: readonly Arrival[];
  /** RFC 3339. */
  readonly now: string;
}

export type SqliteAnswer =
  | ({ readonly id: number } & SqliteResult)
  | { readonly id: number; readonly results: readonly IngestResult[] }
  | { readonly id: number; readonly error: { readonly message: string; readonly code?: string } };

type Port = NonNullable<typeof parentPort>;

function serve(port: Port, database: SqliteDatabase): void {
  let ingester: Promise<(given: SqliteIngest) => Promise<readonly IngestResult[]>> | undefined;
  const answer = async ({ id, query, ingest }: SqliteRequest): Promise<SqliteAnswer> => {
    if (query !== undefined) return { id, ...database.run(query.sql, query.parameters) };
    if (ingest === undefined) {
      await database.close();
      return { id, rows: [], changes: 0 };
    }
    ingester ??= openIngester(database);
    return { id, results: await (await ingester)(ingest) };
  };
  port.on("message", (request: SqliteRequest) => {
    void answer(request)
      .catch((error: unknown) => failure(request.id, error))
      .then((given) => {
        port.postMessage(given);
        if (request.query === undefined && request.ingest === undefined) port.close();
      });
  });
}

/** Loaded when the first batch comes: whoever only reads has no use for it. */
async function openIngester(
  database: SqliteDatabase,
): Promise<(given: SqliteIngest) => Promise<readonly IngestResult[]>> {
  const [{ Kysely }, { sqliteDialect }, { ingestGroup }] = await Promise.all([
    import("kysely"),
    import("./sqlite-dialect.ts"),
    import("./ingest.ts"),
  ]);
  const db: AuditDatabase = new Kysely({ dialect: sqliteDialect(() => database, false) });
  return ({ group, now }) => ingestGroup(db, group, now);
}

function failure(id: number, error: unknown): SqliteAnswer {
  const message = error instanceof Error ? error.message : String(error);
  const code =
    error instanceof Error && "errstr" in error && typeof error.errstr === "string"
      ? { code: error.errstr }
      : {};
  return { id, error: { message, ...code } };
}

// The one file that works when it is loaded: that is what a worker's entry is for.
if (parentPort !== null) serve(parentPort, new SqliteDatabase(workerData as SqliteFile));
