// Every detector over the cells of a real server: whatever type a text is kept in, in either format, it is hidden and counted, and nothing quotes it.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import { detectorNames, type DetectorName } from "../../policy/mask/detectors.ts";
import { everything, startHarness, type Harness } from "./postgres-proxy-harness.ts";
import {
  errorsOf,
  rawClient,
  rowsOf,
  typesOf,
  type Answer,
  type RawClient,
} from "./postgres-proxy-raw.ts";
import { startPostgres, type PostgresServer } from "./postgres-server.ts";

/** One value that each detector finds. */
const values: Readonly<Record<DetectorName, string>> = {
  email: "jane.doe@mail.example",
  "credit-card": "4111 1111 1111 1111",
  iban: "DE89 3704 0044 0532 0130 00",
  "us-ssn": "123-45-6789",
  phone: "+49 (0)30 123456-78",
  ip: "192.168.17.41",
  jwt: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
  "private-key": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----",
  "aws-key": "AKIAIOSFODNN7EXAMPLE",
  "national-id": "12345678Z",
  "cloud-key": `ghp_${"a1".repeat(18)}`,
};
const custom = { detector: "order-number", pattern: "ORD-[0-9]{6}" } as const;
const customValue = "ORD-778899";

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;

before(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query(`CREATE TABLE kept (what text PRIMARY KEY, as_text text, as_varchar varchar(400), as_char char(200),
    as_json json, as_jsonb jsonb, as_xml xml, as_bytea bytea, as_array text[])`);
  for (const [what, value] of [...Object.entries(values), [custom.detector, customValue] as const])
    await admin.query(
      `INSERT INTO kept SELECT $1, 'said: ' || $2 || ' .', 'said: ' || $2 || ' .', 'said: ' || $2 || ' .',
         json_build_object('said', $2::text), jsonb_build_object('said', $2::text), xmlelement(name said, $2::text),
         convert_to('said: ' || $2 || ' .', 'UTF8'), ARRAY['said', $2]`,
      [what, value],
    );
  await admin.query(`CREATE FUNCTION telling(what text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN RAISE NOTICE 'it is %', what; PERFORM pg_notify('told', what); RETURN 1; END $$`);
  proxy = await startHarness(server);
});

beforeEach(() => {
  proxy.events.length = 0;
  proxy.setRules(everything, {
    detectMasks: [...detectorNames.map((detector) => ({ detector })), custom].map((one) => ({
      ...one,
      transform: { kind: "redact" as const },
      policy: "agents/p",
    })),
    recording: { detail: "Full", strict: false, retentionDays: 1 },
  });
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

function run(text: string, binary: boolean): Buffer {
  return Buffer.concat([
    serialize.parse({ text }),
    serialize.bind({ binary }),
    serialize.execute(),
    serialize.sync(),
  ]);
}

/** As it is, and as the hex that bytea is shown in. */
function assertHidden(answers: readonly Answer[], value: string, what: string): void {
  const shown = Buffer.concat(answers.map(({ body }) => body)).toString("latin1");
  const escaped = JSON.stringify(value).slice(1, -1);
  for (const form of [value, escaped, Buffer.from(value).toString("hex")])
    assert.ok(!shown.includes(form), `${what} shows ${form}`);
}

const columns = ["text", "varchar", "char", "json", "jsonb", "xml", "bytea", "array"] as const;

for (const [what, value] of [...Object.entries(values), [custom.detector, customValue] as const])
  test(`${what} is found in text, varchar, char, JSON, XML, bytea and arrays, in both formats, and counted`, async () => {
    const raw = await rawClient(proxy.port);
    for (const column of columns)
      for (const binary of [false, true]) {
        const text = `SELECT as_${column} FROM kept WHERE what = '${what}'`;
        raw.send(run(text, binary));
        const answers = await raw.ready();
        assert.deepEqual(errorsOf(answers), [], text);
        assert.equal(rowsOf(answers).length, 1);
        assertHidden(answers, value, `${column} ${binary ? "binary" : "text"}`);
        const detected = proxy.operations().at(-1)?.body.outcome?.masked?.detected;
        assert.ok((detected?.[what] ?? 0) >= 1, `${column}: ${JSON.stringify(detected)}`);
      }
    const recorded = JSON.stringify(proxy.events);
    assert.ok(!recorded.includes(JSON.stringify(value).slice(1, -1)), "the record quotes it");
    assert.ok(
      !recorded.includes(Buffer.from(value).toString("hex")),
      "the record quotes it in hex",
    );
    await raw.end();
  });

/** Bytes of the one cell of the one row. */
async function cell(raw: RawClient, text: string, binary: boolean): Promise<Buffer> {
  raw.send(run(text, binary));
  const row = (await raw.ready()).find(({ type }) => type === "D");
  return row?.body.subarray(6) ?? assert.fail("no row came");
}

test("bytea keeps the bytes around what was found, in hex, in the escape format and in binary, and any bytea passes", async () => {
  const raw = await rawClient(proxy.port);
  const found = Buffer.concat([
    Buffer.of(0, 0xff, 0x5c),
    Buffer.from(values.email),
    Buffer.of(0x5c, 0xc3, 0x20),
  ]);
  const hidden = Buffer.concat([
    Buffer.of(0, 0xff, 0x5c),
    Buffer.from("[redacted]"),
    Buffer.of(0x5c, 0xc3, 0x20),
  ]);
  const clean = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  for (const output of ["hex", "escape"]) {
    raw.send(serialize.query(`SET bytea_output = ${output}`));
    await raw.ready();
    for (const [given, expected] of [
      [found, hidden],
      [clean, clean],
      [Buffer.from("müller@bücher.example"), Buffer.from("[redacted]")],
      [Buffer.alloc(0), Buffer.alloc(0)],
    ] as const) {
      const text = `SELECT decode('${given.toString("hex")}', 'hex')`;
      assert.deepEqual(await cell(raw, text, true), expected);
      // PostgreSQL itself says what the text format means.
      const said = (await cell(raw, text, false)).toString("latin1");
      const { rows } = await admin.query("SELECT $1::text::bytea AS read", [said]);
      assert.deepEqual(rows[0].read, expected, output);
    }
  }
  await raw.end();
});

test("a setting that a function put a value into is not reported, and one that the client sets itself is", async () => {
  await admin.query(`CREATE FUNCTION setting(name text, what text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config(name, what, false); RETURN 1; END $$`);
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("SET application_name = 'mine'"));
  assert.equal(typesOf(await raw.ready()), "CSZ");
  for (const [name, what] of [
    ["application_name", "as_text"],
    ["TimeZone", "'<' || as_text || '>3'"],
  ] as const) {
    const text = `SELECT setting('${name}', ${what}) FROM kept WHERE what = 'us-ssn'`;
    for (const form of [serialize.query(text), run(text, false)]) {
      raw.send(form);
      const answers = await raw.ready();
      assertHidden(answers, values["us-ssn"], text);
    }
    raw.send(serialize.query(`SHOW ${name}`));
    const shown = await raw.ready();
    assert.deepEqual(errorsOf(shown), []);
    assertHidden(shown, values["us-ssn"], name);
  }
  await raw.end();
});

test("errors, notices and notifications that would quote what detectors find are withheld", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("LISTEN told"));
  await raw.ready();
  for (const text of [
    "SELECT as_text::int FROM kept WHERE what = 'email'",
    "SELECT ('x' || as_text)::date FROM kept WHERE what = 'email'",
    "SELECT as_xml::text::json FROM kept WHERE what = 'email'",
    "INSERT INTO kept (what, as_text) SELECT 'email', as_text FROM kept WHERE what = 'email'",
    "SELECT telling(as_text) FROM kept WHERE what = 'email'",
    "DO $$ BEGIN EXECUTE (SELECT as_text FROM kept WHERE what = 'email'); END $$",
    "DO $$ BEGIN RAISE EXCEPTION '%', (SELECT as_text FROM kept WHERE what = 'email'); END $$",
    "SELECT 1",
  ]) {
    raw.send(serialize.query(text));
    assertHidden(await raw.ready(), values.email, text);
  }
  assert.ok(!JSON.stringify(proxy.events).includes(values.email), "the record quotes it");
  await raw.end();
});
