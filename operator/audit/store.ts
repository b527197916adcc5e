// The audit store: one file of SQLite, or PostgreSQL by DSN, behind one set of queries. Takes batches and keeps each event once.
import { chmod, mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { type Dialect, Kysely, PostgresDialect } from "kysely";
import { IngestRefused } from "../../contract/chain.ts";
import type { EventAck } from "../../contract/control.ts";
import { SubjectNotOwn } from "./check.ts";
import { refuseNetworkFilesystem } from "./filesystem.ts";
import { type Arrival, ingestGroup, type IngestResult } from "./ingest.ts";
import { type AuditDatabase, type IntegerType, migrate } from "./schema.ts";
import { sqliteDialect } from "./sqlite-dialect.ts";
import { RemoteSqlite } from "./sqlite-remote.ts";

/** Batches waiting for the transaction in flight; each proxy has one at a time, so this is the number of proxies that may burst. */
const maxQueuedBatches = 5_000;
/** What the waiting batches may take of memory: as they came, or by the size of their texts and some 2 kB an event. */
const maxQueuedBytes = 128 * 1024 * 1024;
const bytesPerEvent = 2_048;
/** Of the batches of one transaction, which shares one sync of the disk: some 2,000 events. More would make everyone wait for the slowest. */
const maxTransactionBytes = 4 * 1024 * 1024;
/** Connections to PostgreSQL of one replica. */
const maxPostgresConnections = 8;

export interface AuditStore {
  readonly db: AuditDatabase;
  /**
   * Stores a batch, or a delivery as it came, and resolves after commit. Throws IngestRefused for what is no sound batch
   * or does not link, SubjectNotOwn for a delivery that speaks of another subject than its own. Repeating it changes nothing.
   */
  ingest(batch: Arrival): Promise<EventAck>;
  close(): Promise<void>;
}

export interface StoreOptions {
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

/** Opens the embedded store, making file and tables when they are missing. */
export async function openStore(file: string, options: StoreOptions = {}): Promise<AuditStore> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await refuseNetworkFilesystem(file);
  // SQLite would make it with the umask; recordings are their owner's alone.
  await (await open(file, "a", 0o600)).close();
  await chmod(file, 0o600);
  const remote = new RemoteSqlite({ file, readOnly: false });
  const commit: Commit = (db, group, now) =>
    // The worker has the transaction; holding the connection keeps every other statement out of it.
    db.connection().execute(() => remote.ingest({ group, now }));
  return openOn(
    sqliteDialect(() => remote, false),
    "integer",
    commit,
    options,
  );
}

/** The same store in PostgreSQL, for several replicas. */
export async function openPostgresStore(
  dsn: string,
  options: StoreOptions = {},
): Promise<AuditStore> {
  const { Pool } = await import("pg");
  const pool = new Pool({ connectionString: dsn, max: maxPostgresConnections });
  // An idle session that the database ends, as its restart does, is out of the pool by now; without a listener it would end this process.
  pool.on("error", () => undefined);
  return openOn(new PostgresDialect({ pool }), "bigint", ingestGroup, options);
}

type Commit = typeof ingestGroup;

async function openOn(
  dialect: Dialect,
  integer: IntegerType,
  commit: Commit,
  options: StoreOptions,
): Promise<AuditStore> {
  const db: AuditDatabase = new Kysely({ dialect });
  try {
    await migrate(db, integer);
  } catch (error) {
    await db.destroy();
    throw error;
  }
  return new Store(db, commit, options.clock ?? Date.now);
}

interface Queued {
  readonly batch: Arrival;
  readonly bytes: number;
  readonly resolve: (result: IngestResult) => void;
  readonly reject: (error: unknown) => void;
}

class Store implements AuditStore {
  readonly db: AuditDatabase;
  readonly #commit: Commit;
  readonly #clock: () => number;
  #queue: Queued[] = [];
  #queuedBytes = 0;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(db: AuditDatabase, commit: Commit, clock: () => number) {
    this.db = db;
    this.#commit = commit;
    this.#clock = clock;
  }

  async ingest(batch: Arrival): Promise<EventAck> {
    const result = await this.#enqueue(batch);
    if ("refusal" in result) throw new IngestRefused(result.refusal);
    if ("notOwn" in result) throw new SubjectNotOwn(result.notOwn);
    return result;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
    await this.db.destroy();
  }

  #enqueue(batch: Arrival): Promise<IngestResult> {
    if (this.#closed) return Promise.reject(new Error("the audit store is closed"));
    const bytes = sizeOf(batch);
    const tooMany =
      this.#queue.length >= maxQueuedBatches ||
      (this.#queuedBytes > 0 && this.#queuedBytes + bytes > maxQueuedBytes);
    if (tooMany)
      return Promise.reject(
        new Error(
          `the audit store is behind: ${this.#queue.length} batches are waiting; send this one again later`,
        ),
      );
    return new Promise((resolve, reject) => {
      this.#queue.push({ batch, bytes, resolve, reject });
      this.#queuedBytes += bytes;
      this.#running ??= this.#drain();
    });
  }

  /** Never rejects: each batch hears of its own fate. */
  async #drain(): Promise<void> {
    // The proxies of one turn share the first transaction too.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const group = this.#takeGroup();
      if (await this.#settle(group, group.length === 1)) continue;
      // One batch that the database cannot take must not hold up the others for as long as its proxy goes on trying.
      for (const one of group) await this.#settle([one], true);
    }
    // In the turn that saw the empty queue: a batch that comes any later starts the next run.
    this.#running = undefined;
  }

  /** False when the transaction failed and nobody has been told. */
  async #settle(group: readonly Queued[], tell: boolean): Promise<boolean> {
    try {
      const now = new Date(this.#clock()).toISOString();
      const batches = group.map(({ batch }) => batch);
      const results = await this.#commit(this.db, batches, now);
      for (const [index, { resolve }] of group.entries()) {
        const result = results[index];
        if (result !== undefined) resolve(result);
      }
      return true;
    } catch (error) {
      if (tell) for (const { reject } of group) reject(error);
      return tell;
    }
  }

  #takeGroup(): readonly Queued[] {
    let total = 0;
    const end = this.#queue.findIndex(({ bytes }, index) => {
      total += bytes;
      return index > 0 && total > maxTransactionBytes;
    });
    const group = this.#queue.splice(0, end < 0 ? this.#queue.length : end);
    for (const { bytes } of group) this.#queuedBytes -= bytes;
    return group;
  }
}

function sizeOf(batch: Arrival): number {
  if ("lines" in batch) return batch.lines.length;
  const { events, contents } = batch;
  // Nothing has been checked yet (check.ts).
  if (!Array.isArray(events) || !Array.isArray(contents)) return 0;
  return contents.reduce(
    (sum: number, content) => sum + String(content.text).length,
    events.length * bytesPerEvent,
  );
}
