// What masks and rules go by is what a name means at the moment: not what it meant in a transaction's snapshot, nor in a transaction that was rolled back.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import { allow, everything, startHarness, type Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, field, rawClient, rowsOf } from "./postgres-proxy-raw.ts";
import { postgresAvailable, startPostgres, type PostgresServer } from "./postgres-server.ts";

const skip = postgresAvailable() ? false : "the embedded PostgreSQL is not installed";
const secret = "123-45-6789";
const masked = {
  columnMasks: [{ column: "public.people.ssn", transform: { kind: "redact" }, policy: "agents/p" }],
} as const;

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;
let clockMs = 0;

before(async () => {
  if (skip !== false) return;
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
});

after(async () => {
  await admin?.end();
  await server?.stop();
});

beforeEach(async () => {
  if (skip !== false) return;
  await admin.query(`
    DROP SCHEMA public CASCADE; CREATE SCHEMA public;
    CREATE TABLE people (id int, note text, ssn text);
    INSERT INTO people VALUES (1, 'a note', '${secret}');
    CREATE VIEW shown AS SELECT id, note FROM people`);
  proxy = await startHarness(server, { now: () => clockMs });
  proxy.setRules(everything, masked);
});

afterEach(async () => {
  await proxy?.close();
});

async function agent(): Promise<pg.Client> {
  const client = new pg.Client({
    host: proxy.host,
    port: proxy.port,
    user: "agent",
    database: "postgres",
  });
  // A test that fails leaves its clients; they end with their proxy.
  client.on("error", () => undefined);
  await client.connect();
  return client;
}

/** Everything the agent sees of a text: rows, or the error. */
async function seen(client: pg.Client, text: string): Promise<string> {
  try {
    const answers = await client.query({ text, rowMode: "array" });
    return JSON.stringify([answers].flat().map(({ rows }) => rows));
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    return `${error.code}: ${error.message}`;
  }
}

const becomesSecret = "CREATE OR REPLACE VIEW shown AS SELECT id, ssn AS note FROM people";

for (const isolation of ["REPEATABLE READ", "SERIALIZABLE"])
  test(
    `a view that another session replaces after the snapshot of a ${isolation} transaction is masked by what it shows now`,
    { skip },
    async () => {
      const client = await agent();
      await client.query(`BEGIN ISOLATION LEVEL ${isolation}`);
      assert.equal(await seen(client, "SELECT 1"), "[[[1]]]");
      await admin.query(becomesSecret);
      clockMs += 2_000;
      assert.equal(await seen(client, "SELECT note FROM shown"), '[[["[redacted]"]]]');
      assert.equal(await seen(client, "SELECT note || '!' FROM shown"), '[[["[redacted]"]]]');
      await client.query("COMMIT");
      await client.end();
    },
  );

test(
  "what a transaction with a snapshot reads of the catalog tells other sessions nothing old",
  { skip },
  async () => {
    const [holder, other] = [await agent(), await agent()];
    await holder.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    await holder.query("SELECT 1");
    await admin.query(becomesSecret);
    clockMs += 2_000;
    await seen(holder, "SELECT id FROM shown");
    assert.equal(await seen(other, "SELECT note FROM shown"), '[[["[redacted]"]]]');
    await holder.query("ROLLBACK");
    await Promise.all([holder.end(), other.end()]);
  },
);

test(
  "a column that gets a masked name after the snapshot of a transaction is masked in it",
  { skip },
  async () => {
    await admin.query(
      `CREATE TABLE staff (id int, code text); INSERT INTO staff VALUES (1, '${secret}')`,
    );
    proxy.setRules(everything, {
      columnMasks: [
        { column: "public.staff.ssn", transform: { kind: "redact" }, policy: "agents/p" },
      ],
    });
    const client = await agent();
    await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    await client.query("SELECT 1");
    await admin.query("ALTER TABLE staff RENAME code TO ssn");
    clockMs += 61_000;
    assert.equal(await seen(client, "SELECT ssn FROM staff"), '[[["[redacted]"]]]');
    await client.end();
  },
);

const loseTable = ["DROP TABLE people CASCADE", "CREATE TABLE people (id int)"];
const loseView = ["DROP VIEW shown", "CREATE VIEW shown AS SELECT 1 AS id, 'x'::text AS note"];

for (const [changes, then] of [
  [loseTable, "SELECT p::text FROM people p"],
  [loseView, "SELECT note || '' FROM shown"],
] as const)
  test(
    `what a transaction changed and rolled back is not what its session is masked by: ${changes[0]}`,
    { skip },
    async () => {
      await admin.query(becomesSecret);
      const client = await agent();
      for (const [begin, rollback] of [
        ["BEGIN", "ROLLBACK"],
        ["BEGIN; SAVEPOINT before", "ROLLBACK TO before"],
      ] as const) {
        await client.query(begin);
        for (const change of changes) await client.query(change);
        await client.query("SELECT 1");
        await client.query(rollback);
        assert.equal(await seen(client, then), '[[["[redacted]"]]]', rollback);
        await client.query("ROLLBACK");
      }
      await client.end();
    },
  );

test(
  "nor in one packet with the end of the transaction, nor in one text with it",
  { skip },
  async () => {
    const then = "SELECT p::text FROM people p";
    for (const after of [["ROLLBACK", then], [`ROLLBACK; ${then}`], [`ROLLBACK; BEGIN; ${then}`]]) {
      const raw = await rawClient(proxy.port);
      raw.send(...["BEGIN", ...loseTable, "SELECT 1"].map((text) => serialize.query(text)));
      assert.deepEqual(errorsOf(await raw.ready(4)), []);
      raw.send(...after.map((text) => serialize.query(text)));
      const answers = await raw.ready(after.length);
      if (after.length > 1) assert.deepEqual(rowsOf(answers), [["[redacted]"]]);
      else assert.deepEqual([rowsOf(answers), errorsOf(answers)], [[], ["42501"]]);
      await raw.end();
    }
  },
);

test(
  "what one session changed and did not commit does not unmask another that waits for it",
  { skip },
  async () => {
    await admin.query(becomesSecret);
    const [changer, other] = [await agent(), await agent()];
    await other.query("SELECT id FROM shown");
    await changer.query("BEGIN");
    for (const change of loseView) await changer.query(change);
    await changer.query("SELECT 1");
    const waiting = seen(other, "SELECT note || '' FROM shown");
    await changer.query("SELECT 2");
    await changer.query("ROLLBACK");
    assert.equal(await waiting, '[[["[redacted]"]]]');
    await Promise.all([changer.end(), other.end()]);
  },
);

test(
  "a change that is committed counts from its commit, whoever read the catalog before",
  { skip },
  async () => {
    await admin.query(
      `CREATE TABLE staff (id int, code text); INSERT INTO staff VALUES (1, '${secret}')`,
    );
    proxy.setRules(everything, {
      columnMasks: [
        { column: "public.crew.code", transform: { kind: "redact" }, policy: "agents/p" },
      ],
    });
    const [changer, other] = [await agent(), await agent()];
    await changer.query("BEGIN");
    await changer.query("ALTER TABLE staff RENAME TO crew");
    clockMs += 61_000;
    assert.equal(await seen(other, "SELECT 1"), "[[[1]]]");
    await changer.query("COMMIT");
    assert.equal(await seen(changer, "SELECT code || '' FROM crew"), '[[["[redacted]"]]]');
    assert.equal(await seen(other, "SELECT code || '' FROM crew"), '[[["[redacted]"]]]');
    await Promise.all([changer.end(), other.end()]);
  },
);

test(
  "a transaction with a snapshot that has changed what there is is told to end before it reads on",
  { skip },
  async () => {
    const client = await agent();
    await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    await client.query("CREATE TABLE mine (id int)");
    assert.match(
      await seen(client, "SELECT id FROM mine"),
      /^42501: .*this transaction changed the schema.*COMMIT/,
    );
    await client.query("ROLLBACK");
    assert.equal(await seen(client, "SELECT note FROM shown"), '[[["a note"]]]');
    await client.end();
  },
);

test(
  "a function of PostgreSQL's name that was only dropped in a transaction needs a rule after it as before",
  { skip },
  async () => {
    await admin.query(
      `CREATE FUNCTION lower(people) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM people'`,
    );
    proxy.setRules([
      allow({ statements: ["select", "drop"], relations: ["public.*"] }),
      allow({ statements: ["drop"] }, "drop"),
    ]);
    const client = await agent();
    const call = "SELECT lower(p) FROM people p";
    const needsRule = /^42501: .*public\.lower/;
    assert.match(await seen(client, call), needsRule);
    await client.query("BEGIN");
    await client.query("DROP FUNCTION lower(people)");
    assert.equal(await seen(client, "SELECT lower('A')"), '[[["a"]]]');
    await client.query("ROLLBACK");
    assert.match(await seen(client, call), needsRule);
    await client.end();
  },
);

test(
  "a function of PostgreSQL's name that another session makes is noticed in a transaction with a snapshot, however long it lasts",
  { skip },
  async () => {
    proxy.setRules([allow({ statements: ["select"], relations: ["public.*"] })]);
    const client = await agent();
    await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    await client.query("SELECT lower('A')");
    await admin.query(
      "CREATE FUNCTION lower(people) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM people'",
    );
    clockMs += 61_000;
    assert.match(await seen(client, "SELECT lower(p) FROM people p"), /^42501: .*public\.lower/);
    await client.end();
  },
);

test(
  "a function of PostgreSQL's name that the agent makes needs a rule at once: in one text, one packet, one pipeline",
  { skip },
  async () => {
    proxy.setRules([
      allow({ statements: ["select"], relations: ["public.*"] }),
      allow({ statements: ["create"] }, "create"),
    ]);
    const make =
      "CREATE OR REPLACE FUNCTION public.lower(people) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM people'";
    const call = "SELECT lower(p) FROM people p";
    const parsed = (text: string): Buffer =>
      Buffer.concat([serialize.parse({ text }), serialize.bind({}), serialize.execute({})]);
    for (const [how, bytes, answers] of [
      ["one text", serialize.query(`${make}; ${call}`), 1],
      ["one packet", Buffer.concat([serialize.query(make), serialize.query(call)]), 2],
      ["one pipeline", Buffer.concat([parsed(make), parsed(call), serialize.sync()]), 1],
      [
        "a pipeline with Flush",
        Buffer.concat([parsed(make), serialize.flush(), parsed(call), serialize.sync()]),
        1,
      ],
      [
        "a pipeline in a transaction",
        Buffer.concat([
          serialize.query("BEGIN"),
          parsed(make),
          serialize.flush(),
          parsed(call),
          serialize.sync(),
          serialize.query("ROLLBACK"),
        ]),
        3,
      ],
    ] as const) {
      await admin.query("DROP FUNCTION IF EXISTS lower(people)");
      const raw = await rawClient(proxy.port);
      raw.send(serialize.query("SELECT lower('A')"));
      await raw.ready();
      raw.send(bytes);
      const said = await raw.ready(answers);
      assert.deepEqual(rowsOf(said), [], how);
      assert.equal(errorsOf(said).length, 1, how);
      const why = said.map((answer) => (answer.type === "E" ? field(answer, "M") : "")).join("");
      assert.match(
        why,
        /public\.lower|functions of its database|which functions it runs|before PostgreSQL 18/,
        how,
      );
      await raw.end();
    }
  },
);
