import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import {
  errorsOf,
  field,
  rawClient,
  rowsOf,
  statusOf,
  tagsOf,
  typesOf,
} from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";
import { allow, deny, everything, hold, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";

let server: PostgresServer;
let proxy: Harness;

before(async () => {
  server = await startPostgres({ tls: true });
  const admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query(
    "CREATE TABLE orders (id int PRIMARY KEY, note text); INSERT INTO orders SELECT g, 'note ' || g FROM generate_series(1, 1000) g",
  );
  await admin.end();
  proxy = await startHarness(server);
});

after(async () => {
  await proxy?.close();
  await server?.stop();
});

async function client(changes: pg.ClientConfig = {}): Promise<pg.Client> {
  const connected = new pg.Client({
    host: proxy.host,
    port: proxy.port,
    user: "agent",
    password: "anything",
    database: "postgres",
    ssl: { ca: proxy.caPem, servername: "localhost" },
    ...changes,
  });
  connected.on("error", () => undefined);
  await connected.connect();
  return connected;
}

test("simple, extended and named prepared statements pass, and each is one event", async () => {
  proxy.setRules(everything);
  const db = await client();
  const seen = proxy.operations().length;
  assert.equal((await db.query("SELECT 1 AS one")).rows[0].one, 1);
  const { rows } = await db.query("SELECT note FROM orders WHERE id = $1", [7]);
  assert.deepEqual(rows, [{ note: "note 7" }]);
  for (let id = 1; id <= 3; id++) {
    const named = { name: "by-id", text: "SELECT note FROM orders WHERE id = $1", values: [id] };
    assert.equal((await db.query(named)).rows[0].note, `note ${id}`);
  }
  await db.end();
  const events = proxy.operations().slice(seen);
  assert.equal(events.length, 5);
  assert.deepEqual(
    events.map((event) => event.body.outcome?.status),
    ["ok", "ok", "ok", "ok", "ok"],
  );
  assert.equal(events[1]?.body.outcome?.rows, 1);
});

test("a denied statement says so, and the connection lives on", async () => {
  proxy.setRules([
    allow({ statements: ["select"], relations: ["public.orders"] }),
    deny({ statements: ["delete"] }),
  ]);
  const db = await client();
  await assert.rejects(db.query("DELETE FROM orders"), { code: "42501", severity: "ERROR" });
  await assert.rejects(db.query("DELETE FROM orders WHERE id = $1", [1]), { code: "42501" });
  await assert.rejects(
    db.query({ name: "d", text: "DELETE FROM orders WHERE id = $1", values: [1] }),
    {
      code: "42501",
    },
  );
  assert.equal((await db.query("SELECT count(*)::int AS n FROM orders")).rows[0].n, 1000);
  await db.end();
  assert.equal(
    server.log().includes("chaperone:"),
    false,
    "outside a transaction the server hears nothing of a refusal",
  );
});

const orders = allow({ statements: ["select", "insert", "update"], relations: ["public.orders"] });

async function admin(text: string): Promise<pg.QueryResult> {
  const direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  try {
    return await direct.query(text);
  } finally {
    await direct.end();
  }
}

function run(text: string, name = ""): Buffer {
  return Buffer.concat([
    serialize.parse({ name, text, types: [] }),
    serialize.bind({ statement: name, values: [] }),
    serialize.describe({ type: "P" }),
    serialize.execute({}),
  ]);
}

test("a denial in a pipeline comes in reply order, skips the rest, and what went before does not commit", async () => {
  proxy.setRules([orders]);
  const raw = await rawClient(proxy.port);
  raw.send(
    run("INSERT INTO orders VALUES (2001, 'first')"),
    run("DELETE FROM orders WHERE id = 1"),
    run("INSERT INTO orders VALUES (2002, 'never')"),
    serialize.sync(),
  );
  const answers = await raw.ready();
  assert.equal(typesOf(answers), "12nCEZ");
  assert.deepEqual(errorsOf(answers), ["42501"]);
  assert.equal(statusOf(answers), "I");
  raw.send(run("SELECT count(*) FROM orders WHERE id > 2000"), serialize.sync());
  assert.deepEqual(rowsOf(await raw.ready()), [["0"]]);
  await raw.end();
});

test("a denial in a transaction fails the transaction, and ROLLBACK ends it", async () => {
  proxy.setRules([orders]);
  const raw = await rawClient(proxy.port);
  for (const denied of [
    serialize.query("DELETE FROM orders"),
    Buffer.concat([run("DELETE FROM orders"), serialize.sync()]),
  ]) {
    raw.send(serialize.query("BEGIN"), serialize.query("INSERT INTO orders VALUES (2003, 'x')"));
    assert.equal(statusOf(await raw.ready(2)), "TT");
    raw.send(denied);
    const answers = await raw.ready();
    assert.equal(typesOf(answers), "EZ");
    assert.equal(statusOf(answers), "E");
    raw.send(serialize.query("COMMIT"));
    const commit = await raw.ready();
    assert.deepEqual(tagsOf(commit), ["ROLLBACK"]);
    assert.equal(statusOf(commit), "I");
  }
  assert.equal((await admin("SELECT count(*)::int AS n FROM orders WHERE id = 2003")).rows[0].n, 0);
  await raw.end();
});

test("after Flush a denial still takes back what the server did before it in the batch", async () => {
  proxy.setRules([orders]);
  const raw = await rawClient(proxy.port);
  raw.send(run("INSERT INTO orders VALUES (2004, 'x')"), serialize.flush());
  assert.equal(
    typesOf(await raw.until((answers) => answers.some(({ type }) => type === "C"))),
    "12nC",
  );
  raw.send(run("DELETE FROM orders"), serialize.flush());
  assert.equal(typesOf(await raw.until((answers) => answers.length > 0)), "E");
  raw.send(run("INSERT INTO orders VALUES (2005, 'x')"), serialize.sync());
  const answers = await raw.ready();
  assert.equal(typesOf(answers), "Z");
  assert.equal(statusOf(answers), "I");
  assert.equal((await admin("SELECT count(*)::int AS n FROM orders WHERE id > 2000")).rows[0].n, 0);
  await raw.end();
});

test("a Parse of what no Execute could run is refused at once", async () => {
  proxy.setRules([orders]);
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.parse({ name: "d", text: "DELETE FROM orders", types: [] }),
    serialize.describe({ type: "S", name: "d" }),
    serialize.sync(),
  );
  const answers = await raw.ready();
  assert.equal(typesOf(answers), "EZ");
  raw.send(serialize.bind({ statement: "d" }), serialize.execute({}), serialize.sync());
  assert.deepEqual(errorsOf(await raw.ready()), ["26000"]);
  await raw.end();
});

test("a statement prepared before the policy changed is decided again", async () => {
  proxy.setRules([orders]);
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.parse({ name: "s", text: "SELECT note FROM orders WHERE id = 1", types: [] }),
    serialize.sync(),
  );
  await raw.ready();
  proxy.setRules([allow({ statements: ["insert"], relations: ["public.orders"] })]);
  raw.send(serialize.bind({ statement: "s" }), serialize.execute({}), serialize.sync());
  assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
  proxy.setRules([orders]);
  raw.send(serialize.bind({ statement: "s" }), serialize.execute({}), serialize.sync());
  assert.deepEqual(rowsOf(await raw.ready()), [["note 1"]]);
  await raw.end();
});

test("a Parse that the server skips never hides the statement it still holds under that name", async () => {
  proxy.setRules([orders, hold({ statements: ["update"] }, 1)]);
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.parse({ text: "UPDATE orders SET note = 'changed' WHERE id = 1", types: [] }),
    serialize.sync(),
  );
  assert.equal(typesOf(await raw.ready()), "1Z");
  // The first Parse fails, so the server skips the second and keeps the UPDATE; both batches are sent at once.
  raw.send(
    serialize.parse({ name: "bad", text: "SELECT no_such_column FROM orders", types: [] }),
    serialize.parse({ text: "SELECT 1", types: [] }),
    serialize.sync(),
    serialize.bind({}),
    serialize.execute({}),
    serialize.sync(),
  );
  const answers = await raw.ready(2);
  assert.deepEqual(errorsOf(answers), ["42703", "42501"]);
  assert.equal((await admin("SELECT note FROM orders WHERE id = 1")).rows[0].note, "note 1");
  await raw.end();
});

test("errors of the server skip to Sync and the events say what happened", async () => {
  proxy.setRules([orders]);
  const raw = await rawClient(proxy.port);
  const seen = proxy.operations().length;
  raw.send(
    run("SELECT 1 / (id - 1) FROM orders"),
    run("SELECT 1"),
    serialize.sync(),
    run("SELECT 2"),
    serialize.sync(),
  );
  const answers = await raw.ready(2);
  assert.deepEqual(errorsOf(answers), ["22012"]);
  assert.deepEqual(rowsOf(answers).at(-1), ["2"]);
  assert.deepEqual(
    proxy
      .operations()
      .slice(seen)
      .map((event) => event.body.outcome?.status),
    ["error", "error", "ok"],
  );
  await raw.end();
});

test("multi-statement texts, the empty query and syntax errors are answered as the server would", async () => {
  proxy.setRules([orders]);
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("SELECT 1; SELECT 2; UPDATE orders SET note = note WHERE id < 4"));
  const answers = await raw.ready();
  assert.equal(typesOf(answers), "TDCTDCCZ");
  assert.equal(proxy.operations().at(-1)?.body.outcome?.rows, 5);
  raw.send(serialize.query(""));
  assert.equal(typesOf(await raw.ready()), "IZ");
  raw.send(run(""), serialize.sync());
  assert.equal(typesOf(await raw.ready()), "12nIZ");
  raw.send(serialize.query("SELEC 1"));
  const failed = await raw.ready();
  assert.deepEqual(errorsOf(failed), ["42601"]);
  assert.equal(field(failed[0] ?? assert.fail(), "P"), "1");
  raw.send(serialize.query("SELECT 1; DELETE FROM orders"));
  assert.equal(typesOf(await raw.ready()), "EZ");
  await raw.end();
});

test("COPY in and out pass where allowed, simple and extended, with Sync sent ahead of the data", async () => {
  proxy.setRules(everything);
  await admin("CREATE TABLE IF NOT EXISTS copied (id int, note text)");
  const raw = await rawClient(proxy.port);
  const row = (text: string): Buffer => serialize.copyData(Buffer.from(text));
  raw.send(serialize.query("COPY copied FROM STDIN"));
  await raw.until((answers) => answers.some(({ type }) => type === "G"));
  raw.send(row("1\tone\n"), row(`2\t${"x".repeat(300_000)}\n`), serialize.copyDone());
  assert.deepEqual(tagsOf(await raw.ready()), ["COPY 2"]);
  // libpq sends Sync behind Execute and another behind CopyDone; the data is sent without waiting.
  raw.send(
    run("COPY copied FROM STDIN"),
    serialize.sync(),
    row("3\tthree\n"),
    serialize.copyDone(),
    serialize.sync(),
  );
  const copied = await raw.ready();
  assert.deepEqual(tagsOf(copied), ["COPY 1"]);
  raw.send(serialize.query("COPY copied FROM STDIN"));
  await raw.until((answers) => answers.some(({ type }) => type === "G"));
  raw.send(serialize.copyFail("changed my mind"));
  assert.deepEqual(errorsOf(await raw.ready()), ["57014"]);
  raw.send(serialize.query("COPY copied FROM STDIN; COPY copied FROM STDIN"));
  await raw.until((answers) => answers.some(({ type }) => type === "G"));
  raw.send(row("4\tfour\n"), serialize.copyDone(), row("5\tfive\n"), serialize.copyDone());
  assert.deepEqual(tagsOf(await raw.ready()), ["COPY 1", "COPY 1"]);
  raw.send(serialize.query("COPY copied (id) TO STDOUT"));
  const out = await raw.ready();
  assert.equal(typesOf(out), "HdddddcCZ");
  raw.send(serialize.query("COPY copied TO STDOUT"));
  assert.equal(typesOf(await raw.ready()), "HdddddcCZ");
  proxy.setRules([orders]);
  raw.send(serialize.query("COPY copied TO STDOUT"), serialize.query("SELECT 1"));
  assert.equal(typesOf(await raw.ready(2)), "EZTDCZ");
  await raw.end();
});

test("portals: row limits, several fetches, and one event a fetch", async () => {
  proxy.setRules([orders]);
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("BEGIN"));
  await raw.ready();
  raw.send(
    serialize.parse({ text: "SELECT id FROM orders ORDER BY id LIMIT 5", types: [] }),
    serialize.bind({ portal: "p" }),
    serialize.describe({ type: "P", name: "p" }),
    serialize.flush(),
  );
  await raw.until((answers) => answers.some(({ type }) => type === "T"));
  const seen = proxy.operations().length;
  for (const expected of ["DDs", "DDs", "DC"]) {
    raw.send(serialize.execute({ portal: "p", rows: 2 }), serialize.flush());
    const answers = await raw.until((all) => all.some(({ type }) => type === "s" || type === "C"));
    assert.equal(typesOf(answers), expected);
  }
  raw.send(serialize.close({ type: "P", name: "p" }), serialize.sync());
  assert.equal(typesOf(await raw.ready()), "3Z");
  assert.equal(proxy.operations().length - seen, 3);
  await raw.end();
});

test("a name prepared anew in a batch that is not answered yet is decided as what it is now", async () => {
  await admin("CREATE SEQUENCE IF NOT EXISTS untouched");
  // With a condition, Parse passes and only Execute can tell.
  proxy.setRules([
    ...everything,
    { ...deny({ functions: ["nextval"] }), when: "session.operations >= 0" },
  ]);
  const raw = await rawClient(proxy.port);
  raw.send(serialize.parse({ text: "SELECT 1", types: [] }), serialize.sync());
  await raw.ready();
  raw.send(
    serialize.parse({ text: "SELECT nextval('untouched')", types: [] }),
    serialize.sync(),
    serialize.bind({}),
    serialize.execute({}),
    serialize.sync(),
  );
  const answers = await raw.ready(2);
  assert.equal(typesOf(answers), "1ZEZ");
  assert.deepEqual(errorsOf(answers), ["42501"]);
  assert.equal((await admin("SELECT is_called FROM untouched")).rows[0].is_called, false);
  await raw.end();
});
