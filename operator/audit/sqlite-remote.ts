// A SQLite file in a worker thread, so that no query and no batch ever stops the event loop.
import { Worker } from "node:worker_threads";
import type { CompiledQuery, QueryResult } from "kysely";
import type { IngestResult } from "./ingest.ts";
import type { SqliteFile, SqliteParameters } from "./sqlite-database.ts";
import type { SqliteConnection } from "./sqlite-dialect.ts";
import type { SqliteAnswer, SqliteIngest, SqliteRequest } from "./sqlite-worker.ts";

/** The worker answers nothing for this long: the disk hangs. Whoever waits is told, and tries again. */
const answerTimeoutMs = 60_000;

type Answered = Exclude<SqliteAnswer, { readonly error: unknown }>;

interface Waiting {
  readonly resolve: (answer: Answered) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export class RemoteSqlite implements SqliteConnection {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #dead: Error | undefined;

  constructor(file: SqliteFile) {
    this.#worker = new Worker(workerUrl(import.meta.url), {
      workerData: file,
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
      query: { sql, parameters: parameters as SqliteParameters },
    });
    if (!("rows" in answer)) throw new Error("the audit store's worker answered another question");
    return { rows: answer.rows as R[], numAffectedRows: BigInt(answer.changes) };
  }

  /** Checks and stores batches in the worker. Only for whoever holds the connection: it is a transaction of its own. */
  async ingest(given: SqliteIngest): Promise<readonly IngestResult[]> {
    const answer = await this.#ask({ ingest: given });
    if (!("results" in answer))
      throw new Error("the audit store's worker answered another question");
    return answer.results;
  }

  streamQuery(): never {
    throw new Error("the audit store reads in pages, not in streams");
  }

  async close(): Promise<void> {
    if (this.#dead === undefined) await this.#ask({});
    await this.#worker.terminate();
  }

  #ask(request: Omit<SqliteRequest, "id">): Promise<Answered> {
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

class SqliteError extends Error {
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
