// A statement that waits for a person: inside a transaction and under limits of time, shown to its end, and recorded with what was bound to it.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import type { Limits } from "../../policy/bundle.ts";
import { allow, everything, hold, startHarness, type Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, field, rawClient, statusOf, tagsOf, typesOf } from "./postgres-proxy-raw.ts";
import { startPostgres, type PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;

before(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query("CREATE TABLE paid (id int, note text)");
  proxy = await startHarness(server, { holdNoticeMs: 200 });
});

beforeEach(async () => {
  await admin.query("TRUNCATE paid");
  holdInserts({});
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

function holdInserts(limits: Limits): void {
  proxy.setRules([allow({ statements: ["select"] }), hold({ statements: ["insert"] }, 30)], {
    limits,
  });
}

async function paid(): Promise<number[]> {
  return (await admin.query("SELECT id FROM paid ORDER BY id")).rows.map(({ id }) => id);
}

function insert(id: number): Buffer[] {
  return [
    serialize.parse({ text: "INSERT INTO paid VALUES ($1)", types: [23] }),
    serialize.bind({ values: [String(id)] }),
    serialize.execute(),
  ];
}

test("in a transaction it may wait longer than a statement may run or a session be idle, and commits with the rest", async () => {
  holdInserts({ idleTimeoutSeconds: 1, statementTimeoutSeconds: 1 });
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("BEGIN"));
  assert.equal(statusOf(await raw.ready()), "T");
  const began = Date.now();
  raw.send(...insert(1), serialize.sync());
  // Told again and again, for longer than either limit.
  await raw.until((told) => told.length > 0 && Date.now() - began > 2_500);
  assert.deepEqual(await paid(), []);
  proxy.answerRequest("Approved");
  const answers = await raw.ready();
  assert.match(typesOf(answers), /^N*12CZ$/);
  assert.equal(statusOf(answers), "T");
  raw.send(serialize.query("COMMIT"));
  assert.deepEqual(tagsOf(await raw.ready()), ["COMMIT"]);
  assert.deepEqual(await paid(), [1]);
  await raw.end();
});

test("denied in a transaction it fails the transaction, and what was done before goes with it", async () => {
  proxy.setRules([
    allow({ statements: ["select", "update", "insert"] }),
    hold({ statements: ["delete"] }, 30),
  ]);
  const raw = await rawClient(proxy.port);
  const asked = proxy.requests.length;
  raw.send(serialize.query("BEGIN"), serialize.query("INSERT INTO paid VALUES (2)"));
  await raw.ready(2);
  raw.send(serialize.query("DELETE FROM paid"));
  await raw.until((told) => typesOf(told).includes("N") && proxy.requests.length > asked);
  proxy.answerRequest("Denied");
  const denied = await raw.ready();
  assert.deepEqual(errorsOf(denied), ["42501"]);
  assert.equal(statusOf(denied).at(-1), "E");
  raw.send(serialize.query("COMMIT"));
  assert.deepEqual(tagsOf(await raw.ready()), ["ROLLBACK"]);
  assert.deepEqual(await paid(), []);
  await raw.end();
});

test("who is asked can read it to its end, however long it is, and its parameters", async () => {
  const raw = await rawClient(proxy.port);
  const end = "WHERE id = $1 -- the end";
  const long = `INSERT INTO paid SELECT $1, '${"x".repeat(2_000)}' ${end}`.replace(
    "WHERE id",
    "WHERE $1::int",
  );
  for (const [text, values, detail] of [
    ["INSERT INTO paid VALUES ($1, 'short')", ["7"], '["7"]'],
    [long, ["8"], `${long}\n["8"]`],
    [long.replaceAll("$1", "9"), [], long.replaceAll("$1", "9")],
  ] as const) {
    const asked = proxy.requests.length;
    raw.send(
      serialize.parse({ text }),
      serialize.bind({ values: [...values] }),
      serialize.execute(),
      serialize.sync(),
    );
    await raw.until((told) => told.length > 0 && proxy.requests.length > asked);
    assert.equal(proxy.requests.at(-1)?.detail, detail);
    proxy.answerRequest("Denied");
    assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
  }
  await raw.end();
});

test("recording says what each detail promises of statement, parameters and rows", async () => {
  const raw = await rawClient(proxy.port);
  const long = `SELECT $1::text AS said, '${"y".repeat(2_000)}' AS more`;
  for (const [detail, hasFacts, params, parts] of [
    ["Metadata", false, undefined, []],
    ["Statements", true, undefined, []],
    ["Full", true, ["bound value"], ["request", "rows"]],
  ] as const) {
    proxy.setRules(everything, { recording: { detail, strict: false, retentionDays: 1 } });
    raw.send(
      serialize.parse({ text: long }),
      serialize.bind({ values: ["bound value"] }),
      serialize.execute(),
      serialize.sync(),
    );
    assert.deepEqual(errorsOf(await raw.ready()), []);
    const { body, contents } = proxy.operations().at(-1) ?? assert.fail();
    assert.equal(body.outcome?.rows, 1);
    assert.equal(body.operation?.facts !== undefined, hasFacts, detail);
    assert.equal(body.operation?.summary.includes("yyy"), detail !== "Metadata");
    assert.deepEqual(body.operation?.facts?.["params"], params, detail);
    assert.deepEqual(
      contents.map(({ part }) => part),
      parts,
    );
    assert.equal(JSON.stringify({ body, contents }).includes("bound value"), detail === "Full");
    if (detail !== "Full") continue;
    assert.equal(contents[0]?.text, long);
    assert.equal(contents[1]?.text, `${JSON.stringify(["bound value", "y".repeat(2_000)])}\n`);
  }
  await raw.end();
});

test("a portal that is executed again before its first answer is there is recorded with the rows of each", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port);
  const before = proxy.operations().length;
  raw.send(
    serialize.parse({ text: "SELECT generate_series(1, 5)" }),
    serialize.bind({}),
    serialize.execute({ rows: 2 }),
    serialize.execute({ rows: 2 }),
    serialize.execute({}),
    serialize.sync(),
  );
  await raw.ready();
  const rows = proxy
    .operations()
    .slice(before)
    .map(({ body }) => body.outcome?.rows);
  assert.deepEqual(rows, [2, 2, 1]);
  await raw.end();
});

test("a COPY whose portal is executed once more while it runs carries on, and is recorded whole", async () => {
  proxy.setRules(everything, {
    recording: { detail: "Full", strict: false, retentionDays: 1 },
  });
  const raw = await rawClient(proxy.port);
  const before = proxy.operations().length;
  raw.send(
    serialize.parse({
      text: "COPY (SELECT repeat('c', 200000) FROM generate_series(1, 40)) TO STDOUT",
    }),
    serialize.bind({}),
    serialize.execute({}),
    serialize.sync(),
    serialize.execute({}),
    serialize.sync(),
  );
  const answers = await raw.ready(2);
  assert.equal(answers.filter(({ type }) => type === "d").length, 40);
  assert.deepEqual(errorsOf(answers), ["34000"]);
  const copy = proxy
    .operations()
    .slice(before)
    .find(({ body }) => body.outcome?.status === "ok");
  assert.equal(copy?.body.outcome?.rows, 40);
  assert.equal(copy?.body.outcome?.copied?.bytes, 40 * 200_001);
  await raw.end();
});

test("who waits is told by a notice that names the request, and the cancel that gives it up", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("INSERT INTO paid VALUES (3)"));
  const [told] = await raw.until((answers) => answers.length > 0);
  assert.match(
    told === undefined ? "" : (field(told, "M") ?? ""),
    /agents\/orders-db: waiting for the approval of access request request-\d+; cancel to give up/,
  );
  raw.socket.destroy();
});
