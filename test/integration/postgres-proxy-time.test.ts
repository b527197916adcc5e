// limits.statementTimeout, idleTimeout and maxConnections on sessions of a real server, also while they change.
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, beforeEach, test } from "node:test";
import pg from "pg";
import type { Limits } from "../../policy/bundle.ts";
import { everything, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let direct: pg.Client;

before(async () => {
  server = await startPostgres();
  proxy = await startHarness(server);
  direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query(
    "CREATE FUNCTION run(statement text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE statement; RETURN 1; END $$",
  );
  await direct.query("CREATE TABLE kept (a int)");
});

beforeEach(() => limit({}));

after(async () => {
  await direct?.end();
  await proxy?.close();
  await server?.stop();
});

function limit(limits: Limits): void {
  proxy.setRules(everything, { limits });
}

async function client(changes: pg.ClientConfig = {}): Promise<pg.Client> {
  const { host, port } = proxy;
  const connected = new pg.Client({ host, port, user: "agent", database: "postgres", ...changes });
  connected.on("error", () => undefined);
  await connected.connect();
  return connected;
}

async function shown(db: pg.Client): Promise<unknown> {
  return (await db.query("SHOW statement_timeout")).rows[0].statement_timeout;
}

test("the database stops a statement that runs too long, and the session lives on", async () => {
  limit({ statementTimeoutSeconds: 1 });
  const db = await client();
  await assert.rejects(db.query("SELECT pg_sleep(60)"), {
    code: "57014",
    message: "canceling statement due to statement timeout",
  });
  await assert.rejects(db.query("SELECT pg_sleep($1)", [60]), { code: "57014" });
  assert.equal((await db.query("SELECT 1 AS one")).rows[0].one, 1);
  await db.end();
});

test("an agent may lower its statement_timeout, never raise it or switch it off", async () => {
  limit({ statementTimeoutSeconds: 10 });
  const db = await client();
  assert.equal(await shown(db), "10s");
  for (const text of [
    "SET statement_timeout = 0",
    "SET statement_timeout = '11s'",
    "SET LOCAL statement_timeout = 10001",
    "SET SESSION statement_timeout TO '1min'",
    "SET statement_timeout = -1",
    "SELECT set_config('statement_timeout', '20s', false)",
    "SELECT set_config('statement_timeout', '0', true)",
    "SET statement_timeout = 100; SET statement_timeout = '20s'",
    "ALTER ROLE postgres SET statement_timeout = 0",
  ]) {
    await assert.rejects(db.query(text), { code: "42501" }, text);
    assert.equal(await shown(db), "10s", text);
  }
  await db.query("SET statement_timeout = '10s'");
  for (const reset of [
    "RESET statement_timeout",
    "RESET ALL",
    "DISCARD ALL",
    "SET statement_timeout = DEFAULT",
  ]) {
    await db.query("SET statement_timeout = 200");
    assert.equal(await shown(db), "200ms");
    await db.query(reset);
    assert.equal(await shown(db), "10s", reset);
  }
  await db.end();
});

test("what the client asks for at startup counts where it is less than the limit", async () => {
  limit({ statementTimeoutSeconds: 10 });
  for (const [asked, got] of [
    [0, "10s"],
    [60_000, "10s"],
    [200, "200ms"],
  ] as const) {
    const db = await client({ statement_timeout: asked });
    assert.equal(await shown(db), got);
    await db.end();
  }
  limit({});
  const db = await client({ statement_timeout: 60_000 });
  assert.equal(await shown(db), "1min");
  await db.end();
});

test("an open session follows a limit that comes, shrinks or grows, and keeps the agent's own smaller one", async () => {
  const db = await client();
  const own = await client();
  await own.query("SET statement_timeout = 300");
  for (const [seconds, got] of [
    [20, "20s"],
    [5, "5s"],
    [30, "30s"],
  ] as const) {
    limit({ statementTimeoutSeconds: seconds });
    assert.equal(await shown(db), got);
    await db.query("RESET ALL");
    assert.equal(await shown(db), got);
    assert.equal(await shown(own), "300ms");
  }
  limit({});
  await db.query("SET statement_timeout = '5min'");
  assert.equal(await shown(db), "5min");
  await db.end();
  await own.end();
});

test("the proxy stops a statement itself where the server's own timeout was switched off", async () => {
  limit({ statementTimeoutSeconds: 1 });
  const db = await client();
  await db.query("SELECT run('SET statement_timeout = 0')");
  assert.equal(await shown(db), "0");
  await assert.rejects(db.query("SELECT pg_sleep(60)"), {
    code: "54000",
    message: /agents\/orders-db ran longer than 1 s \(limits.statementTimeout\)/,
  });
  assert.equal((await db.query("SELECT 2 AS two")).rows[0].two, 2);
  await assert.rejects(db.query("SELECT pg_sleep($1)", [60]), { code: "54000" });
  assert.equal((await db.query("SELECT 2 AS two")).rows[0].two, 2);
  await db.end();
});

test("many short statements together may take longer than the limit", async () => {
  limit({ statementTimeoutSeconds: 1 });
  const db = await client();
  await db.query("SELECT run('SET statement_timeout = 0')");
  await db.query(Array.from({ length: 8 }, () => "SELECT pg_sleep(0.4)").join(";"));
  await db.end();
});

test("an idle session is ended, one that waits for its statement is not", async () => {
  limit({ idleTimeoutSeconds: 1 });
  const db = await client();
  await db.query("SELECT pg_sleep(2)");
  const [error] = await once(db, "error");
  assert.equal(error.code, "57P01");
  assert.match(error.message, /idle for 1 s \(limits.idleTimeout\)/);
});

test("idle in a transaction is idle: what the transaction did is rolled back", async () => {
  limit({ idleTimeoutSeconds: 1 });
  const db = await client();
  await db.query("BEGIN");
  await db.query("INSERT INTO kept VALUES (1)");
  const [error] = await once(db, "error");
  assert.equal(error.code, "57P01");
  const locked = "SELECT count(*)::int AS n FROM pg_locks WHERE relation = 'kept'::regclass";
  while ((await direct.query(locked)).rows[0].n > 0);
  assert.equal((await direct.query("SELECT count(*)::int AS n FROM kept")).rows[0].n, 0);
});

test("an idle limit that comes later counts for open sessions", async () => {
  const db = await client();
  limit({ idleTimeoutSeconds: 1 });
  const [error] = await once(db, "error");
  assert.match(error.message, /limits.idleTimeout/);
});

test("a connection more than maxConnections is refused, and one that ends makes room", async () => {
  limit({ maxConnections: 2 });
  const first = await client();
  const second = await client();
  await assert.rejects(client(), { code: "54000", message: /maxConnections/ });
  await first.end();
  for (;;) {
    const third = await client().catch(() => undefined);
    if (third === undefined) continue;
    await third.end();
    break;
  }
  await second.end();
});
