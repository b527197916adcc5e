// Texts that PostgreSQL's grammar here cannot parse and the server can: a rule that names `unrecognised` lets them through, and then nothing that was known
// of the session is believed. The grammar of this file is one that does not know calls of `newer`, as if it were syntax of a later PostgreSQL.
import assert from "node:assert/strict";
import { after, before, beforeEach, test, type TestContext } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import type { Bundle, BundleRule } from "../../policy/bundle.ts";
import { loadSqlGrammar, type SqlGrammar } from "../../policy/sql/grammar.ts";
import { message } from "../../proxy/postgres/messages.ts";
import { allow, deny, everything, hold, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, field, rawClient, rowsOf, statusOf } from "./postgres-proxy-raw.ts";
import type { Answer, RawClient } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let direct: pg.Client;

const reads = [allow({ statements: ["select", "unrecognised"] })];
const all = [...everything, allow({ statements: ["unrecognised"] }, "newer")];

before(async () => {
  server = await startPostgres();
  direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query(`
    CREATE TABLE people (id int, ssn text);
    CREATE FUNCTION newer(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a + b';
    CREATE FUNCTION newer(command text, b int) RETURNS text LANGUAGE plpgsql AS
      'BEGIN EXECUTE command; RETURN command; END';
    CREATE SCHEMA evil;
    CREATE TABLE evil.people AS SELECT 1 AS id, 'evil'::text AS ssn;
  `);
  proxy = await startHarness(server, { grammar: olderGrammar(await loadSqlGrammar()) });
});

beforeEach(async () => {
  await direct.query("TRUNCATE people; INSERT INTO people VALUES (1, 'secret'), (2, 'secret')");
});

after(async () => {
  await direct?.end();
  await proxy?.close();
  await server?.stop();
});

/** `newer(` is no SQL to it. */
function olderGrammar(grammar: SqlGrammar): SqlGrammar {
  return {
    ...grammar,
    parse: (text) => {
      const parsed = grammar.parse(text);
      const at = text.indexOf("newer(");
      if (!parsed.ok || at < 0) return parsed;
      const syntaxError = { message: 'syntax error at or near "newer"', position: at + 1 };
      return { ok: false, message: syntaxError.message, syntaxError };
    },
  };
}

async function start(
  t: TestContext,
  rules: readonly BundleRule[],
  changes: Partial<Bundle> = {},
): Promise<RawClient> {
  proxy.setRules(rules, changes);
  const raw = await rawClient(proxy.port);
  t.after(() => raw.end());
  return raw;
}

async function ask(raw: RawClient, text: string): Promise<Answer[]> {
  raw.send(serialize.query(text));
  return raw.ready();
}

const said = (answers: readonly Answer[]): string =>
  answers.flatMap((one) => (one.type === "E" ? [field(one, "M") ?? ""] : [])).join();

/** A function that runs this, called by a text that cannot be parsed. */
const running = (command: string): string => `SELECT newer($x$${command}$x$, 1)`;

test("it passes by the rule that names it, with parameters too, and is recorded as unrecognised with its text", async (t) => {
  const raw = await start(t, reads);
  assert.deepEqual(rowsOf(await ask(raw, "SELECT newer(id, 1), ssn FROM people WHERE id = 2")), [
    ["3", "secret"],
  ]);
  raw.send(
    serialize.parse({ text: "SELECT newer($1::int, 1)", types: [] }),
    serialize.bind({ values: ["4"] }),
    serialize.execute({}),
    serialize.sync(),
  );
  assert.deepEqual(rowsOf(await raw.ready()), [["5"]]);
  const { body } = proxy.operations().at(-1) ?? assert.fail();
  assert.equal(body.decision?.rule, "allow");
  assert.match(body.operation?.summary ?? "", /^SELECT newer/);
  assert.deepEqual(body.operation?.facts?.["statements"], ["unrecognised"]);
  assert.deepEqual(errorsOf(await ask(raw, "SELEC 1")), ["42601"]);
});

test("without such a rule it is a syntax error, as it always was", async (t) => {
  const raw = await start(t, everything);
  assert.deepEqual(errorsOf(await ask(raw, "SELECT newer(1, 2)")), ["42601"]);
});

test("a Deny that could be about it denies it and is named; a RequireApproval asks", async (t) => {
  const raw = await start(t, [...all, deny({ relations: ["public.other"] }, "never")]);
  const refused = await ask(raw, "SELECT newer(1, 2)");
  assert.deepEqual(errorsOf(refused), ["42501"]);
  assert.match(said(refused), /rule never/);
  proxy.setRules([...all, hold({ relations: ["public.other"] }, 30)]);
  const before = proxy.requests.length;
  raw.send(serialize.query("SELECT newer(1, 5)"));
  while (proxy.requests.length === before) await new Promise((resolve) => setImmediate(resolve));
  proxy.answerRequest("Approved");
  assert.deepEqual(rowsOf(await raw.ready()), [["6"]]);
});

test("it is refused beside masks, and it is said why", async (t) => {
  const raw = await start(t, all, {
    columnMasks: [{ column: "public.people.ssn", transform: { kind: "redact" }, policy: "p" }],
  });
  const refused = await ask(raw, "SELECT newer(id, 1), ssn FROM people");
  assert.deepEqual(rowsOf(refused), []);
  assert.match(said(refused), /has masks.*cannot parse/);
});

for (const text of [
  "SELECT newer(1, 2); SELECT 1",
  "SET search_path NEWLY",
  "COPY people TO STDOUT NEWLY",
  "EXPLAIN NEWLY EXECUTE x",
])
  test(`what would change the session unseen stays refused, and it is said why: ${text}`, async (t) => {
    const raw = await start(t, all);
    const refused = await ask(raw, text);
    assert.deepEqual(errorsOf(refused), ["42501"]);
    assert.match(said(refused), /syntax error.*no rule lets it pass/);
  });

const oddities: readonly (readonly [string, () => Buffer, RegExp])[] = [
  [
    "a FunctionCall",
    () => message(0x46, Buffer.from([0, 0, 0, 1, 0, 0, 0, 0, 0, 0])),
    /0A000|42501/,
  ],
  ["EXECUTE of what nobody knows", () => serialize.query("EXECUTE nobody"), /26000/],
  ["bytes that are no UTF-8", () => message(0x51, Buffer.from([0x53, 0xff, 0])), /22021/],
  [
    "a text over the bound",
    () => serialize.query(`SELECT newer(1, '${"x".repeat(70_000)}')`),
    /42501/,
  ],
  ["what nests too deeply", () => serialize.query(`SELECT newer(1, ${"(".repeat(5_000)}`), /42501/],
];
for (const [what, bytes, code] of oddities)
  test(`${what} stays refused, whatever a rule names`, async (t) => {
    const raw = await start(t, all);
    raw.send(bytes());
    assert.match(errorsOf(await raw.ready()).join(), code);
    assert.deepEqual(rowsOf(await ask(raw, "SELECT 1")), [["1"]]);
  });

for (const text of [
  "UPDATE people SET id = newer(1, 2)",
  running("DELETE FROM people"),
  running("SET transaction_read_only = off"),
])
  test(`where rules allow only reads the database stops it: ${text}`, async (t) => {
    const raw = await start(t, reads);
    assert.match(errorsOf(await ask(raw, text)).join(), /25006|25001/);
    assert.equal((await direct.query("SELECT FROM people WHERE id < 3")).rowCount, 2);
  });

test("where rules allow only reads, one that switches it off ends the session before anything else runs", async (t) => {
  const raw = await start(t, reads);
  const write = "UPDATE people SET id = newer(1, 2)";
  raw.send(
    ...[running("SET default_transaction_read_only = off"), write].flatMap((text) => [
      serialize.parse({ text, types: [] }),
      serialize.bind({}),
      serialize.execute({}),
      serialize.sync(),
    ]),
  );
  await raw.until(() => raw.closed);
  assert.deepEqual((await direct.query("SELECT id FROM people ORDER BY 1")).rows, [
    { id: 1 },
    { id: 2 },
  ]);
});

test("no name means what it meant before it: another search_path ends the session", async (t) => {
  const raw = await start(t, all);
  raw.send(
    serialize.query(running("SET search_path = evil")),
    serialize.query("SELECT ssn FROM people"),
  );
  const answers = await raw.until(() => raw.closed);
  assert.equal(rowsOf(answers).flat().includes("evil"), false);
  assert.equal(errorsOf(answers).length, 1);
});

test("a prepared statement is said again behind it", async (t) => {
  const raw = await start(t, [...all, deny({ statements: ["truncate"] })]);
  proxy.setRules(all);
  raw.send(
    serialize.parse({ name: "s", text: "SELECT 'mine'", types: [] }),
    serialize.sync(),
    serialize.query(running("DEALLOCATE s; PREPARE s AS SELECT 'theirs'")),
    serialize.bind({ statement: "s" }),
    serialize.execute({}),
    serialize.sync(),
  );
  assert.deepEqual(rowsOf(await raw.ready(3)).at(-1), ["mine"]);
});

test("a cursor that it may have opened is read no further once a rule could deny it", async (t) => {
  const raw = await start(t, all);
  await ask(raw, "BEGIN");
  await ask(raw, running("DECLARE c CURSOR FOR SELECT ssn FROM people"));
  assert.deepEqual(rowsOf(await ask(raw, "FETCH 1 FROM c")), [["secret"]]);
  proxy.setRules([...all, deny({ relations: ["public.people"] })]);
  assert.deepEqual(rowsOf(await ask(raw, "FETCH 1 FROM c")), []);
});

test("masks that come later do not trust a cursor that it may have opened", async (t) => {
  const raw = await start(t, all);
  await ask(raw, "BEGIN");
  await ask(raw, running("DECLARE c CURSOR FOR SELECT ssn FROM people"));
  proxy.setRules(all, {
    columnMasks: [{ column: "public.people.ssn", transform: { kind: "redact" }, policy: "p" }],
  });
  assert.deepEqual(rowsOf(await ask(raw, "FETCH 1 FROM c")), []);
});

test("a transaction goes on around it, and its failure is the transaction's", async (t) => {
  const raw = await start(t, all);
  assert.equal(statusOf(await ask(raw, "BEGIN")), "T");
  assert.equal(statusOf(await ask(raw, "SELECT newer(1, 2)")), "T");
  assert.equal(statusOf(await ask(raw, "SELECT newer(1, 2, 3)")), "E");
  assert.equal(statusOf(await ask(raw, "ROLLBACK")), "I");
});
