// Where two features meet: names, cursors, settings and errors, used by an agent that knows how each of them is decided and masked.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import type { Bundle } from "../../policy/bundle.ts";
import { flush, message } from "../../proxy/postgres/messages.ts";
import { allow, everything, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, field, rawClient, rowsOf, tagsOf, typesOf } from "./postgres-proxy-raw.ts";
import type { Answer, RawClient } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;
const secret = "123-45-6789";
const secretBackwards = "9876-54-321";

const mask = (...predicates: readonly "Allow"[]): Partial<Bundle> => ({
  columnMasks: [
    {
      column: "public.customers.ssn",
      transform: { kind: "redact" },
      policy: "agents/p",
      ...(predicates.length === 0 ? {} : { predicates: "Allow" as const }),
    },
  ],
});

before(async () => {
  server = await startPostgres({ tls: true });
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query(`
    CREATE TABLE customers (id int PRIMARY KEY, name text, ssn text);
    INSERT INTO customers VALUES (1, 'ann', '${secret}');
    CREATE TABLE hidden (v text);
    INSERT INTO hidden VALUES ('${secret}');
    CREATE FUNCTION lower(int, int) RETURNS text LANGUAGE sql AS 'SELECT v FROM hidden';
    CREATE FUNCTION peek(customers) RETURNS text LANGUAGE sql AS 'SELECT v FROM hidden';
    CREATE FUNCTION name(customers) RETURNS text LANGUAGE sql AS 'SELECT v FROM hidden';
    CREATE FUNCTION plus(text, int) RETURNS text LANGUAGE sql AS 'SELECT v FROM hidden';
    CREATE OPERATOR + (FUNCTION = plus, LEFTARG = text, RIGHTARG = int);
  `);
  proxy = await startHarness(server);
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

async function ask(raw: RawClient, text: string): Promise<Answer[]> {
  raw.send(serialize.query(text));
  return raw.ready();
}

async function done(raw: RawClient, ...texts: readonly string[]): Promise<void> {
  for (const text of texts) assert.equal(messagesOf(await ask(raw, text)), "", text);
}

function messagesOf(answers: readonly Answer[]): string {
  return answers
    .filter(({ type }) => type === "E")
    .map((answer) => field(answer, "M"))
    .join("\n");
}

/** Forwards and backwards, in any field of any message. */
function assertHidden(answers: readonly Answer[]): void {
  const all = answers.map(({ body }) => body.toString("latin1")).join("\n");
  for (const shown of [secret, secretBackwards]) assert.equal(all.includes(shown), false, all);
}

/** The bytes of a message that holds strings alone; pg-protocol warns of long names. */
function strings(type: string, parts: readonly string[], rest = Buffer.alloc(0)): Buffer {
  const texts = Buffer.from(parts.map((part) => `${part}\0`).join(""));
  return message(type.charCodeAt(0), Buffer.concat([texts, rest]));
}

test("names that are one to the server are never two here: longer ones are refused", async () => {
  proxy.setRules(everything, mask());
  const raw = await rawClient(proxy.port);
  const long = "n".repeat(63);
  const two = Buffer.alloc(2);
  raw.send(
    serialize.parse({ name: long, text: "SELECT name FROM customers", types: [] }),
    serialize.sync(),
  );
  assert.equal(typesOf(await raw.ready()), "1Z");
  raw.send(strings("C", [`S${long}y`]), serialize.sync());
  assert.deepEqual(errorsOf(await raw.ready()), ["0A000"]);
  raw.send(strings("P", [`${long}z`, "SELECT reverse(ssn) FROM customers"], two), serialize.sync());
  const refused = await raw.ready();
  assert.deepEqual(errorsOf(refused), ["0A000"]);
  assert.match(messagesOf(refused), /at most 63 bytes/);
  for (const [portal, statement] of [
    ["", `${long}x`],
    [`${long}x`, long],
  ] as const) {
    raw.send(
      strings("B", [portal, statement], Buffer.alloc(6)),
      strings("D", [`P${portal}`]),
      strings("E", [portal], Buffer.alloc(4)),
      serialize.sync(),
    );
    assert.deepEqual(errorsOf(await raw.ready()), ["0A000"]);
  }
  for (const part of [strings("D", [`P${long}x`]), strings("E", [`${long}x`], Buffer.alloc(4))]) {
    raw.send(part, serialize.sync());
    assert.deepEqual(errorsOf(await raw.ready()), ["0A000"]);
  }
  raw.send(
    serialize.bind({ statement: long }),
    serialize.describe({ type: "P" }),
    serialize.execute({}),
    serialize.sync(),
  );
  assert.deepEqual(rowsOf(await raw.ready()), [["ann"]]);
  await raw.end();
});

async function bindPortal(raw: RawClient, portal: string): Promise<void> {
  raw.send(
    serialize.parse({ text: "SELECT reverse(ssn) FROM customers", types: [] }),
    serialize.bind({ portal }),
    flush(),
  );
  await raw.until((answers) => typesOf(answers) === "12");
}

test("a portal of the protocol is not masked by the text of a cursor that had its name before", async () => {
  proxy.setRules(everything, mask());
  const raw = await rawClient(proxy.port);
  await done(raw, "BEGIN", "DECLARE c CURSOR FOR SELECT 'x'::text", "CLOSE c");
  await bindPortal(raw, "c");
  const fetched = await ask(raw, "FETCH ALL c");
  assertHidden(fetched);
  assert.deepEqual(errorsOf(fetched), ["42501"]);
  await done(raw, "ROLLBACK");
  await done(raw, "BEGIN", "DECLARE c CURSOR FOR SELECT id FROM customers");
  assert.deepEqual(rowsOf(await ask(raw, "FETCH ALL c")), [["1"]]);
  await raw.end();
});

test("nor by the text of a cursor that could not be declared because the portal has its name", async () => {
  proxy.setRules(everything, mask());
  const raw = await rawClient(proxy.port);
  await done(raw, "BEGIN");
  await bindPortal(raw, "c");
  await done(raw, "SAVEPOINT s");
  assert.deepEqual(errorsOf(await ask(raw, "DECLARE c CURSOR FOR SELECT 'x'::text")), ["42P03"]);
  await done(raw, "ROLLBACK TO s");
  const fetched = await ask(raw, "FETCH ALL c");
  assertHidden(fetched);
  assert.deepEqual(errorsOf(fetched), ["42501"]);
  await raw.end();
});

test("a cursor that was declared before masks applied is not masked by a later text of its name", async () => {
  for (const [start, name] of [
    ["DECLARE c CURSOR FOR SELECT reverse(ssn) FROM customers", "c"],
    [
      "DO $$ DECLARE c refcursor := 'c'; BEGIN OPEN c FOR SELECT reverse(ssn) FROM customers; END $$",
      "c",
    ],
  ] as const) {
    proxy.setRules(everything);
    const raw = await rawClient(proxy.port);
    await done(raw, "BEGIN", start);
    proxy.setRules(everything, mask());
    await done(raw, "SAVEPOINT s");
    const again = await ask(raw, `DECLARE ${name} CURSOR FOR SELECT 'x'::text`);
    assert.deepEqual(errorsOf(again), ["42P03"]);
    await done(raw, "ROLLBACK TO s");
    const fetched = await ask(raw, `FETCH ALL ${name}`);
    assertHidden(fetched);
    assert.deepEqual(errorsOf(fetched), ["42501"]);
    await raw.end();
  }
});

test("a held cursor over a table that the agent altered since is masked in whatever place its columns are", async () => {
  proxy.setRules(everything, mask());
  for (const [name, before, alter, harmless] of [
    [
      "moved",
      "SELECT m.*, reverse(c.ssn), n.* FROM customers c, moved_a m, moved_b n",
      "ALTER TABLE moved_a DROP COLUMN a; ALTER TABLE moved_b ADD COLUMN c text",
      undefined,
    ],
    [
      "twice",
      "SELECT m.*, reverse(c.ssn), n.* FROM customers c, twice_a m, twice_b n",
      "ALTER TABLE twice_a DROP COLUMN a; ALTER TABLE twice_b ADD COLUMN c text",
      "SELECT 'x'::text, 'y'::text, 'z'::text",
    ],
    [
      "wider",
      "SELECT reverse(c.ssn), m.* FROM customers c, wider_a m",
      "ALTER TABLE wider_a ADD COLUMN b text",
      "SELECT 'x'::text, 'y'::text",
    ],
  ] as const) {
    const raw = await rawClient(proxy.port);
    await done(
      raw,
      `CREATE TABLE ${name}_a (a text)`,
      `CREATE TABLE ${name}_b (b text)`,
      `INSERT INTO ${name}_a VALUES ('m')`,
      `INSERT INTO ${name}_b VALUES ('n')`,
    );
    if (harmless !== undefined)
      await done(raw, "BEGIN", `DECLARE c CURSOR FOR ${harmless}`, "ROLLBACK");
    await done(raw, "BEGIN", `DECLARE c CURSOR WITH HOLD FOR ${before}`, "COMMIT", alter);
    const fetched = await ask(raw, "FETCH ALL c");
    assertHidden(fetched);
    await raw.end();
  }
});

test("with predicates allowed, no setting, error or notice brings a value", async () => {
  proxy.setRules(everything, mask("Allow"));
  const raw = await rawClient(proxy.port);
  for (const text of [
    "SELECT set_config('application_name', ssn, false) FROM customers",
    "SHOW application_name",
    "SELECT 1 FROM customers WHERE ssn::regclass = 1::oid",
    "SELECT 1 FROM customers WHERE ssn::regrole = 1::oid",
    "SELECT 1 FROM customers WHERE ssn::regnamespace = 1::oid",
    "SELECT 1 FROM customers WHERE ssn::regconfig = 1::oid",
    "SELECT 1 FROM customers WHERE (ssn || '(1)')::regprocedure = 1::oid",
    "SELECT 1 FROM customers WHERE ('a.b.c.' || ssn)::regclass = 1::oid",
    "SELECT 1 FROM customers WHERE ('a.b.' || ssn)::regclass = 1::oid",
    "SELECT 1 FROM customers WHERE ('a ' || ssn)::tsquery @@ 'a'",
    "SELECT 1 FROM customers WHERE (ssn || repeat('a', 5000))::tsquery @@ 'a'",
    "SELECT 1 FROM customers WHERE to_tsvector('simple', ssn || repeat('a', 5000)) @@ 'a'",
    "SELECT 1 FROM customers WHERE (ssn || repeat('a', 100))::regclass = 1::oid",
    "SELECT 1 FROM customers WHERE has_column_privilege('customers', ssn, 'select')",
    "SELECT 1 FROM customers WHERE has_database_privilege(ssn, 'connect')",
    "SELECT 1 FROM customers WHERE current_setting(ssn) IS NULL",
    "SELECT 1 FROM customers WHERE to_ascii('a', ssn::name) IS NULL",
    "SELECT 1 FROM customers WHERE unistr('\\' || ssn) IS NULL",
  ]) {
    const answers = await ask(raw, text);
    assertHidden(answers);
  }
  const typo = await ask(raw, "SELECT nmae FROM customers");
  assert.match(messagesOf(typo), /column "nmae" does not exist/);
  const set = await ask(raw, "SELECT set_config('application_name', 'mine'::text, false)");
  assert.deepEqual(tagsOf(set), ["SELECT 1"]);
  await raw.end();
});

test("a function of public runs under no name of PostgreSQL's own without a rule for it", async () => {
  const read = { statements: ["select"], relations: ["public.customers"] } as const;
  proxy.setRules([allow(read)]);
  const raw = await rawClient(proxy.port);
  for (const [text, called] of [
    ["SELECT lower(1, 2)", "public.lower"],
    ["SELECT c.peek FROM customers c", "public.peek"],
    ["SELECT public.customers.peek FROM public.customers", "public.peek"],
    // There is a column of that name, which somebody may take away before it is read.
    ["SELECT c.name FROM customers c", "public.name"],
    ["SELECT name + 1 FROM customers", "public.+"],
  ] as const) {
    const simple = await ask(raw, text);
    assert.match(
      messagesOf(simple),
      new RegExp(`no rule allows .* ${called.replace("+", "\\+")}$`),
      text,
    );
    raw.send(
      serialize.parse({ text, types: [] }),
      serialize.bind({}),
      serialize.execute({}),
      serialize.sync(),
    );
    const extended = await raw.ready();
    assertHidden([...simple, ...extended]);
    assert.deepEqual(errorsOf(extended), ["42501"], text);
  }
  assert.deepEqual(rowsOf(await ask(raw, "SELECT name, pg_catalog.lower('A') FROM customers c")), [
    ["ann", "a"],
  ]);
  proxy.setRules([allow(read), allow({ functions: ["public.lower", "public.+"] })]);
  assert.deepEqual(rowsOf(await ask(raw, "SELECT lower(1, 2)")), [[secret]]);
  assert.deepEqual(rowsOf(await ask(raw, "SELECT name + 1 FROM customers")), [[secret]]);
  const { operation } = proxy.operations().at(-1)?.body ?? {};
  assert.ok(JSON.stringify(operation).includes("public.+"));
  await raw.end();
});

test("a function that the agent made is known before its next statement", async () => {
  proxy.setRules([allow({ statements: ["create"] })]);
  const raw = await rawClient(proxy.port);
  await done(raw, "CREATE FUNCTION upper(int) RETURNS text LANGUAGE sql AS 'SELECT v FROM hidden'");
  proxy.setRules([allow({ statements: ["select"], relations: ["public.customers"] })]);
  assert.deepEqual(errorsOf(await ask(raw, "SELECT upper(1)")), ["42501"]);
  await raw.end();
});

test("a literal that a cast changes sets no timeout", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port);
  const cut = await ask(raw, "SELECT set_config('statement_timeout', '01'::char(1), false)");
  assert.deepEqual(errorsOf(cut), ["42501"]);
  await raw.end();
});

test("COPY TO in another encoding is refused where its columns are masked", async () => {
  proxy.setRules(everything, mask());
  const raw = await rawClient(proxy.port);
  for (const [encoding, errors] of [
    ["LATIN1", ["42501"]],
    ["UTF8", []],
  ] as const) {
    const copied = await ask(raw, `COPY customers TO STDOUT (ENCODING '${encoding}')`);
    assert.deepEqual(errorsOf(copied), errors, encoding);
    assertHidden(copied);
  }
  await raw.end();
});
