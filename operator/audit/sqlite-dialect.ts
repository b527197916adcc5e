// Kysely's SQLite grammar over `node:sqlite` in a worker thread, so that no query ever stops the event loop.
import { Worker } from "node:worker_threads";
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from "kysely";
import type { SqliteAnswer, SqliteRequest, SqliteWorkerData } from "./sqlite-worker.ts";

/** The worker answers nothing for this long: the disk hangs. Whoever waits is told, and tries again. */
const answerTimeoutMs = 60_000;

export function sqliteDialect(data: SqliteWorkerData): Dialect {
  return {
    createDriver: () => new SqliteWorkerDriver(data),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createAdapter: () => new SqliteAdapter(),
    createIntrospector: (db) => new SqliteIntrospector(db),
  };
}

/** Kysely hands out the one connection to one user at a time: the adapter says there is only one. */
class SqliteWorkerDriver implements Driver {
  readonly #data: SqliteWorkerData;
  #worker: SqliteWorker | undefined;

  constructor(data: SqliteWorkerData) {
    this.#data = data;
  }

  async init(): Promise<void> {
    this.#worker = new SqliteWorker(this.#data);
  }

  async acquireConnection(): Promise<DatabaseConnection> {
    if (this.#worker === undefined) throw new Error("the audit store is not open");
    return this.#worker;
  }

  async beginTransaction(connection: DatabaseConnection): Promise<void> {
    // Immediate: a transaction that reads first and writes later would fail on a lock instead of waiting for it.
    await connection.executeQuery(
      CompiledQuery.raw(this.#data.readOnly ? "begin" : "begin immediate"),
    );
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw("commit"));
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw("rollback"));
  }

  async releaseConnection(): Promise<void> {
    // There is one connection, and it stays open.
  }

  async destroy(): Promise<void> {
    await this.#worker?.close();
  }
}

interface Waiting {
  readonly resolve: (answer: {
    readonly rows: readonly unknown[];
    readonly changes: number | bigint;
  }) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

class SqliteWorker implements DatabaseConnection {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #dead: Error | undefined;

  constructor(data: SqliteWorkerData) {
    this.#worker = new Worker(workerUrl(import.meta.url), {
      workerData: data,
      name: "audit-store",
    });
    this.#worker.on("message", (answer: SqliteAnswer) => this.#answered(answer));
    this.#worker.on("error", (error: unknown) =>
      this.#died(error instanceof Error ? error : new Error(String(error))),
    );
    this.#worker.on("exit", () => this.#died(new Error("the audit store's worker has ended")));
    // Held alive only while something is asked, so that a command that forgets to close still ends.
    this.#worker.unref();
  }

  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    const answer = await this.#ask({
      sql,
      parameters: parameters as NonNullable<SqliteRequest["parameters"]>,
    });
    return { rows: answer.rows as R[], numAffectedRows: BigInt(answer.changes) };
  }

  // oxlint-disable-next-line require-yield
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error("the audit store reads in pages, not in streams");
  }

  async close(): Promise<void> {
    if (this.#dead === undefined) await this.#ask({});
    await this.#worker.terminate();
  }

  #ask(
    request: Omit<SqliteRequest, "id">,
  ): Promise<{ readonly rows: readonly unknown[]; readonly changes: number | bigint }> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#settle(id)?.reject(
          new Error(`the audit store did not answer within ${answerTimeoutMs} ms`),
        );
      }, answerTimeoutMs);
      if (this.#waiting.size === 0) this.#worker.ref();
      this.#waiting.set(id, { resolve, reject, timer });
      this.#worker.postMessage({ id, ...request } satisfies SqliteRequest);
    });
  }

  #answered(answer: SqliteAnswer): void {
    const waiting = this.#settle(answer.id);
    if (waiting === undefined) return;
    if ("error" in answer) waiting.reject(new SqliteError(answer.error.message, answer.error.code));
    else waiting.resolve(answer);
  }

  #settle(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return undefined;
    clearTimeout(waiting.timer);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#worker.unref();
    return waiting;
  }

  #died(error: Error): void {
    this.#dead ??= error;
    for (const id of this.#waiting.keys()) this.#settle(id)?.reject(this.#dead);
  }
}

export class SqliteError extends Error {
  override readonly name = "SqliteError";
  readonly code: string | undefined;

  constructor(message: string, code: string | undefined) {
    super(`audit store: ${message}`);
    this.code = code;
  }
}

/** Beside this file in the sources, beside the bundle once built. */
function workerUrl(self: string): URL {
  return new URL(self.endsWith(".ts") ? "./sqlite-worker.ts" : "./sqlite-worker.mjs", self);
}
