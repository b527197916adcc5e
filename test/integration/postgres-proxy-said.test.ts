// Rules with `sql.detect` before a real server: whatever position, format and type a value is sent in, it is found or refused, at each Bind anew.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import {
  allow,
  deny,
  everything,
  hold,
  startHarness,
  type Harness,
} from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient, typesOf, type Answer } from "./postgres-proxy-raw.ts";
import { startPostgres, type PostgresServer } from "./postgres-server.ts";

const card = "4111111111111111";
const denies = deny({ detect: ["credit-card"] }, "no cards");

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;

before(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query("CREATE TABLE kept (said text)");
  proxy = await startHarness(server);
});

beforeEach(() => {
  proxy.events.length = 0;
  proxy.setRules([...everything, denies]);
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

/** One statement with parameters: text where a string is given, binary where bytes are. */
async function execute(
  text: string,
  types: readonly number[],
  ...binds: readonly (readonly (string | Buffer | null)[])[]
): Promise<Answer[]> {
  const client = await rawClient(proxy.port);
  client.send(
    serialize.parse({ name: "s", text, types: [...types] }),
    ...binds.flatMap((values) => [
      serialize.bind({ statement: "s", values: [...values] }),
      serialize.execute(),
      serialize.sync(),
    ]),
  );
  const answers = await client.ready(binds.length);
  await client.end();
  return answers;
}

/** The bytes that the server itself sends for an expression. */
async function bytesOf(expression: string, send: string): Promise<Buffer> {
  const { rows } = await admin.query<{ b: Buffer }>(`SELECT ${send}(${expression}) AS b`);
  return rows[0]?.b ?? assert.fail("no bytes");
}

const refused = ["42501"];

const kinds: readonly (readonly [string, number, string, string])[] = [
  ["text", 25, `'${card}'::text`, "textsend"],
  ["varchar", 1043, `'${card}'::varchar`, "varcharsend"],
  ["char", 1042, `'${card}'::bpchar`, "bpcharsend"],
  ["name", 19, `'${card}'::name`, "namesend"],
  ["int8", 20, card, "int8send"],
  ["numeric", 1700, `${card}.00`, "numeric_send"],
  ["float8", 701, `${card}::float8`, "float8send"],
  ["json", 114, `'{"a":"\\u0034${card.slice(1)}"}'::json`, "json_send"],
  ["jsonb", 3802, `'{"a":"${card}"}'::jsonb`, "jsonb_send"],
  ["xml", 142, `'<a>${card}</a>'::xml`, "xml_send"],
  ["bytea", 17, `'${card}'::bytea`, "byteasend"],
  ["text[]", 1009, `ARRAY['a','${card}']`, "array_send"],
  ["int8[]", 1016, `ARRAY[[1,2],[3,${card}]]`, "array_send"],
  ["numeric[]", 1231, `ARRAY[1.5,${card}]`, "array_send"],
  ["jsonb[]", 3807, `ARRAY['{"a":"${card}"}'::jsonb]`, "array_send"],
  ["bytea[]", 1001, `ARRAY['${card}'::bytea]`, "array_send"],
];

for (const [name, oid, expression, send] of kinds)
  test(`a card number is found in a parameter of ${name}, in text and in binary`, async () => {
    const binary = await bytesOf(expression, send);
    const written = await admin.query<{ t: string }>(`SELECT (${expression})::text AS t`);
    for (const value of [binary, written.rows[0]?.t ?? ""]) {
      const text = `INSERT INTO kept SELECT coalesce($2::text, $1::${name}::text)`;
      assert.deepEqual(errorsOf(await execute(text, [oid, 25], [value, null])), refused, name);
      const event = proxy.operations().at(-1)?.body;
      assert.equal(event?.outcome?.status, "denied");
      assert.equal(event?.decision?.rule, "no cards");
      assert.ok((event?.operation?.detected?.["credit-card"] ?? 0) >= 1);
      assert.ok(!JSON.stringify(proxy.events).includes(card), "the record quotes it");
    }
    assert.equal((await admin.query("SELECT FROM kept")).rowCount, 0);
  });

const harmless: readonly (readonly [string, number, string, string])[] = [
  ["bool", 16, "true", "boolsend"],
  ["int8", 20, "42", "int8send"],
  ["numeric", 1700, "-0.00042", "numeric_send"],
  ["numeric NaN", 1700, "'NaN'::numeric", "numeric_send"],
  ["date", 1082, "'2026-11-20'::date", "date_send"],
  ["date infinity", 1082, "'infinity'::date", "date_send"],
  ["time", 1083, "'12:13:14.5'::time", "time_send"],
  ["timestamp", 1114, "'2026-11-20 12:13:14'::timestamp", "timestamp_send"],
  ["timestamptz", 1184, "'-infinity'::timestamptz", "timestamptz_send"],
  ["interval", 1186, "'1 day 2 s'::interval", "interval_send"],
  ["uuid", 2950, "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", "uuid_send"],
  ["inet", 869, "'10.0.0.1/8'::inet", "inet_send"],
  ["bytea", 17, "'\\x00ff'::bytea", "byteasend"],
  ["text[]", 1009, "ARRAY['a',NULL]", "array_send"],
  ["text[] empty", 1009, "ARRAY[]::text[]", "array_send"],
  ["int4[]", 1007, "ARRAY[1,2]", "array_send"],
];

for (const [name, oid, expression, send] of harmless)
  test(`a parameter of ${name} in binary in which nothing is found passes`, async () => {
    const binary = await bytesOf(expression, send);
    const type = name.split(" ")[0] ?? "";
    assert.deepEqual(errorsOf(await execute(`SELECT $1::${type}`, [oid], [binary])), []);
  });

test("a binary parameter whose type nobody says, or nobody here knows, is refused by a Deny and passes without one", async () => {
  const text = "SELECT octet_length($1::bytea)";
  assert.deepEqual(errorsOf(await execute(text, [], [Buffer.of(1, 2)])), refused);
  assert.match(
    proxy.operations().at(-1)?.body.decision?.message ?? "",
    /cannot look into parameter 1 \(binary, no type said\)\)$/,
  );
  const range = await bytesOf("int8range(1,2)", "range_send");
  assert.deepEqual(errorsOf(await execute("SELECT $1::int8range", [3926], [range])), refused);
  proxy.setRules(everything);
  assert.deepEqual(errorsOf(await execute(text, [], [Buffer.of(1, 2)])), []);
});

test("each Bind of one prepared statement is decided anew, in a pipeline too", async () => {
  const answers = await execute("SELECT $1::text", [25], ["a"], [card], ["b"], [card]);
  assert.deepEqual(errorsOf(answers), [...refused, ...refused]);
  assert.equal(answers.filter(({ type }) => type === "D").length, 2);
});

test("literals of a simple query, of several statements, and of texts that differ in a number alone are looked at", async () => {
  const client = await rawClient(proxy.port);
  const run = async (text: string): Promise<(string | undefined)[]> => {
    client.send(serialize.query(text));
    return errorsOf(await client.ready());
  };
  assert.deepEqual(await run("SELECT 1 FROM kept WHERE 7 = 5"), []);
  assert.deepEqual(await run(`SELECT 1 FROM kept WHERE 7 = ${card}`), refused);
  assert.deepEqual(await run(`SELECT 1; SELECT E'\\x34${card.slice(1)}'`), refused);
  assert.deepEqual(await run("PREPARE p AS SELECT $1::text"), []);
  assert.deepEqual(await run("EXECUTE p('a')"), []);
  assert.deepEqual(await run(`EXECUTE p('${card}')`), refused);
  assert.deepEqual(await run(`PREPARE q AS SELECT '${card}'`), refused);
  assert.deepEqual(await run("BEGIN"), []);
  assert.deepEqual(await run(`DECLARE c CURSOR FOR SELECT '${card}'`), refused);
  assert.deepEqual(await run("ROLLBACK"), []);
  await client.end();
});

test("what SQL prepared before the rule came is decided with its own literals at EXECUTE", async () => {
  proxy.setRules(everything);
  const client = await rawClient(proxy.port);
  client.send(serialize.query(`PREPARE p AS SELECT '${card}'`));
  assert.deepEqual(errorsOf(await client.ready()), []);
  proxy.setRules([...everything, denies]);
  client.send(serialize.query("EXECUTE p"));
  assert.deepEqual(errorsOf(await client.ready()), refused);
  await client.end();
});

test("COPY FROM STDIN is refused where its rows may be what a Deny is about, and not where the Deny is about other statements", async () => {
  const client = await rawClient(proxy.port);
  client.send(serialize.query("COPY kept FROM STDIN"));
  const answers = await client.ready();
  assert.deepEqual([errorsOf(answers), typesOf(answers)], [refused, "EZ"]);
  proxy.setRules([...everything, deny({ detect: ["credit-card"], statements: ["update"] })]);
  client.send(serialize.query("COPY kept FROM STDIN"));
  await client.until((some) => some.some(({ type }) => type === "G"));
  client.send(serialize.copyDone());
  assert.deepEqual(errorsOf(await client.ready()), []);
  await client.end();
});

test("an Allow with detect covers what was found and nothing else; a RequireApproval asks about it alone", async () => {
  proxy.setRules([allow({ detect: ["credit-card"] })]);
  const text = "SELECT FROM kept WHERE said = $1";
  assert.deepEqual(errorsOf(await execute(text, [25], [card])), []);
  assert.deepEqual(errorsOf(await execute(text, [25], ["a"])), refused);
  proxy.setRules([...everything, hold({ detect: ["credit-card"] }, 30)]);
  assert.deepEqual(errorsOf(await execute("SELECT $1::text", [25], ["a"])), []);
  proxy.answerRequest("Approved");
  assert.deepEqual(errorsOf(await execute("SELECT $1::text", [25], [card])), []);
});

test("a parameter of eight megabytes is looked into to its end", async () => {
  const long = `${"lorem ipsum 12 ".repeat(500_000)}${card}`;
  assert.deepEqual(errorsOf(await execute("SELECT length($1::text)", [25], [long])), refused);
  assert.deepEqual(
    errorsOf(await execute("SELECT length($1::text)", [25], [long.slice(0, -2)])),
    [],
  );
});
