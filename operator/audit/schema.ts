// The store's tables, for every dialect: bodies and contents apart from headers, because retention deletes the ones and never the others.
import type { CreateTableBuilder, Kysely, Transaction } from "kysely";
import { type Migration, Migrator } from "kysely/migration";

export interface AuditSchema {
  /** Event ids come from here, inside the transaction: rows become visible in the order of their ids, which `--follow` relies on. */
  counters: { name: string; value: number };
  streams: { stream: string; seq: number; hash: string; first_at: string; last_at: string };
  event_headers: {
    id: number;
    stream: string;
    seq: number;
    time: string;
    type: string;
    prev: string;
    body_hash: string;
    hash: string;
    /** When retention or erasure deleted the body. */
    pruned_at: string | null;
  };
  event_bodies: {
    id: number;
    body: string;
    session: string | null;
    namespace: string | null;
    service_account: string | null;
    pod: string | null;
    pod_uid: string | null;
    chain: string | null;
    /** `namespace/name`. */
    connection: string | null;
    verdict: string | null;
    policy: string | null;
    rule: string | null;
  };
  contents: {
    event_id: number;
    position: number;
    session: string;
    part: string;
    sha256: string;
    text: string;
  };
  sessions: SessionTable;
  /** Signed heads as they came; the last of each hour and stream is kept. */
  checkpoints: {
    stream: string;
    period: string;
    seq: number;
    hash: string;
    head: string;
    received_at: string;
  };
  /** Batches that were refused because they did not link, each kind counted once per place. */
  problems: {
    stream: string;
    code: string;
    expected: number;
    message: string;
    times: number;
    first_at: string;
    last_at: string;
  };
  /** What is left of the limits that are counted over all pods of a workload (operator/budgets). */
  budgets: {
    /** `namespace/name`. */
    connection: string;
    /** `namespace/serviceAccount`. */
    workload: string;
    budget: string;
    /** Minute or day of UTC. */
    period: string;
    /** The limit as last heard. */
    amount: number;
    /** JSON of an Account (policy/budget/ledger.ts). */
    account: string;
  };
}

export interface SessionTable {
  id: string;
  namespace: string;
  service_account: string;
  pod: string;
  pod_uid: string;
  chain: string | null;
  connection: string;
  protocol: string;
  started_at: string;
  last_at: string;
  ended: number;
  operations: number;
  denied: number;
  held: number;
  masked: number;
}

/** The counter that event ids come from. */
export const eventIds = "event-ids";
/** Its row is locked by whoever changes budgets, so that replicas follow one another. */
export const budgetTurns = "budget-turns";

export type AuditDatabase = Kysely<AuditSchema>;
export type Writing = Transaction<AuditSchema>;

/** Longest value of a column people search by; PostgreSQL's indexes take no more than 2,700 bytes. */
const maxColumnLength = 256;

/** A value that people search by. What an agent claims (its chain) may hold anything, also what PostgreSQL's text cannot. */
export function column(value: string | undefined): string | null {
  if (value === undefined) return null;
  if (value.length <= maxColumnLength && plain.test(value)) return value;
  return value.slice(0, maxColumnLength).replaceAll("\0", "\ufffd").toWellFormed();
}

/** What nearly every such value is made of, and every database takes. */
const plain = /^[ -~]*$/;

/** Texts stand in the store as JSON strings: PostgreSQL's `text` has no NUL, and a digest needs every character. */
export function encodeText(text: string): string {
  return JSON.stringify(text);
}

export function decodeText(stored: string): string {
  const text: unknown = JSON.parse(stored);
  if (typeof text !== "string") throw new TypeError("a stored text is no JSON string");
  return text;
}

/** Type of a 64-bit number: SQLite's `integer primary key` is the row id itself, PostgreSQL's `integer` has 32 bits. */
export type IntegerType = "integer" | "bigint";

/** Brings the tables up to date. Kysely's migrator locks, so several replicas may start at once. */
export async function migrate(db: AuditDatabase, integer: IntegerType): Promise<void> {
  const migrator = new Migrator({
    db,
    provider: { getMigrations: async () => migrations(integer) },
  });
  const { error } = await migrator.migrateToLatest();
  if (error === undefined) return;
  throw error instanceof Error
    ? error
    : new Error("the audit store's tables could not be made", { cause: error });
}

/** Never change one that was released; add the next number. */
function migrations(integer: IntegerType): Record<string, Migration> {
  return {
    "0001-tables": { up: (db: Kysely<unknown>) => createTables(db, integer) },
    "0002-budgets": { up: (db: Kysely<unknown>) => createBudgets(db, integer) },
  };
}

async function createBudgets(db: Kysely<unknown>, integer: IntegerType): Promise<void> {
  await createTable(db, integer, "budgets", "connection workload budget period amount# account", [
    "connection",
    "workload",
    "budget",
    "period",
  ]);
  await addCounter(db, budgetTurns);
}

async function addCounter(db: Kysely<unknown>, name: string): Promise<void> {
  await db
    .insertInto("counters" as never)
    .values({ name, value: 0 } as never)
    .execute();
}

/** Columns as `name` (text), `name#` (64-bit number), either with `?` for "may be null". */
async function createTable(
  db: Kysely<unknown>,
  integer: IntegerType,
  name: string,
  columns: string,
  key: readonly string[],
): Promise<void> {
  let made: CreateTableBuilder<string, string> = db.schema.createTable(name);
  for (const column of columns.split(" ")) {
    const type = column.includes("#") ? integer : "text";
    made = made.addColumn(column.replace(/[?#]+$/, ""), type, (definition) =>
      column.endsWith("?") ? definition : definition.notNull(),
    );
  }
  await made.addPrimaryKeyConstraint(`${name}_key`, [...key]).execute();
}

async function createTables(db: Kysely<unknown>, integer: IntegerType): Promise<void> {
  const table = (name: string, columns: string, key: readonly string[]): Promise<void> =>
    createTable(db, integer, name, columns, key);
  await table("counters", "name value#", ["name"]);
  await table("streams", "stream seq# hash first_at last_at", ["stream"]);
  await table("event_headers", "id# stream seq# time type prev body_hash hash pruned_at?", ["id"]);
  await table(
    "event_bodies",
    "id# body session? namespace? service_account? pod? pod_uid? chain? connection? verdict? policy? rule?",
    ["id"],
  );
  await table("contents", "event_id# position# session part sha256 text", ["event_id", "position"]);
  await table(
    "sessions",
    "id namespace service_account pod pod_uid chain? connection protocol started_at last_at ended# operations# denied# held# masked#",
    ["id"],
  );
  await table("checkpoints", "stream period seq# hash head received_at", ["stream", "period"]);
  await table("problems", "stream code expected# message times# first_at last_at", [
    "stream",
    "code",
    "expected",
  ]);
  const { schema } = db;
  await schema
    .createIndex("event_headers_place")
    .on("event_headers")
    .columns(["stream", "seq"])
    .unique()
    .execute();
  for (const column of ["session", "pod_uid", "connection", "verdict"]) {
    await schema
      .createIndex(`event_bodies_${column}`)
      .on("event_bodies")
      .columns([column, "id"])
      .execute();
  }
  await schema.createIndex("sessions_last").on("sessions").column("last_at").execute();
  await schema
    .createIndex("sessions_pod")
    .on("sessions")
    .columns(["pod_uid", "started_at"])
    .execute();
  await addCounter(db, eventIds);
}
