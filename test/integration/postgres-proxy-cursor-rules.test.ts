// FETCH reads what a cursor or a portal stands for: that was decided, and is decided again when rules or marks have changed.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import type { BundleRule } from "../../policy/bundle.ts";
import { deny, everything, hold, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient, rowsOf } from "./postgres-proxy-raw.ts";
import type { Answer, RawClient } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let direct: pg.Client;

before(async () => {
  server = await startPostgres();
  direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query(`
    CREATE TABLE people (id int, ssn text);
    CREATE FUNCTION fetched(c refcursor) RETURNS text LANGUAGE plpgsql AS
      'DECLARE found record; BEGIN FETCH c INTO found; RETURN found::text; END';
    CREATE FUNCTION opened(c refcursor) RETURNS refcursor LANGUAGE plpgsql AS
      'BEGIN OPEN c FOR SELECT ssn FROM people; RETURN c; END';
  `);
  proxy = await startHarness(server);
});

beforeEach(async () => {
  await direct.query("TRUNCATE people; INSERT INTO people VALUES (1, 'secret'), (2, 'secret')");
  proxy.setRules(everything);
});

after(async () => {
  await direct?.end();
  await proxy?.close();
  await server?.stop();
});

async function ask(raw: RawClient, text: string): Promise<Answer[]> {
  raw.send(serialize.query(text));
  return raw.ready();
}

const left = async (): Promise<number | null> =>
  (await direct.query("SELECT FROM people")).rowCount;

const deciding: readonly (readonly [string, BundleRule])[] = [
  ["needs a person's approval", hold({ statements: ["delete"] }, 1)],
  ["fails a condition", { ...deny({ statements: ["delete"] }), when: "params.size() == 0" }],
];
for (const [what, rule] of deciding)
  test(`an EXECUTE bound to a portal is not run by FETCH where what it runs ${what}`, async () => {
    proxy.setRules([...everything, rule]);
    const raw = await rawClient(proxy.port);
    await ask(raw, "BEGIN");
    raw.send(
      serialize.parse({ name: "a", text: "DELETE FROM people RETURNING ssn", types: [] }),
      serialize.parse({ name: "s", text: "EXECUTE a", types: [] }),
      serialize.sync(),
    );
    await raw.ready();
    raw.send(serialize.bind({ portal: "p", statement: "s" }), serialize.sync());
    await raw.ready();
    const fetched = await ask(raw, "FETCH ALL FROM p");
    assert.deepEqual(rowsOf(fetched), []);
    await ask(raw, "COMMIT");
    assert.equal(await left(), 2);
    await raw.end();
  });

test("an EXECUTE is bound to the unnamed portal as before, and runs decided", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.parse({ name: "a", text: "SELECT count(*) FROM people", types: [] }),
    serialize.parse({ name: "s", text: "EXECUTE a", types: [] }),
    serialize.bind({ statement: "s" }),
    serialize.execute({}),
    serialize.bind({ portal: "p", statement: "s" }),
    serialize.sync(),
  );
  const answers = await raw.ready();
  assert.deepEqual(rowsOf(answers), [["2"]]);
  assert.deepEqual(errorsOf(answers), ["0A000"]);
  await raw.end();
});

const denied: readonly BundleRule[] = [...everything, deny({ relations: ["public.people"] })];

for (const [what, declared, fetched] of [
  [
    "of its transaction",
    ["BEGIN", "DECLARE c CURSOR FOR SELECT ssn FROM people"],
    "FETCH 1 FROM c",
  ],
  [
    "that outlives its transaction",
    ["BEGIN", "DECLARE c CURSOR WITH HOLD FOR SELECT ssn FROM people", "COMMIT"],
    "FETCH 1 FROM c",
  ],
  ["declared in a longer text", ["BEGIN; DECLARE c CURSOR FOR TABLE people"], "SELECT 1; FETCH c"],
] as const)
  test(`a cursor ${what} is read no further once a rule denies what it reads`, async () => {
    const raw = await rawClient(proxy.port);
    for (const text of declared) await ask(raw, text);
    assert.equal(
      rowsOf(await ask(raw, fetched))
        .flat()
        .includes("secret"),
      true,
    );
    proxy.setRules(denied);
    const refused = await ask(raw, fetched);
    assert.deepEqual(rowsOf(refused), []);
    assert.deepEqual(errorsOf(refused), ["42501"]);
    assert.equal(proxy.operations().at(-1)?.body.outcome?.status, "denied");
    await raw.end();
  });

test("a cursor that the new rules still allow is read on", async () => {
  const raw = await rawClient(proxy.port);
  await ask(raw, "BEGIN");
  await ask(raw, "DECLARE c CURSOR FOR SELECT ssn FROM people");
  proxy.setRules([...everything, deny({ relations: ["public.other"] })]);
  assert.deepEqual(rowsOf(await ask(raw, "FETCH 1 FROM c")), [["secret"]]);
  await ask(raw, "COMMIT");
  proxy.setRules(denied);
  assert.deepEqual(errorsOf(await ask(raw, "FETCH 1 FROM c")), ["34000"]);
  await raw.end();
});

const readers: readonly (readonly [string, string])[] = [
  ["a function of the database", "SELECT fetched(''::refcursor)"],
  ["one of PostgreSQL's own", "SELECT cursor_to_xml(''::refcursor, 10, false, false, '')"],
];
for (const [what, text] of readers)
  test(`an EXECUTE bound to the unnamed portal is not run by ${what} before it is decided`, async (t) => {
    proxy.setRules([...everything, hold({ statements: ["delete"] }, 1)]);
    const raw = await rawClient(proxy.port);
    t.after(() => raw.end());
    await ask(raw, "BEGIN");
    raw.send(
      serialize.parse({ name: "a", text: "DELETE FROM people RETURNING ssn", types: [] }),
      serialize.parse({ name: "s", text: "EXECUTE a", types: [] }),
      serialize.parse({ name: "f", text, types: [] }),
      serialize.sync(),
    );
    await raw.ready();
    raw.send(
      serialize.bind({ statement: "s" }),
      serialize.bind({ portal: "p", statement: "f" }),
      serialize.execute({ portal: "p" }),
      serialize.sync(),
    );
    const answers = await raw.ready();
    assert.doesNotMatch(JSON.stringify(rowsOf(answers)), /secret/);
    assert.deepEqual(errorsOf(answers), ["0A000"]);
    await ask(raw, "COMMIT");
    assert.equal(await left(), 2);
  });

test("a function runs from a portal beside an unnamed one that runs no EXECUTE", async (t) => {
  const raw = await rawClient(proxy.port);
  t.after(() => raw.end());
  raw.send(
    serialize.parse({ name: "s", text: "SELECT ssn FROM people", types: [] }),
    serialize.parse({ name: "f", text: "SELECT fetched(''::refcursor)", types: [] }),
    serialize.bind({ statement: "s" }),
    serialize.bind({ portal: "p", statement: "f" }),
    serialize.execute({ portal: "p" }),
    serialize.sync(),
  );
  assert.deepEqual(rowsOf(await raw.ready()), [["(secret)"]]);
});

test("a cursor that a function opened is read no further once a rule denies the function", async (t) => {
  const raw = await rawClient(proxy.port);
  t.after(() => raw.end());
  await ask(raw, "BEGIN");
  await ask(raw, "SELECT opened('c')");
  assert.deepEqual(rowsOf(await ask(raw, "FETCH 1 FROM c")), [["secret"]]);
  proxy.setRules([...everything, deny({ functions: ["public.opened"] })]);
  for (const text of ["FETCH 1 FROM c", "SELECT fetched('c')"]) {
    const refused = await ask(raw, text);
    assert.deepEqual(rowsOf(refused), []);
    assert.deepEqual(errorsOf(refused), ["42501"]);
    await ask(raw, "ROLLBACK");
    proxy.setRules(everything);
    await ask(raw, "BEGIN");
    await ask(raw, "SELECT opened('c')");
    proxy.setRules([...everything, deny({ functions: ["public.opened"] })]);
  }
});

for (const text of ["FETCH 1 FROM p", "SELECT fetched('p')"])
  test(`a portal of the protocol is not read by ${text} once a rule denies what it reads`, async (t) => {
    const raw = await rawClient(proxy.port);
    t.after(() => raw.end());
    await ask(raw, "BEGIN");
    raw.send(
      serialize.parse({ name: "s", text: "SELECT ssn FROM people", types: [] }),
      serialize.bind({ portal: "p", statement: "s" }),
      serialize.sync(),
    );
    await raw.ready();
    proxy.setRules(denied);
    const refused = await ask(raw, text);
    assert.deepEqual(rowsOf(refused), []);
    assert.deepEqual(errorsOf(refused), ["42501"]);
  });

for (const [what, skipped] of [
  ["Close", serialize.close({ type: "P", name: "" })],
  ["Bind", Buffer.concat([serialize.parse({ text: "SELECT 1" }), serialize.bind({})])],
] as const)
  test(`a ${what} that the server skipped does not make the unnamed portal another`, async (t) => {
    proxy.setRules([...everything, hold({ statements: ["delete"] }, 1)]);
    const raw = await rawClient(proxy.port);
    t.after(() => raw.end());
    /** Without the unnamed portal, which a Query would take. */
    const aside = (name: string, text: string): Buffer =>
      Buffer.concat([
        serialize.parse({ name, text, types: [] }),
        serialize.bind({ portal: name, statement: name }),
        serialize.execute({ portal: name }),
      ]);
    await ask(raw, "BEGIN");
    raw.send(
      serialize.parse({ name: "a", text: "DELETE FROM people RETURNING ssn", types: [] }),
      serialize.parse({ name: "s", text: "EXECUTE a", types: [] }),
      serialize.sync(),
    );
    await raw.ready();
    raw.send(serialize.bind({ statement: "s" }), aside("save", "SAVEPOINT save"), serialize.sync());
    await raw.ready();
    raw.send(aside("fails", "SELECT 1/0"), skipped, serialize.sync());
    await raw.ready();
    raw.send(aside("back", "ROLLBACK TO save"), serialize.sync());
    await raw.ready();
    raw.send(aside("f", "SELECT fetched(''::refcursor)"), serialize.sync());
    const answers = await raw.ready();
    assert.deepEqual(rowsOf(answers), []);
    assert.deepEqual(errorsOf(answers), ["0A000"]);
    await ask(raw, "COMMIT");
    assert.equal(await left(), 2);
  });
