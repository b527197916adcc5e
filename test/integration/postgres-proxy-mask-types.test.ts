// Masked values stay values of their column's type: PostgreSQL itself reads back what the client got, in text and in binary.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import type { Transform } from "../../policy/bundle.ts";
import { everything, startHarness, type Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, field, rawClient, typesOf, type RawClient } from "./postgres-proxy-raw.ts";
import { startPostgres, type PostgresServer } from "./postgres-server.ts";

/** Type to a value in it, and a constant of it that `fixed` may put there. */
const types: Readonly<Record<string, readonly [string, string]>> = {
  text: ["Jane Doe-77", "someone"],
  "varchar(40)": ["Jane Doe-77", "someone"],
  "char(20)": ["Jane Doe-77", "someone"],
  name: ["jane_doe_77", "someone"],
  json: ['{"who": "Jane"}', "someone"],
  jsonb: ['{"who": "Jane"}', "someone"],
  xml: ["<who>Jane</who>", "<x/>"],
  uuid: ["8c5fd3f1-1f0a-4a52-8c41-9d8b5d2c7a10", "00000000-0000-4000-8000-000000000000"],
  bool: ["t", "f"],
  int2: ["-123", "7"],
  int4: ["123456", "-7"],
  int8: ["12345678901", "7"],
  oid: ["123456", "7"],
  float4: ["1.25", "0.5"],
  float8: ["-1.25", "0.5"],
  numeric: ["123456.789", "0.5"],
  money: ["12.50", "0"],
  date: ["1984-07-19", "2000-01-01"],
  timestamp: ["1984-07-19 10:11:12.5", "2000-01-01"],
  timestamptz: ["1984-07-19 10:11:12.5+02", "2000-01-01"],
  time: ["10:11:12", "00:00:00"],
  interval: ["3 days 04:05:06", "1 day"],
  bytea: ["\\x4a616e65", "\\x00"],
  inet: ["192.168.17.41", "0.0.0.0"],
  cidr: ["192.168.17.0/24", "0.0.0.0/0"],
  macaddr: ["08:00:2b:01:02:03", "00:00:00:00:00:00"],
  "text[]": ["{Jane,Doe}", "{}"],
  "int4[]": ["{1,2}", "{}"],
  int4range: ["[1,5)", "empty"],
  point: ["(1,2)", "(0,0)"],
  bit: ["1", "0"],
  tsvector: ["'jane':1", ""],
  mood: ["glad", "calm"],
  email: ["jane@mail.example", "someone"],
  pair: ["(Jane,7)", "(x,0)"],
};
const names = Object.keys(types);
const column = (type: string): string => `c${names.indexOf(type)}`;

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;

before(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query(`CREATE TYPE mood AS ENUM ('glad', 'calm'); CREATE DOMAIN email AS text;
    CREATE TYPE pair AS (a text, b int)`);
  await admin.query(
    `CREATE TABLE people (id int, ${names.map((type) => `${column(type)} ${type}`).join(", ")})`,
  );
  const places = names.map((type, index) => `$${index + 1}::text::${type}`).join(", ");
  await admin.query(
    `INSERT INTO people SELECT 1, ${places}`,
    names.map((type) => types[type]?.[0]),
  );
  await admin.query("INSERT INTO people (id) VALUES (2)");
  proxy = await startHarness(server);
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

/** The cells of the one row; undefined: NULL. */
async function rowOf(raw: RawClient, text: string, binary: boolean): Promise<(Buffer | null)[]> {
  raw.send(
    serialize.parse({ text }),
    serialize.bind({ binary }),
    serialize.execute(),
    serialize.sync(),
  );
  const answers = await raw.ready();
  assert.deepEqual(errorsOf(answers), [], text);
  const { body } = answers.find(({ type }) => type === "D") ?? assert.fail("no row");
  const cells: (Buffer | null)[] = [];
  for (let at = 2; at < body.length;) {
    const length = body.readInt32BE(at);
    at += 4;
    cells.push(length < 0 ? null : body.subarray(at, at + length));
    at += Math.max(0, length);
  }
  return cells;
}

/** What PostgreSQL takes these bytes for, sent back to it as a parameter of the type. */
async function readBack(
  type: string,
  cell: Buffer | null,
  binary: boolean,
): Promise<string | undefined> {
  // The driver sends a Buffer in binary.
  const value = cell === null || binary ? cell : cell.toString("utf8");
  try {
    const { rows } = await admin.query(`SELECT ($1::${type})::text AS read`, [value]);
    return rows[0].read ?? undefined;
  } catch (error) {
    throw new Error(`PostgreSQL cannot read ${type}: ${String(value)}`, { cause: error });
  }
}

const transforms: readonly (readonly [string, (type: string) => Transform])[] = [
  ["redact", () => ({ kind: "redact" })],
  ["nullify", () => ({ kind: "nullify" })],
  ["fixed", (type) => ({ kind: "fixed", value: types[type]?.[1] ?? "" })],
  ["a fixed value of no type", () => ({ kind: "fixed", value: "not a value, surely" })],
  ["hash", () => ({ kind: "hash" })],
  ["tokenize", () => ({ kind: "tokenize" })],
  ["partial", () => ({ kind: "partial", keepFirst: 1, keepLast: 2 })],
  ["truncateDate to the year", () => ({ kind: "truncateDate", to: "year" })],
  ["truncateDate to the month", () => ({ kind: "truncateDate", to: "month" })],
  ["truncateDate to the day", () => ({ kind: "truncateDate", to: "day" })],
];

/** Hidden is what differs: NULL is shown as NULL under every transform. */
function assertHidden(type: string, transform: Transform, shown: string | undefined): void {
  const keeps = transform.kind === "truncateDate" && transform.to === "day" && type === "date";
  if (!keeps) assert.notEqual(shown, types[type]?.[0], `${transform.kind} of ${type}`);
}

for (const [title, transformOf] of transforms)
  test(`${title}: every type stays one that PostgreSQL reads, the same in both formats`, async () => {
    proxy.setRules(everything, {
      columnMasks: names.map((type) => ({
        column: `public.people.${column(type)}`,
        transform: transformOf(type),
        policy: "agents/p",
      })),
    });
    const raw = await rawClient(proxy.port);
    const text = await rowOf(raw, "SELECT * FROM people WHERE id = 1", false);
    const binary = await rowOf(raw, "SELECT * FROM people WHERE id = 1", true);
    const seen: string[] = [];
    for (const [index, type] of names.entries()) {
      const transform = transformOf(type);
      const shown = await readBack(type, text[index + 1] ?? null, false);
      assertHidden(type, transform, shown);
      const inBinary = await readBack(type, binary[index + 1] ?? null, true);
      // What has no binary form here is NULL there (docs/masking.md).
      if (inBinary !== undefined || !["numeric", "oid"].includes(type))
        assert.equal(inBinary, shown, `${title} of ${type}`);
      if (shown !== undefined) seen.push(type);
    }
    if (transformOf("text").kind !== "nullify")
      assert.ok(seen.includes("text") || seen.includes("date"), "nothing was shown");
    for (const one of (await rowOf(raw, "SELECT * FROM people WHERE id = 2", true)).slice(1))
      assert.equal(one, null, "NULL stays NULL");
    await raw.end();
  });

test("a row too long for masks ends its result with an error, in SELECT and COPY, and the session goes on", async () => {
  proxy.setRules(everything, {
    columnMasks: [{ column: "public.people.c0", transform: { kind: "redact" }, policy: "p" }],
  });
  const raw = await rawClient(proxy.port);
  const other = await rawClient(proxy.port);
  const text = "SELECT c0, repeat('x', 20000000) FROM people";
  for (const [ask, ended] of [
    [serialize.query(text), /^TEZ$/],
    [serialize.query(`COPY (${text}) TO STDOUT`), /^HEZ$/],
    [
      Buffer.concat([
        serialize.parse({ text }),
        serialize.bind(),
        serialize.execute(),
        serialize.sync(),
      ]),
      /^12EZ$/,
    ],
  ] as const) {
    raw.send(ask, serialize.query("SELECT c0 FROM people WHERE id = 1"));
    const answers = await raw.ready(2);
    assert.deepEqual(errorsOf(answers), ["54000"]);
    const error = answers.find(({ type }) => type === "E") ?? assert.fail();
    assert.match(
      field(error, "M") ?? "",
      /agents\/orders-db has masks, and a row of \d+ bytes is more/,
    );
    const types = typesOf(answers);
    assert.match(types.slice(0, types.indexOf("Z") + 1), ended);
    assert.equal(types.slice(types.indexOf("Z") + 1), "TDCZ");
    assert.equal(proxy.operations().at(-2)?.body.outcome?.error, "LimitExceeded");
  }
  // So long that a client's message of that length would be no protocol.
  raw.send(
    serialize.query("SELECT c0, repeat('x', 100000000) FROM people"),
    serialize.query("SELECT 1"),
  );
  assert.equal(typesOf(await raw.ready(2)), "TEZTDCZ");
  other.send(serialize.query("SELECT 1"));
  assert.equal(typesOf(await other.ready()), "TDCZ");
  await other.end();
  await raw.end();
});
