// What survives the end of a run, orderly or not: every event once, the chain whole, approvals and quarantines as they were.
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync, type SQLOutputValue } from "node:sqlite";
import { after, before, test } from "node:test";
import pg from "pg";
import type { StreamVerdict } from "../../operator/audit/verify.ts";
import { parseEvents, type EventLine } from "./local-events.ts";
import {
  createSystem,
  eventually,
  pendingRequest,
  startServers,
  type Dev,
  type LocalSystem,
  type Servers,
} from "./local-system.ts";

let servers: Servers;
let system: LocalSystem;

before(async () => {
  servers = await startServers({ models: ["gpt-5-mini"], steps: [{ text: "hello" }] });
  system = await createSystem(servers.targets);
});

after(async () => {
  await system?.close();
  await servers?.close();
});

async function connect(dev: Dev): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: dev.databaseUrl });
  client.on("error", () => undefined);
  await client.connect();
  return client;
}

async function events(): Promise<EventLine[]> {
  const ended = await system.cli([
    "events",
    "--state",
    system.state,
    "-o",
    "json",
    "--limit",
    "100000",
  ]);
  assert.equal(ended.code, 0, ended.stderr);
  return parseEvents(ended.stdout);
}

async function verify(): Promise<{ readonly code: number | undefined; readonly text: string }> {
  const { code, stdout, stderr } = await system.cli(["audit", "verify", "--state", system.state]);
  return { code, text: stdout + stderr };
}

/** The one that `audit verify` finds fault with. */
async function brokenStream(): Promise<StreamVerdict> {
  const verdicts = await (await system.backend()).verify();
  const [broken, ...more] = verdicts.filter(({ fault }) => fault !== undefined);
  assert.ok(broken !== undefined && more.length === 0, `${more.length} more`);
  return broken;
}

/** No number missing, none twice, in any stream. */
function assertWhole(lines: readonly EventLine[]): void {
  const streams = Map.groupBy(lines, ({ stream }) => stream);
  for (const [stream, own] of streams) {
    const numbers = own.map(({ seq }) => seq).toSorted((a, b) => a - b);
    assert.deepEqual(
      numbers,
      Array.from(numbers, (_, at) => at + 1),
      stream,
    );
  }
}

const statementsOf = (lines: readonly EventLine[], pattern: RegExp): EventLine[] =>
  lines.filter(
    ({ type, operation }) => type === "operation" && pattern.test(operation?.summary ?? ""),
  );

test("a restart in the same state directory goes on: events of both runs, each once, the chain whole", async () => {
  const first = await system.dev();
  const one = await connect(first);
  for (let id = 1; id <= 5; id += 1)
    await one.query(`SELECT id FROM orders WHERE id = ${id} -- first`);
  await one.end();
  assert.equal((await first.stop()).code, 0);
  const second = await system.dev();
  const two = await connect(second);
  for (let id = 6; id <= 10; id += 1)
    await two.query(`SELECT id FROM orders WHERE id = ${id} -- second`);
  await two.end();
  assert.equal((await second.stop()).code, 0);
  const lines = await events();
  assertWhole(lines);
  assert.equal(statementsOf(lines, /WHERE id = \d+/).length, 10);
  const { code, text } = await verify();
  assert.equal(code, 0, text);
  assert.match(text, /nothing altered, nothing missing/);
  assert.ok(!lines.some(({ type }) => type === "gap"), "an orderly end leaves no gap");
});

test("after kill -9 under load, the next start ships what the killed run had spooled; nothing twice, the break stated", async () => {
  const killed = await system.dev();
  const client = await connect(killed);
  let answered = 0;
  const load = (async () => {
    for (let at = 0; ; at += 1) {
      await client.query(`SELECT id FROM orders WHERE id = ${1000 + at}`);
      answered += 1;
    }
  })().catch(() => undefined);
  await eventually("some load has passed", () => answered >= 50, 10_000);
  const ended = await killed.stop("SIGKILL");
  await load;
  assert.equal(ended.signal, "SIGKILL");
  const left = await readdir(join(system.state, "spool"));
  assert.ok(left.length >= 1, "the killed run leaves its spool");

  const next = await system.dev();
  const fresh = await connect(next);
  await fresh.query("SELECT id FROM orders WHERE id = 9999");
  await fresh.end();
  const spools = await readdir(join(system.state, "spool"));
  assert.equal(spools.length, 1, "what was shipped is removed");
  assert.ok(!left.includes(spools[0] ?? ""), "every start has a spool of its own");
  assert.equal((await next.stop()).code, 0);

  const lines = await events();
  assertWhole(lines);
  const recorded = statementsOf(lines, /WHERE id = 1\d{3}$/);
  const summaries = new Set(recorded.map(({ operation }) => operation?.summary));
  assert.equal(summaries.size, recorded.length, "nothing is stored twice");
  // What is not strict is written within milliseconds; the loss of the last ones is stated.
  assert.ok(recorded.length >= answered - 30, `${recorded.length} of ${answered}`);
  const gap = lines.find(
    ({ type, gap: stated }) =>
      type === "gap" && /without closing its spool/.test(stated?.reason ?? ""),
  );
  assert.ok(gap !== undefined, "the break is stated in the stream");
  const { code, text } = await verify();
  assert.equal(code, 0, text);
  assert.match(text, /nothing altered, the streams themselves state 1 loss/);
});

test("kill -9 between intent and answer of a write: the intent is there, its outcome told as unknown", async () => {
  const dev = await system.dev();
  const client = await connect(dev);
  await client.query("SELECT id FROM customers");
  const locker = new pg.Client({
    host: servers.postgres.host,
    port: servers.postgres.port,
    user: "postgres",
    password: servers.postgres.password,
    database: "orders",
    ssl: { ca: servers.postgres.caPem ?? "", servername: "localhost" },
  });
  locker.on("error", () => undefined);
  await locker.connect();
  await locker.query("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE");
  const stuck = client.query("COPY customers (id) TO STDOUT").catch(() => undefined);
  await eventually(
    "the statement is waiting in the database",
    async () =>
      (
        await servers.superuser(
          "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event_type = 'Lock'",
        )
      ).length > 0,
    5_000,
  );
  await dev.stop("SIGKILL");
  await stuck;
  await locker.end();
  await (await system.dev()).stop();
  const lines = await events();
  const intent = lines.findLast(
    ({ type, operation }) => type === "intent" && /COPY/.test(operation?.summary ?? ""),
  );
  assert.ok(intent !== undefined, "the intent was durable before the statement was forwarded");
  assert.ok(
    !lines.some(
      (line) =>
        line.type === "operation" && line.stream === intent.stream && line.intent === intent.seq,
    ),
  );
  const { code, text } = await verify();
  assert.equal(code, 0, text);
  const replay = await system.cli([
    "sessions",
    "replay",
    intent.session ?? "",
    "--no-wait",
    "--state",
    system.state,
  ]);
  assert.match(replay.stdout, /outcome unknown: COPY customers/, replay.stderr);
});

test("an approval given before a restart is not spent by the next run: it was given to another subject", async () => {
  const dev = await system.dev();
  const client = await connect(dev);
  const statement = "UPDATE orders SET refunds = refunds + 1 WHERE id = 90";
  const held = client.query(statement).catch(() => undefined);
  const name = await pendingRequest(system);
  await dev.stop("SIGKILL");
  await held;
  const next = await system.dev();
  const approved = await system.cli(["approve", name, "--state", system.state]);
  assert.notEqual(approved.code, undefined);
  const fresh = await connect(next);
  const outcome = fresh.query(statement).then(
    () => "passed",
    () => "refused",
  );
  assert.notEqual(await pendingRequest(system, [name]), "", "it is held anew");
  await next.stop();
  assert.equal(await outcome, "refused");
  const [row] = await servers.superuser("SELECT refunds FROM orders WHERE id = 90");
  assert.equal(row?.["refunds"], 0);
});

test("a quarantine outlives the restart", async () => {
  const dev = await system.dev();
  const added = await system.cli([
    "quarantine",
    "add",
    "--connection",
    "orders-db",
    "-n",
    "agents",
    "--reason",
    "look first",
    "--state",
    system.state,
  ]);
  assert.equal(added.code, 0, added.stderr);
  await dev.stop();
  const next = await system.dev();
  await assert.rejects(connect(next), /look first/);
  await next.stop();
  const [quarantine] = await system.ask<{ name: string }[]>("quarantine", "list");
  await system.cli(["quarantine", "lift", quarantine?.name ?? "", "--state", system.state]);
});

test("an event altered, removed or added in the store is found, with its place", async () => {
  assert.equal((await verify()).code, 0);
  const lines = await events();
  const victim = lines.find(({ type, seq }) => type === "operation" && seq > 3);
  assert.ok(victim !== undefined);
  const file = join(system.state, "store.sqlite");
  const keep = new DatabaseSync(file);
  const header = keep
    .prepare("SELECT * FROM event_headers WHERE stream = ? AND seq = ?")
    .get(victim.stream, victim.seq);
  const body = keep.prepare("SELECT * FROM event_bodies WHERE id = ?").get(header?.["id"] ?? 0);
  keep.close();
  assert.ok(header !== undefined && body !== undefined);
  const attacks: Readonly<Record<string, string>> = {
    "a body altered":
      "UPDATE event_bodies SET body = replace(body, 'allow', 'deny') WHERE id = :id",
    "a body removed": "DELETE FROM event_bodies WHERE id = :id",
    "a time altered": "UPDATE event_headers SET time = '2001-01-01T00:00:00.000Z' WHERE id = :id",
    "an event removed": "DELETE FROM event_headers WHERE id = :id",
    "a type altered": "UPDATE event_headers SET type = 'session-end' WHERE id = :id",
    "a body said to be pruned":
      "UPDATE event_headers SET pruned_at = '2026-01-01T00:00:00.000Z', body_hash = prev WHERE id = :id",
  };
  for (const [what, sql] of Object.entries(attacks)) {
    change(file, (db) => void db.prepare(sql).run({ id: Number(header["id"]) }));
    const { stream, fault } = await brokenStream();
    assert.equal(stream, victim.stream, what);
    assert.ok(fault !== undefined && fault.seq >= victim.seq - 1, `${what}: ${fault?.message}`);
    if (what === "a body altered") {
      const { code, text } = await verify();
      assert.equal(code, 1, `${what}: ${text}`);
      assert.ok(text.includes(victim.stream), `${what}: ${text}`);
    }
    change(file, (db) => {
      replace(db, "event_headers", header);
      replace(db, "event_bodies", body);
    });
  }
  const mended = await verify();
  assert.equal(mended.code, 0, mended.text);
});

test("events cut off at the end of a stream are found by what was signed of it", async () => {
  const lines = await events();
  const last = lines.findLast(({ type }) => type === "session-end");
  assert.ok(last !== undefined);
  change(join(system.state, "store.sqlite"), (db) => {
    db.prepare("DELETE FROM event_headers WHERE stream = ? AND seq >= ?").run(
      last.stream,
      last.seq,
    );
  });
  const { code, text } = await verify();
  assert.equal(code, 1, text);
  assert.ok(text.includes(last.stream), text);
});

function change(file: string, work: (db: DatabaseSync) => void): void {
  const db = new DatabaseSync(file);
  try {
    work(db);
  } finally {
    db.close();
  }
}

function replace(db: DatabaseSync, table: string, row: Record<string, SQLOutputValue>): void {
  const names = Object.keys(row);
  db.prepare(
    `INSERT OR REPLACE INTO ${table} (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")})`,
  ).run(...Object.values(row));
}
