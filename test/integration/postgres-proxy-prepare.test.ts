// PREPARE and EXECUTE in SQL: an EXECUTE is decided, masked and recorded as the statement that it runs, and never as another.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import { allow, deny, everything, hold, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, field, rawClient, rowsOf, typesOf } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let db: pg.Client;

before(async () => {
  server = await startPostgres({ tls: true });
  proxy = await startHarness(server);
  const direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query(`
    CREATE TABLE orders (id int PRIMARY KEY, note text);
    INSERT INTO orders VALUES (1, 'one'), (2, 'two');
    CREATE TABLE secrets (id int, value text);
    INSERT INTO secrets VALUES (1, 'canary-1');
    CREATE FUNCTION run(sql text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE sql; END $$;`);
  await direct.end();
});

after(async () => {
  await db?.end();
  await proxy?.close();
  await server?.stop();
});

beforeEach(async () => {
  await db?.end();
  proxy.setRules(everything);
  db = new pg.Client({ host: proxy.host, port: proxy.port, user: "agent", database: "postgres" });
  await db.connect();
});

const denied = { code: "42501" };
const unknown = { code: "26000" };

test("a statement prepared by SQL runs with its arguments, and is recorded as itself", async () => {
  await db.query("PREPARE by_id (int) AS SELECT note FROM orders WHERE id = $1");
  const { rows } = await db.query("EXECUTE by_id(2)");
  assert.deepEqual(rows, [{ note: "two" }]);
  assert.equal(
    proxy.operations().at(-1)?.body.operation?.summary,
    "SELECT note FROM orders WHERE id = $1",
  );
});

test("rules that changed since PREPARE decide the EXECUTE", async () => {
  await db.query("PREPARE take AS SELECT value FROM secrets");
  proxy.setRules([...everything, deny({ relations: ["public.secrets"] })]);
  await assert.rejects(db.query("EXECUTE take"), denied);
  await assert.rejects(db.query("PREPARE again AS SELECT value FROM secrets"), denied);
  await assert.rejects(db.query("EXECUTE again"), unknown);
});

test("a condition sees the arguments of an EXECUTE", async () => {
  proxy.setRules(everything);
  await db.query("PREPARE p AS SELECT note FROM orders WHERE id = $1");
  proxy.setRules([{ ...allow({ statements: ["select"] }), when: 'params[0] == "1"' }]);
  assert.equal((await db.query("EXECUTE p(1)")).rowCount, 1);
  await assert.rejects(db.query("EXECUTE p(2)"), denied);
});

test("an approval is for the prepared text, its types and the arguments together", async () => {
  proxy.setRules(everything);
  await db.query("PREPARE change (int) AS UPDATE orders SET note = 'held' WHERE id = $1");
  proxy.setRules([hold({ statements: ["update"] }, 1), allow({ statements: ["utility"] })]);
  const digests: (string | undefined)[] = [];
  for (const text of ["EXECUTE change(1)", "EXECUTE change(2)"]) {
    await assert.rejects(db.query(text), { code: "42501", message: /held for a person/ });
    digests.push(proxy.requests.at(-1)?.digest);
  }
  await db.query("DEALLOCATE change");
  proxy.setRules(everything);
  await db.query("PREPARE change (bigint) AS UPDATE orders SET note = 'held' WHERE id = $1");
  proxy.setRules([hold({ statements: ["update"] }, 1)]);
  await assert.rejects(db.query("EXECUTE change(1)"), denied);
  digests.push(proxy.requests.at(-1)?.digest);
  assert.equal(new Set(digests).size, 3);
  proxy.answerRequest("Approved");
  assert.equal((await db.query("EXECUTE change(1)")).rowCount, 1);
  await assert.rejects(db.query("EXECUTE change(1)"), denied);
});

test("a name that another text may hold by now is not known any more", async () => {
  for (const change of [
    "DEALLOCATE p",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "DEALLOCATE p; PREPARE p AS SELECT value FROM secrets",
    "DO $$ BEGIN EXECUTE 'DEALLOCATE p'; EXECUTE 'PREPARE p AS SELECT value FROM secrets'; END $$",
    "SELECT public.run('DEALLOCATE p'), public.run('PREPARE p AS SELECT value FROM secrets')",
    "SELECT 1; SELECT public.run('DEALLOCATE p'), public.run('PREPARE p AS SELECT value FROM secrets'), 1 / 0",
  ]) {
    await db.query("DEALLOCATE ALL");
    await db.query("PREPARE p AS SELECT note FROM orders");
    await db.query(change).catch(() => undefined);
    await assert.rejects(db.query("EXECUTE p"), unknown, change);
  }
});

test("a name keeps its meaning through transactions, errors and other names", async () => {
  await db.query("BEGIN");
  await db.query("PREPARE p AS SELECT note FROM orders WHERE id = 2");
  await db.query("ROLLBACK");
  await db.query("PREPARE q AS SELECT 'q' AS note");
  await assert.rejects(db.query("PREPARE p AS SELECT value FROM secrets"), { code: "42P05" });
  await db.query("DEALLOCATE q");
  assert.deepEqual((await db.query("EXECUTE p")).rows, [{ note: "two" }]);
});

test("SQL executes what the protocol prepared, and a Close of the protocol ends what SQL prepared", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.parse({ name: "p", text: "SELECT note FROM orders WHERE id = $1", types: [23] }),
    serialize.sync(),
    serialize.query("EXECUTE p(2)"),
  );
  assert.deepEqual(
    rowsOf(await raw.ready(2))
      .flat()
      .map(String),
    ["two"],
  );
  raw.send(serialize.close({ type: "S", name: "p" }), serialize.sync());
  await raw.ready();
  raw.send(serialize.query("PREPARE p AS SELECT 1"));
  await raw.ready();
  raw.send(serialize.close({ type: "S", name: "p" }), serialize.sync());
  await raw.ready();
  raw.send(serialize.query("EXECUTE p"));
  assert.deepEqual(errorsOf(await raw.ready()), ["26000"]);
  await raw.end();
});

test("EXECUTE sent behind changes that are under way waits for them, and inside an open batch is not known", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.query("PREPARE p AS SELECT 1"),
    serialize.query("EXECUTE p"),
    serialize.query("DEALLOCATE p"),
    serialize.query("EXECUTE p"),
  );
  const answers = await raw.ready(4);
  assert.equal(typesOf(answers), "CZTDCZCZEZ");
  assert.deepEqual(errorsOf(answers), ["26000"]);
  raw.send(serialize.query("PREPARE p AS SELECT note FROM orders"));
  await raw.ready();
  const swap =
    "DO $$ BEGIN EXECUTE 'DEALLOCATE p'; EXECUTE 'PREPARE p AS SELECT value FROM secrets'; END $$";
  raw.send(
    serialize.parse({ text: swap }),
    serialize.bind({}),
    serialize.execute({}),
    serialize.query("EXECUTE p"),
  );
  const answer = await raw.ready();
  assert.deepEqual(errorsOf(answer), ["26000"]);
  assert.equal(rowsOf(answer).length, 0);
  // The portal is older than the batch that runs it and its text speaks of no name: only that it runs code tells.
  const quiet =
    "SELECT public.run('DEALL' || 'OCATE p'), public.run('PRE' || 'PARE p AS SELECT value FROM secrets')";
  raw.send(
    serialize.query("DEALLOCATE ALL"),
    serialize.query("PREPARE p AS SELECT note FROM orders"),
    serialize.query("BEGIN"),
    serialize.parse({ text: quiet }),
    serialize.bind({ portal: "swaps" }),
    serialize.sync(),
  );
  await raw.ready(4);
  raw.send(serialize.execute({ portal: "swaps" }), serialize.query("EXECUTE p"));
  const late = await raw.ready();
  assert.deepEqual(errorsOf(late), ["26000"]);
  assert.doesNotMatch(rowsOf(late).flat().map(String).join(), /canary/);
  await raw.end();
});

test("rows of an EXECUTE are masked as those of the statement itself", async () => {
  const masks = {
    columnMasks: [
      {
        column: "public.secrets.value",
        transform: { kind: "redact" as const },
        policy: "agents/invoice-agent",
      },
    ],
  };
  await db.query("PREPARE p AS SELECT value FROM secrets");
  proxy.setRules(everything, masks);
  assert.doesNotMatch(JSON.stringify((await db.query("EXECUTE p")).rows), /canary/);
  await db.query("DEALLOCATE p");
  proxy.setRules(everything);
  await db.query("PREPARE p AS SELECT upper(value) AS value FROM secrets");
  proxy.setRules(everything, masks);
  const { rows } = await db.query("EXECUTE p");
  assert.ok(rows.length > 0);
  assert.ok(rows.every(({ value }) => value === "[redacted]"));
  await db.query("DEALLOCATE p");
  proxy.setRules(everything);
  await db.query("PREPARE p AS SELECT value = 'guess' AS value FROM secrets");
  proxy.setRules(everything, masks);
  await assert.rejects(db.query("EXECUTE p"), { code: "42501", message: /masked/ });
});

test("an empty search path runs nothing that public would, and shows full names", async () => {
  await db.query("SELECT pg_catalog.set_config('search_path', '', false)");
  await assert.rejects(db.query("SELECT note FROM orders"), { code: "42P01" });
  const { rows } = await db.query("SELECT 'public.orders'::regclass::text AS name");
  assert.deepEqual(rows, [{ name: "public.orders" }]);
  await assert.rejects(db.query("CREATE TABLE made (a int)"), { code: "3F000" });
  await db.query("RESET search_path");
  assert.equal((await db.query("SELECT note FROM orders")).rowCount, 2);
});

test("a timeout that is switched off is an hour, a path of public keeps temporary objects last", async () => {
  await db.query("SET statement_timeout = 0");
  await db.query("SET search_path TO public");
  const { rows } = await db.query(
    "SELECT current_setting('statement_timeout') AS timeout, current_setting('search_path') AS path",
  );
  assert.deepEqual(rows, [{ timeout: "1h", path: "public, pg_temp" }]);
  await db.query({ name: "named", text: "SET lock_timeout = 0" });
  const { rows: lock } = await db.query("SHOW lock_timeout");
  assert.deepEqual(lock, [{ lock_timeout: "1h" }]);
});

const run = (statement: string, values: readonly string[] = []): Buffer =>
  Buffer.concat([
    serialize.bind({ statement, values: [...values] }),
    serialize.describe({ type: "P" }),
    serialize.execute({}),
  ]);
const execute = (text: string, name = ""): Buffer =>
  Buffer.concat([serialize.parse({ name, text, types: [] }), run(name)]);

test("what SQL prepared is bound and described by the protocol, decided and masked as itself", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("PREPARE p (int) AS SELECT note FROM orders WHERE id = $1"));
  await raw.ready();
  raw.send(serialize.describe({ type: "S", name: "p" }), run("p", ["2"]), serialize.sync());
  const answers = await raw.ready();
  assert.equal(typesOf(answers), "tT2TDCZ");
  assert.deepEqual(rowsOf(answers), [["two"]]);
  assert.equal(
    proxy.operations().at(-1)?.body.operation?.summary,
    "SELECT note FROM orders WHERE id = $1",
  );
  proxy.setRules([{ ...allow({ statements: ["select"] }), when: 'params[0] == "2"' }]);
  raw.send(run("p", ["2"]), serialize.sync(), run("p", ["1"]), serialize.sync());
  assert.deepEqual(errorsOf(await raw.ready(2)), ["42501"]);
  proxy.setRules([...everything, deny({ relations: ["public.orders"] })]);
  raw.send(run("p", ["2"]), serialize.sync());
  assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
  await raw.end();
});

test("EXECUTE through the protocol runs what its name stands for, decided as that", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.query("PREPARE p (int) AS SELECT note FROM orders WHERE id = $1"),
    execute("EXECUTE p(2)"),
    serialize.sync(),
    execute("EXECUTE p(2)", "three"),
    run("three"),
    serialize.sync(),
  );
  const answers = await raw.ready(3);
  assert.deepEqual(errorsOf(answers), []);
  assert.deepEqual(rowsOf(answers), [["two"], ["two"], ["two"]]);
  assert.equal(
    proxy.operations().at(-1)?.body.operation?.summary,
    "SELECT note FROM orders WHERE id = $1",
  );
  proxy.setRules([...everything, deny({ relations: ["public.orders"] })]);
  raw.send(run("three"), serialize.sync(), execute("EXECUTE p(1)"), serialize.sync());
  const refused = await raw.ready(2);
  assert.deepEqual(errorsOf(refused), ["42501", "42501"]);
  assert.deepEqual(rowsOf(refused), []);
  await raw.end();
});

test("an EXECUTE through the protocol never runs what its name came to stand for since Bind", async () => {
  const raw = await rawClient(proxy.port);
  proxy.setRules([...everything, deny({ relations: ["public.secrets"] })]);
  const stolen = async (...messages: readonly Buffer[]): Promise<void> => {
    raw.send(serialize.query("DEALLOCATE ALL"));
    raw.send(serialize.query("PREPARE p AS SELECT note FROM orders"));
    await raw.ready(2);
    raw.send(...messages, serialize.sync());
    const answers = await raw.ready();
    assert.equal(
      JSON.stringify(answers.map(({ body }) => body.toString("latin1"))).includes("canary"),
      false,
    );
    assert.notDeepEqual(errorsOf(answers), []);
  };
  const swaps = [
    "DO $$ BEGIN EXECUTE 'DEALLOCATE p'; EXECUTE 'PREPARE p AS SELECT value FROM secrets'; END $$",
    "SELECT public.run('DEALLOCATE p'), public.run('PREPARE p AS SELECT value FROM secrets')",
  ];
  for (const swap of swaps) {
    const swapped = Buffer.concat([
      serialize.parse({ name: "swap", text: swap, types: [] }),
      serialize.bind({ portal: "swap", statement: "swap" }),
      serialize.execute({ portal: "swap" }),
      serialize.close({ type: "S", name: "swap" }),
    ]);
    await stolen(swapped, execute("EXECUTE p"));
    await stolen(swapped, run("p"));
    const bound = Buffer.concat([
      serialize.parse({ text: "EXECUTE p", types: [] }),
      serialize.bind({ portal: "x" }),
    ]);
    await stolen(bound, swapped, serialize.execute({ portal: "x" }));
    await stolen(bound, serialize.flush(), swapped, serialize.execute({ portal: "x" }));
  }
  await raw.end();
});

test("the rows of an EXECUTE through the protocol are masked, in text and binary, whoever describes them", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("PREPARE m AS SELECT id, value FROM secrets"));
  await raw.ready();
  proxy.setRules(everything, {
    columnMasks: [{ column: "public.secrets.value", transform: { kind: "redact" }, policy: "p" }],
  });
  for (const binary of [false, true])
    for (const described of [[], [serialize.describe({ type: "P" })]])
      for (const text of [undefined, "EXECUTE m"]) {
        raw.send(
          ...(text === undefined ? [] : [serialize.parse({ name: "e", text, types: [] })]),
          serialize.bind({ statement: text === undefined ? "m" : "e", binary }),
          ...described,
          serialize.execute({}),
          ...(text === undefined ? [] : [serialize.close({ type: "S", name: "e" })]),
          serialize.sync(),
        );
        const answers = await raw.ready();
        assert.deepEqual(errorsOf(answers), []);
        assert.equal(rowsOf(answers)[0]?.[1], "[redacted]");
      }
  await raw.end();
});

test("an approval of an EXECUTE through the protocol is for the prepared text and its arguments, and passes once", async () => {
  await db.query("PREPARE retitle (int) AS UPDATE orders SET note = 'titled' WHERE id = $1");
  proxy.setRules([hold({ statements: ["update"] }, 1), allow({ statements: ["utility"] })]);
  const asked = proxy.requests.length;
  const send = (text: string): Promise<pg.QueryResult> =>
    db.query({ text, queryMode: "extended" } as pg.QueryConfig);
  await assert.rejects(send("EXECUTE retitle(1)"), { message: /held for a person/ });
  proxy.answerRequest("Approved");
  assert.equal((await send("EXECUTE retitle(1)")).rowCount, 1);
  await assert.rejects(send("EXECUTE retitle(1)"), { code: "42501" });
  await assert.rejects(send("EXECUTE retitle(2)"), { message: /held for a person/ });
  assert.equal(proxy.requests.length, asked + 2);
});

test("a cursor of SQL is described through the protocol and read by FETCH, not by Execute, which says so", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.query("BEGIN"),
    serialize.query("DECLARE c CURSOR FOR VALUES ('one')"),
    serialize.describe({ type: "P", name: "c" }),
    serialize.sync(),
    serialize.query("FETCH 1 FROM c"),
  );
  const answers = await raw.ready(4);
  assert.equal(typesOf(answers), "CZCZTZTDCZ");
  assert.deepEqual(rowsOf(answers), [["one"]]);
  raw.send(serialize.execute({ portal: "c" }), serialize.sync(), serialize.query("ROLLBACK"));
  const refused = await raw.ready(2);
  assert.deepEqual(errorsOf(refused), ["34000"]);
  const [error] = refused;
  assert.equal(
    error === undefined ? "" : field(error, "M"),
    'portal "c" does not exist (cursors of SQL are read by FETCH)',
  );
  await raw.end();
});
