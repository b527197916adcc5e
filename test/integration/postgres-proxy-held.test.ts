// What rules, masks and limits say while a statement waits for a person counts for it, and for all that stands before it in its pipeline.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import type { Bundle, BundleRule } from "../../policy/bundle.ts";
import { allow, deny, everything, hold, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient, rowsOf, statusOf } from "./postgres-proxy-raw.ts";
import type { RawClient } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;
const secret = "123-45-6789";

/** Asks a person about one relation. */
const rules: readonly BundleRule[] = [...everything, hold({ relations: ["public.asked"] }, 30)];

const masks: Partial<Bundle> = {
  columnMasks: [{ column: "public.people.ssn", transform: { kind: "redact" }, policy: "p" }],
};

before(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query(`
    CREATE TABLE people (id int, ssn text);
    INSERT INTO people VALUES (1, '${secret}'), (2, '${secret}');
    CREATE TABLE asked (id int);
    INSERT INTO asked VALUES (1);
    CREATE TABLE written (id int);
    CREATE VIEW shown AS SELECT id, 'nothing' AS ssn FROM people;
  `);
  proxy = await startHarness(server);
});

beforeEach(async () => {
  await admin.query("TRUNCATE written, asked; INSERT INTO asked VALUES (1)");
  proxy.setRules(rules);
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

async function isAsked(): Promise<void> {
  const before = proxy.requests.length;
  while (proxy.requests.length === before) await new Promise((resolve) => setImmediate(resolve));
}

/** As one batch. */
function pipeline(...texts: readonly string[]): Buffer {
  return Buffer.concat([
    ...texts.flatMap((text) => [
      serialize.parse({ text, types: [] }),
      serialize.bind({}),
      serialize.execute({}),
    ]),
    serialize.sync(),
  ]);
}

/** Sends it, has something happen while a person is asked, and approves. */
async function meanwhile(raw: RawClient, sent: Buffer, happens: () => unknown) {
  const asked = isAsked();
  raw.send(sent);
  await asked;
  await happens();
  proxy.answerRequest("Approved");
  return raw.ready();
}

const forms: readonly (readonly [string, (text: string) => Buffer])[] = [
  ["simple", (text) => serialize.query(text)],
  ["extended", (text) => pipeline(text)],
];

for (const [form, said] of forms) {
  test(`masks that come while a ${form} statement waits for a person apply to its rows`, async () => {
    const raw = await rawClient(proxy.port);
    const text = `SELECT p.ssn, '${form}' AS f FROM people p, asked a WHERE p.id = a.id`;
    const answers = await meanwhile(raw, said(text), () => proxy.setRules(rules, masks));
    assert.deepEqual(rowsOf(answers), [["[redacted]", form]]);
    await raw.end();
  });
}

test("what the masks that came cannot be proven for is refused, although it was approved", async () => {
  const raw = await rawClient(proxy.port);
  const answers = await meanwhile(
    raw,
    serialize.query("INSERT INTO asked SELECT length(ssn) FROM people"),
    () => proxy.setRules(rules, masks),
  );
  assert.deepEqual(rowsOf(answers), []);
  assert.equal(errorsOf(answers).length, 1);
  assert.equal(proxy.operations().at(-1)?.body.outcome?.error, "MaskNotProvable");
  assert.equal(Number((await admin.query("SELECT count(*) AS n FROM asked")).rows[0].n), 1);
  await raw.end();
});

test("a view that was redefined meanwhile shows no masked value", async () => {
  proxy.setRules(rules, masks);
  const raw = await rawClient(proxy.port);
  const answers = await meanwhile(
    raw,
    serialize.query("SELECT s.ssn FROM shown s, asked a WHERE s.id = a.id"),
    async () => {
      await admin.query("CREATE OR REPLACE VIEW shown AS SELECT id, ssn FROM people");
      await new Promise((resolve) => setTimeout(resolve, 1_100));
    },
  );
  assert.doesNotMatch(JSON.stringify(rowsOf(answers)), new RegExp(secret));
  await raw.end();
});

test("a limit that came meanwhile ends its result", async () => {
  const raw = await rawClient(proxy.port);
  const answers = await meanwhile(
    raw,
    serialize.query("SELECT p.id, 'limited' FROM people p, asked"),
    () => proxy.setRules(rules, { limits: { rowsPerResult: 1 } }),
  );
  assert.equal(rowsOf(answers).length, 1);
  assert.equal(errorsOf(answers).length, 1);
  await raw.end();
});

test("what stands before it in its pipeline is not run under rules that are gone", async () => {
  const raw = await rawClient(proxy.port);
  const sent = pipeline(
    "INSERT INTO written VALUES (1)",
    "SELECT ssn FROM people",
    "SELECT id, 'denied since' FROM asked",
  );
  const answers = await meanwhile(raw, sent, () =>
    proxy.setRules([...rules, deny({ relations: ["public.people"] })]),
  );
  assert.deepEqual(rowsOf(answers), []);
  assert.deepEqual(errorsOf(answers), ["42501"]);
  assert.equal(statusOf(answers), "I");
  assert.equal((await admin.query("SELECT FROM written")).rowCount, 0);
  raw.send(serialize.query("SELECT 1"));
  assert.deepEqual(rowsOf(await raw.ready()), [["1"]]);
  const outcomes = proxy.operations().map(({ body }) => [body.operation?.summary, body.outcome]);
  const denied = outcomes.findLast(([summary]) => summary === "SELECT ssn FROM people");
  assert.match(JSON.stringify(denied), /"denied"/);
  await raw.end();
});

test("nor is it when the one that was asked about is refused", async () => {
  const raw = await rawClient(proxy.port);
  const asked = isAsked();
  raw.send(pipeline("SELECT ssn FROM people", "SELECT id, 'refused' FROM asked"));
  await asked;
  proxy.setRules([...rules, deny({ relations: ["public.people"] })]);
  proxy.answerRequest("Denied");
  const answers = await raw.ready();
  assert.deepEqual(rowsOf(answers), []);
  assert.deepEqual(errorsOf(answers), ["42501"]);
  await raw.end();
});

test("and its rows are masked by masks that came", async () => {
  const raw = await rawClient(proxy.port);
  const sent = pipeline("SELECT ssn FROM people WHERE id = 1", "SELECT id, 'masked' FROM asked");
  const answers = await meanwhile(raw, sent, () => proxy.setRules(rules, masks));
  assert.deepEqual(rowsOf(answers), [["[redacted]"], ["1", "masked"]]);
  await raw.end();
});

test("where nothing changed, a pipeline around an approved statement runs as it was sent", async () => {
  const raw = await rawClient(proxy.port);
  const sent = pipeline(
    "INSERT INTO written VALUES (1)",
    "SELECT id, 'unchanged' FROM asked",
    "SELECT count(*) FROM written",
  );
  const answers = await meanwhile(raw, sent, () => undefined);
  assert.deepEqual(rowsOf(answers), [["1", "unchanged"], ["1"]]);
  assert.deepEqual(errorsOf(answers), []);
  await raw.end();
});

for (const [form, said] of forms)
  test(`a ${form} statement that would run a function made while a person was asked is refused`, async (t) => {
    proxy.setRules([allow(undefined, "anything"), hold({ relations: ["public.asked"] }, 30)]);
    const made = form === "simple" ? "lower" : "upper";
    const raw = await rawClient(proxy.port);
    t.after(() => admin.query(`DROP FUNCTION IF EXISTS public.${made}(int)`));
    const text = `SELECT ${made}(id) FROM asked`;
    const answers = await meanwhile(raw, said(text), () =>
      admin.query(
        `CREATE FUNCTION public.${made}(int) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM people LIMIT 1'`,
      ),
    );
    assert.deepEqual(rowsOf(answers), []);
    assert.deepEqual(errorsOf(answers), ["42501"]);
    await raw.end();
  });
