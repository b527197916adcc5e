// A policy that allows only reads makes the database session read-only as well, whatever the agent tries. The functions here write as a user's own may.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import type { BundleRule } from "../../policy/bundle.ts";
import { allow, everything, hold, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient, rowsOf, statusOf } from "./postgres-proxy-raw.ts";
import type { RawClient } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

/** As wide as reading can be allowed: every kind that writes nothing itself, and any function. */
const reads: readonly BundleRule[] = [
  allow({ statements: ["select", "set", "transaction", "explain", "copy"] }, "read"),
  allow({ functions: ["*"] }, "any function"),
];

const schema = `
  CREATE TABLE touched (what text);
  CREATE SEQUENCE numbers;
  CREATE FUNCTION bump() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN INSERT INTO touched VALUES ('bump'); RETURN 1; END $$;
  CREATE FUNCTION run(statement text) RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN EXECUTE statement; RETURN 1; END $$;
  CREATE FUNCTION unlocked() RETURNS int LANGUAGE plpgsql VOLATILE SET default_transaction_read_only = off AS $$ BEGIN INSERT INTO touched VALUES ('unlocked'); RETURN 1; END $$;
  CREATE VIEW bumping AS SELECT bump() AS bumped;
`;

let server: PostgresServer;
let proxy: Harness;
let direct: pg.Client;

before(async () => {
  server = await startPostgres();
  proxy = await startHarness(server);
  direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query(schema);
});

beforeEach(async () => {
  await direct.query("TRUNCATE touched");
  proxy.setRules(reads);
});

after(async () => {
  await direct?.end();
  await proxy?.close();
  await server?.stop();
});

async function touched(): Promise<number> {
  const { rows } = await direct.query("SELECT count(*)::int AS n FROM touched");
  return rows[0].n;
}

async function client(): Promise<pg.Client> {
  const { host, port } = proxy;
  const connected = new pg.Client({ host, port, user: "agent", database: "postgres" });
  connected.on("error", () => undefined);
  await connected.connect();
  return connected;
}

async function shown(db: pg.Client): Promise<unknown> {
  return (await db.query("SHOW default_transaction_read_only")).rows[0]
    .default_transaction_read_only;
}

/** Sends each text as its own Query, all at once, and waits for all of their answers. */
async function pipelined(raw: RawClient, ...texts: readonly string[]) {
  raw.send(...texts.map((text) => serialize.query(text)));
  return raw.ready(texts.length);
}

test("functions and views that write are stopped by the database, and the error says why", async () => {
  const db = await client();
  for (const text of [
    "SELECT bump()",
    "SELECT * FROM bumping",
    "SELECT nextval('numbers')",
    "SELECT run('CREATE TABLE made (a int)')",
    "SELECT unlocked()",
    "EXPLAIN ANALYZE SELECT bump()",
    "COPY (SELECT bump()) TO STDOUT",
  ]) {
    await assert.rejects(db.query(text), (error: unknown) => {
      assert.ok(error instanceof pg.DatabaseError);
      assert.equal(error.code, "25006", `${text}: ${error.message}`);
      assert.match(error.hint ?? "", /^chaperone: no rule allows a write/);
      return true;
    });
  }
  assert.equal(await shown(db), "on");
  assert.equal(await touched(), 0);
  await db.end();
});

test("the same functions write where a rule allows a write, also one behind approval", async () => {
  const writers: readonly (readonly BundleRule[])[] = [
    everything,
    [...reads, hold({ statements: ["insert"], relations: ["public.audit"] }, 5)],
    [...reads, allow({ statements: ["call"] })],
  ];
  for (const [index, rules] of writers.entries()) {
    proxy.setRules(rules);
    const db = await client();
    await db.query("SELECT bump()");
    assert.equal(await touched(), index + 1);
    await db.end();
  }
});

/** Each is one way to a writable transaction; what is sent afterwards must find none. */
const escapes: readonly string[] = [
  "SET default_transaction_read_only = off",
  "SET SESSION default_transaction_read_only TO 'off'",
  "SET default_transaction_read_only = DEFAULT",
  "SET LOCAL transaction_read_only = off",
  "RESET default_transaction_read_only",
  "RESET transaction_read_only",
  "RESET ALL",
  "DISCARD ALL",
  "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
  "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
  "BEGIN READ WRITE",
  "BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE",
  "START TRANSACTION READ WRITE",
  "BEGIN; SET TRANSACTION READ WRITE",
  "BEGIN; SET transaction_read_only = off",
  "BEGIN; RESET transaction_read_only",
  "BEGIN; RESET ALL",
  "BEGIN; COMMIT AND CHAIN",
  "BEGIN; ROLLBACK AND CHAIN",
  "BEGIN; SAVEPOINT s; SET TRANSACTION READ WRITE",
  "BEGIN READ ONLY; COMMIT; BEGIN READ WRITE",
  "SELECT set_config('default_transaction_read_only', 'off', false)",
  "SELECT set_config('transaction_read_only', 'off', true)",
  "SELECT pg_catalog.set_config('default_' || 'transaction_read_only', 'off', false)",
  "UPDATE pg_settings SET setting = 'off' WHERE name = 'default_transaction_read_only'",
  "ALTER ROLE postgres SET default_transaction_read_only = off",
  "ALTER ROLE postgres RESET ALL",
  "ALTER DATABASE postgres SET default_transaction_read_only = off",
  "ALTER SYSTEM SET default_transaction_read_only = off",
  "SET ROLE postgres",
  "SET SESSION AUTHORIZATION postgres",
  "PREPARE TRANSACTION 'later'",
  "SELECT run('SET transaction_read_only = off')",
  "SELECT run('SET default_transaction_read_only = off')",
  "SELECT run('SET default_transaction_read_only = off'); COMMIT",
  "SELECT run('SET default_transaction_read_only = off'); COMMIT; SELECT bump()",
  "SELECT query_to_xml('SELECT set_config(''default_transaction_read_only'', ''off'', false)', true, true, '')",
  "RESET ALL; COMMIT; SELECT bump()",
  "DO $$ BEGIN PERFORM bump(); END $$",
];

test("no statement makes the session writable, sent alone, then followed by a function that writes", async () => {
  for (const text of escapes) {
    const db = await client();
    await db.query(text).catch(() => undefined);
    await db.query("SELECT bump()").catch(() => undefined);
    await db.query("COMMIT").catch(() => undefined);
    await db.query("SELECT bump()").catch(() => undefined);
    assert.equal(await touched(), 0, text);
    await db.end();
  }
});

test("no statement makes the session writable, however much is sent behind it without waiting", async () => {
  for (const text of escapes) {
    for (const rest of [
      ["SELECT bump()", "COMMIT", "SELECT bump()"],
      ["COMMIT", "SELECT bump()", "SELECT bump()"],
    ]) {
      const raw = await rawClient(proxy.port);
      await pipelined(raw, text, ...rest).catch(() => undefined);
      assert.equal(await touched(), 0, text);
      await raw.end();
    }
  }
});

function extended(text: string): Buffer[] {
  return [serialize.parse({ text }), serialize.bind(), serialize.execute()];
}

test("nor in one pipeline of the extended protocol, with Flush between or without", async () => {
  for (const text of escapes.filter((escape) => !escape.includes(";"))) {
    for (const between of [[], [serialize.flush()]]) {
      const raw = await rawClient(proxy.port);
      raw.send(
        ...extended(text),
        ...between,
        ...extended("COMMIT"),
        ...between,
        ...extended("SELECT bump()"),
        serialize.sync(),
        ...extended("SELECT bump()"),
        serialize.sync(),
      );
      await raw.ready(2).catch(() => undefined);
      assert.equal(await touched(), 0, text);
      await raw.end();
    }
  }
});

test("a function that switches it off behind our back ends the session before anything else runs", async () => {
  const raw = await rawClient(proxy.port);
  const off = "SELECT run('SET default_transaction_read_only = off')";
  await assert.rejects(pipelined(raw, off, "SELECT bump()"), /closed after .*E$/);
  assert.deepEqual(errorsOf(raw.answers), ["08P01"]);
  assert.equal(await touched(), 0);
});

test("functions, transactions and pools work on in a read-only session", async () => {
  const db = await client();
  await db.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  await db.query("SELECT run('SELECT 1')");
  await db.query("SAVEPOINT s");
  await db.query("RELEASE s");
  await db.query("COMMIT AND CHAIN");
  await db.query("COMMIT");
  await db.query("RESET ALL");
  await db.query("DISCARD ALL");
  await db.query("SET default_transaction_read_only = on");
  await db.query("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY");
  await db.query("SELECT run('SELECT 1'); SELECT run('SELECT 2')");
  assert.equal(await shown(db), "on");
  await db.end();
  const raw = await rawClient(proxy.port);
  raw.send(...extended("SELECT run('SELECT 1')"), ...extended("SELECT 2"), serialize.sync());
  assert.deepEqual(rowsOf(await raw.ready()), [["1"], ["2"]]);
  await raw.end();
});

test("a client's own read-only default stays when the policy allows writes", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port, { default_transaction_read_only: "on" });
  const [write] = [errorsOf(await pipelined(raw, "SELECT bump()"))];
  assert.deepEqual(write, ["25006"]);
  proxy.setRules(reads);
  await pipelined(raw, "SELECT 1");
  proxy.setRules(everything);
  assert.deepEqual(errorsOf(await pipelined(raw, "SELECT bump()")), ["25006"]);
  await raw.end();
});

test("an open session follows the policy in both directions, as often as it changes", async () => {
  const db = await client();
  for (let round = 1; round <= 3; round += 1) {
    proxy.setRules(reads);
    await assert.rejects(db.query("SELECT bump()"), { code: "25006" });
    assert.equal(await shown(db), "on");
    proxy.setRules(everything);
    await db.query("SELECT bump()");
    assert.equal(await shown(db), "off");
    assert.equal(await touched(), round);
  }
  await db.end();
});

test("a reset leaves the session as the policy wants it, however it began", async () => {
  for (const began of [reads, everything]) {
    for (const reset of [
      "RESET ALL",
      "DISCARD ALL",
      "RESET default_transaction_read_only",
      "SET default_transaction_read_only = DEFAULT",
    ]) {
      proxy.setRules(began);
      const raw = await rawClient(proxy.port);
      await direct.query("TRUNCATE touched");
      proxy.setRules(reads);
      assert.deepEqual(
        errorsOf(await pipelined(raw, "SELECT 1", reset, "SELECT bump()", "SELECT bump()")),
        ["25006", "25006"],
        reset,
      );
      raw.send(...extended(reset), ...extended("SELECT bump()"), serialize.sync());
      raw.send(...extended("SELECT bump()"), serialize.sync());
      assert.equal(errorsOf(await raw.ready(2)).length, 2, reset);
      assert.equal(await touched(), 0, reset);
      proxy.setRules(everything);
      assert.deepEqual(errorsOf(await pipelined(raw, "SELECT 1", reset, "SELECT bump()")), []);
      assert.equal(await touched(), 1, reset);
      await raw.end();
    }
  }
});

test("a transaction that began under rules for writing can only be ended when they are gone", async () => {
  proxy.setRules(everything);
  const db = await client();
  await db.query("BEGIN");
  await db.query("SELECT bump()");
  await db.query("SAVEPOINT s");
  proxy.setRules(reads);
  for (const text of [
    "SELECT bump()",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "COMMIT; SELECT bump()",
    "ROLLBACK TO s",
  ]) {
    const other = await client();
    await other.end();
    await assert.rejects(db.query(text), { code: "42501" }, text);
    await db.query("ROLLBACK");
    assert.equal(await touched(), 0);
    proxy.setRules(everything);
    await db.query("BEGIN");
    await db.query("SELECT bump()");
    await db.query("SAVEPOINT s");
    proxy.setRules(reads);
  }
  await db.query("COMMIT");
  assert.equal(await touched(), 1);
  await assert.rejects(db.query("SELECT bump()"), { code: "25006" });
  await db.end();
});

test("a pipeline behind the end of such a transaction finds the session read-only", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port);
  await pipelined(raw, "BEGIN; SELECT bump()");
  proxy.setRules(reads);
  const answers = await pipelined(raw, "COMMIT", "SELECT bump()", "SELECT 1");
  assert.deepEqual(errorsOf(answers), ["25006"]);
  assert.equal(statusOf(answers), "III");
  await pipelined(raw, "SELECT 1");
  proxy.setRules(everything);
  await pipelined(raw, "BEGIN");
  proxy.setRules(reads);
  raw.send(...extended("COMMIT"), ...extended("SELECT bump()"), serialize.sync());
  assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
  await pipelined(raw, "ROLLBACK");
  assert.equal(await touched(), 1);
  await raw.end();
});

test("a half-sent pipeline does not write after the policy changed", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port);
  raw.send(...extended("SELECT 1"), serialize.flush());
  await raw.until((answers) => answers.some(({ type }) => type === "C"));
  proxy.setRules(reads);
  raw.send(...extended("SELECT bump()"), serialize.sync());
  assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
  assert.equal(await touched(), 0);
  await raw.end();
});

test("a statement that waited for approval runs under the rules of the moment it goes", async () => {
  proxy.setRules([...everything, hold({ functions: ["public.bump"] }, 30)]);
  const db = await client();
  const waiting = db.query("SELECT bump()");
  const failed = assert.rejects(waiting, { code: "25006" });
  while (proxy.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
  proxy.setRules([...reads, hold({ functions: ["public.bump"] }, 30)]);
  proxy.answerRequest("Approved");
  await failed;
  assert.equal(await touched(), 0);
  await db.end();
});
