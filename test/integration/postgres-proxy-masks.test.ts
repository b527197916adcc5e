import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import type { Bundle } from "../../policy/bundle.ts";
import { everything, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, field, rawClient, rowsOf, statusOf, typesOf } from "./postgres-proxy-raw.ts";
import type { RawClient } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;
const secret = "123-45-6789";
const masked = "*******6789";

const ssnMask: Partial<Bundle> = {
  columnMasks: [
    {
      column: "public.customers.ssn",
      transform: { kind: "partial", keepFirst: 0, keepLast: 4 },
      policy: "agents/invoice-agent",
    },
    {
      column: "public.customers.born",
      transform: { kind: "truncateDate", to: "year" },
      policy: "p",
    },
    { column: "public.customers.score", transform: { kind: "redact" }, policy: "p" },
  ],
};

before(async () => {
  server = await startPostgres({ tls: true });
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query(`
    CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, ssn text CHECK (length(ssn) < 20), born date, score int);
    INSERT INTO customers SELECT g, 'name ' || g, '${secret}', date '1984-07-01' + g % 9, g FROM generate_series(1, 500) g;
    CREATE VIEW customer_view AS SELECT id, ssn FROM customers;
    CREATE VIEW harmless_view AS SELECT id, name FROM customers;
    CREATE TABLE odd (a text, b text, c int);
    INSERT INTO odd VALUES (E'x\\t\\\\y', E'l1\\nl2\\t\\\\N', 1), (NULL, NULL, 2);
    CREATE TABLE notes (id int, body text, doc jsonb);
    INSERT INTO notes VALUES (1, 'write to ann@example.com or bob@example.org', '{"mail":"ann@example.com","n":1}');
  `);
  proxy = await startHarness(server);
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

async function client(): Promise<pg.Client> {
  const db = new pg.Client({
    host: proxy.host,
    port: proxy.port,
    user: "a",
    password: "b",
    database: "postgres",
  });
  db.on("error", () => undefined);
  await db.connect();
  return db;
}

function run(text: string, binary = false): Buffer {
  return Buffer.concat([
    serialize.parse({ text, types: [] }),
    serialize.bind({ binary }),
    serialize.describe({ type: "P" }),
    serialize.execute({}),
    serialize.sync(),
  ]);
}

async function everyForm(raw: RawClient, text: string): Promise<(string | null)[][][]> {
  raw.send(serialize.query(text));
  const simple = rowsOf(await raw.ready());
  raw.send(run(text));
  const extended = rowsOf(await raw.ready());
  return [simple, extended];
}

test("a masked column is masked by its table and number: star, alias, join, sub-select of others, RETURNING, FETCH", async () => {
  proxy.setRules(everything, ssnMask);
  const raw = await rawClient(proxy.port);
  for (const [text, column] of [
    ["SELECT * FROM customers WHERE id = 1", 2],
    ["SELECT * FROM customer_view WHERE id = 1", 1],
    ["SELECT s.x FROM (SELECT ssn AS x FROM customers WHERE id = 1) s", 0],
    ["SELECT ssn AS name FROM customers WHERE id = 1", 0],
    ["SELECT c.name, c.ssn FROM customers c JOIN notes n ON n.id = c.id", 1],
    ["TABLE customers LIMIT 1", 2],
    ["SELECT (SELECT count(*) FROM notes), ssn FROM customers WHERE id = 1", 1],
  ] as const) {
    for (const rows of await everyForm(raw, text)) assert.equal(rows[0]?.[column], masked, text);
  }
  raw.send(
    serialize.query("BEGIN"),
    serialize.query("DECLARE c CURSOR FOR SELECT id, ssn FROM customers"),
    serialize.query("FETCH 2 FROM c"),
    serialize.query("ROLLBACK"),
  );
  const answers = await raw.ready(4);
  assert.deepEqual(
    rowsOf(answers).map((row) => row[1]),
    [masked, masked],
  );
  assert.equal(
    JSON.stringify(answers.map(({ body }) => body.toString("latin1"))).includes(secret),
    false,
  );
  const event = proxy
    .operations()
    .find(({ body }) => body.operation?.summary.startsWith("TABLE customers"));
  assert.deepEqual(event?.body.outcome?.masked?.columns, [
    "public.customers.ssn",
    "public.customers.born",
    "public.customers.score",
  ]);
  await raw.end();
});

test("other types: a date is cut, a number that cannot be redacted is NULL, in text and in binary", async () => {
  proxy.setRules(everything, ssnMask);
  const raw = await rawClient(proxy.port);
  for (const rows of await everyForm(raw, "SELECT born, score, id FROM customers WHERE id = 3"))
    assert.deepEqual(rows, [["1984-01-01", null, "3"]]);
  raw.send(run("SELECT born, score, ssn FROM customers WHERE id = 3", true));
  const binary = await raw.ready();
  const row = binary.find(({ type }) => type === "D")?.body ?? assert.fail();
  // 1984-01-01 is day -5844 of PostgreSQL's calendar.
  assert.equal(row.readInt32BE(6), -5844);
  assert.equal(row.readInt32BE(10), -1);
  assert.equal(row.toString("utf8", 18), masked);
  await raw.end();
});

test("a prepared statement is masked on every execution, also when the driver never describes it again or at all", async () => {
  proxy.setRules(everything, ssnMask);
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.parse({ name: "s", text: "SELECT ssn FROM customers WHERE id < 3", types: [] }),
    serialize.describe({ type: "S", name: "s" }),
    serialize.sync(),
  );
  assert.equal(typesOf(await raw.ready()), "1tTZ");
  for (const binary of [false, true, false]) {
    raw.send(serialize.bind({ statement: "s", binary }), serialize.execute({}), serialize.sync());
    const answers = await raw.ready();
    assert.equal(typesOf(answers), "2DDCZ", "our own Describe is not shown");
    assert.deepEqual(rowsOf(answers), [[masked], [masked]]);
  }
  raw.send(
    serialize.query("BEGIN"),
    serialize.bind({ statement: "s", portal: "p" }),
    serialize.execute({ portal: "p", rows: 1 }),
    serialize.execute({ portal: "p", rows: 1 }),
    serialize.sync(),
    serialize.query("COMMIT"),
  );
  assert.deepEqual(rowsOf(await raw.ready(3)), [[masked], [masked]]);
  await raw.end();
});

test("masks that come while a statement is prepared apply to its next execution", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.parse({ name: "s", text: "SELECT ssn FROM customers WHERE id = 1", types: [] }),
    serialize.sync(),
  );
  await raw.ready();
  const execute = Buffer.concat([
    serialize.bind({ statement: "s" }),
    serialize.execute({}),
    serialize.sync(),
  ]);
  raw.send(execute);
  assert.deepEqual(rowsOf(await raw.ready()), [[secret]]);
  proxy.setRules(everything, ssnMask);
  raw.send(execute);
  assert.deepEqual(rowsOf(await raw.ready()), [[masked]]);
  await raw.end();
});

test("what is computed from a masked column is masked whole, in text and binary, at every execution", async () => {
  proxy.setRules(everything, ssnMask);
  const raw = await rawClient(proxy.port);
  const hidden = "[redacted]";
  const json = '"[redacted]"';
  const cases: readonly (readonly [string, readonly (string | null)[]])[] = [
    ["SELECT upper(ssn), ssn || '', id FROM customers WHERE id = 7", [hidden, hidden, "7"]],
    [
      "SELECT ssn::text, length(ssn), reverse(ssn) FROM customers WHERE id = 7",
      [masked, null, hidden],
    ],
    [
      "SELECT row_to_json(c), to_jsonb(c), c, c.id FROM customers c WHERE id = 7",
      [json, json, null, "7"],
    ],
    [
      "WITH x AS (SELECT ssn, ssn || 'x' AS y, name FROM customers WHERE id = 7) SELECT * FROM x",
      [masked, hidden, "name 7"],
    ],
    [
      "SELECT ssn FROM customers WHERE id = 7 UNION ALL SELECT ssn FROM customers WHERE id = 8",
      [masked],
    ],
    ["SELECT v.*, lower(v.ssn) FROM customer_view v WHERE id = 7", ["7", masked, hidden]],
    [
      "SELECT (SELECT ssn FROM customers WHERE id = n.id), count(*) FROM notes n GROUP BY id",
      [hidden, "1"],
    ],
    [
      "SELECT min(ssn), count(ssn), json_agg(ssn), array_agg(ssn) FROM customers",
      [hidden, "500", json, null],
    ],
    ["SELECT CASE WHEN id = 7 THEN NULL ELSE ssn END FROM customers WHERE id = 7", [hidden]],
    [
      "UPDATE customers SET score = 3 WHERE id = 7 RETURNING id, ssn, lower(ssn)",
      ["7", masked, hidden],
    ],
  ];
  for (const [text, expected] of cases)
    for (const rows of await everyForm(raw, text)) assert.deepEqual(rows[0], expected, text);
  raw.send(
    serialize.parse({
      name: "derived",
      text: "SELECT upper(ssn), to_jsonb(ssn) FROM customers WHERE id < $1",
      types: [],
    }),
    serialize.sync(),
  );
  await raw.ready();
  for (let round = 0; round < 100; round++) {
    const binary = round % 2 === 1;
    raw.send(
      serialize.bind({ statement: "derived", values: ["3"], binary }),
      serialize.execute({}),
      serialize.sync(),
    );
    const expected = [hidden, binary ? `\u0001${json}` : json];
    assert.deepEqual(rowsOf(await raw.ready()), [expected, expected]);
  }
  raw.send(
    serialize.query("SELECT 1; SELECT upper(ssn), id FROM customers WHERE id = 1; SELECT 'x'"),
  );
  assert.deepEqual(rowsOf(await raw.ready()), [["1"], [hidden, "1"], ["x"]]);
  await raw.end();
});

test("a cursor is masked by what declared it, and one that nobody here declared is not read", async () => {
  proxy.setRules(everything, ssnMask);
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.query("BEGIN"),
    serialize.query("DECLARE c CURSOR FOR SELECT id, upper(ssn) FROM customers ORDER BY id"),
    serialize.query("FETCH 2 FROM c"),
    serialize.query(
      "CLOSE c; DECLARE c CURSOR FOR SELECT lower(ssn), id FROM customers ORDER BY id",
    ),
    serialize.query("FETCH 1 FROM c"),
    serialize.query("DECLARE d BINARY CURSOR FOR SELECT to_jsonb(ssn) FROM customers"),
    serialize.query("FETCH 1 FROM d"),
  );
  const answers = await raw.ready(7);
  assert.deepEqual(errorsOf(answers), []);
  const [first, second, other, last] = rowsOf(answers);
  assert.deepEqual(
    [first, second],
    [
      ["1", "[redacted]"],
      ["2", "[redacted]"],
    ],
  );
  // Under one name two texts are known; what is the column itself needs none of them.
  assert.deepEqual(other, ["[redacted]", "1"]);
  assert.deepEqual(last, ['\u0001"[redacted]"']);
  raw.send(
    serialize.parse({ text: "SELECT upper(ssn) FROM customers", types: [] }),
    serialize.bind({ portal: "p" }),
    serialize.flush(),
    serialize.sync(),
    serialize.query("FETCH 1 FROM p"),
    serialize.query("ROLLBACK"),
  );
  const refused = await raw.ready(3);
  assert.deepEqual(errorsOf(refused), ["42501"]);
  assert.deepEqual(rowsOf(refused), []);
  await raw.end();
});

test("COPY TO in text and CSV is masked field by field; other delimiters are refused", async () => {
  proxy.setRules(everything, {
    columnMasks: [
      ...(ssnMask.columnMasks ?? []),
      {
        column: "public.odd.b",
        transform: { kind: "partial", keepFirst: 0, keepLast: 2 },
        policy: "p",
      },
    ],
  });
  const raw = await rawClient(proxy.port);
  const copied = async (text: string): Promise<string[]> => {
    raw.send(serialize.query(text));
    const answers = await raw.ready();
    assert.deepEqual(errorsOf(answers), [], text);
    return answers.flatMap(({ type, body }) => (type === "d" ? [body.toString()] : []));
  };
  assert.equal(
    (await copied("COPY customers TO STDOUT"))[3],
    `4\tname 4\t${masked}\t1984-01-01\t\\N\n`,
  );
  assert.deepEqual(
    await copied("COPY (SELECT id, upper(ssn), ssn FROM customers WHERE id = 2) TO STDOUT"),
    [`2\t\\N\t${masked}\n`],
  );
  assert.deepEqual(await copied("COPY odd TO STDOUT (FORMAT text)"), [
    "x\\t\\\\y\t******\\\\N\t1\n",
    "\\N\t\\N\t2\n",
  ]);
  assert.equal(
    (await copied("COPY customers (id, name) TO STDOUT (FORMAT csv, HEADER)"))[1],
    "1,name 1\n",
  );
  assert.deepEqual(await copied("COPY odd TO STDOUT (FORMAT csv, HEADER)"), [
    "a,b,c\n",
    "x\t\\y,******\\N,1\n",
    ",,2\n",
  ]);
  assert.deepEqual(
    await copied(
      "COPY (SELECT 'a,\"b\n', ssn, upper(ssn), '' FROM customers WHERE id = 1) TO STDOUT CSV",
    ),
    [`"a,""b\n",${masked},,""\n`],
  );
  // Before PostgreSQL 15 text has no header.
  if (server.major >= 15)
    assert.deepEqual(
      await copied("COPY (SELECT id, ssn FROM customers WHERE id < 2) TO STDOUT (HEADER)"),
      ["id\tssn\n", `1\t${masked}\n`],
    );
  for (const options of ["(DELIMITER ';')", "(NULL 'x')", "(FORMAT csv, FORCE_QUOTE *)"]) {
    raw.send(serialize.query(`COPY customers TO STDOUT ${options}`));
    const answers = await raw.ready();
    assert.deepEqual(errorsOf(answers), ["42501"], options);
    assert.deepEqual(
      answers.filter(({ type }) => type === "d"),
      [],
    );
  }
  await raw.end();
});

test("COPY TO in binary is masked field by field, and is the server's own to the byte but for that", async () => {
  const raw = await rawClient(proxy.port);
  const bytesOf = async (...messages: readonly Buffer[]): Promise<Buffer> => {
    raw.send(...messages);
    const answers = await raw.ready();
    assert.deepEqual(errorsOf(answers), []);
    return Buffer.concat(answers.flatMap(({ type, body }) => (type === "d" ? [body] : [])));
  };
  const copied = async (text: string): Promise<Buffer> => {
    const simple = await bytesOf(serialize.query(text));
    const extended = await bytesOf(
      serialize.parse({ text, types: [] }),
      serialize.bind({}),
      serialize.execute({}),
      serialize.sync(),
    );
    assert.deepEqual(extended, simple);
    return simple;
  };
  const columns = "id, name, 7::int8, now()::date, NULL::text";
  for (const [shown, direct] of [
    [
      `COPY (SELECT ${columns}, ssn, upper(ssn) FROM customers) TO STDOUT (FORMAT binary)`,
      `COPY (SELECT ${columns}, overlay(ssn PLACING '*******' FROM 1 FOR 7), NULL::text FROM customers) TO STDOUT (FORMAT binary)`,
    ],
    [
      "COPY customers (ssn, id) TO STDOUT BINARY",
      "COPY (SELECT overlay(ssn PLACING '*******' FROM 1 FOR 7), id FROM customers) TO STDOUT BINARY",
    ],
    [
      "COPY customers TO STDOUT (FORMAT binary)",
      "COPY (SELECT id, name, overlay(ssn PLACING '*******' FROM 1 FOR 7), date_trunc('year', born)::date, NULL::int FROM customers) TO STDOUT BINARY",
    ],
    ["COPY (SELECT ssn FROM customers WHERE false) TO STDOUT BINARY", undefined],
    ["COPY (SELECT id FROM customers) TO STDOUT BINARY", undefined],
  ] as const) {
    proxy.setRules(everything, ssnMask);
    const masks = await copied(shown);
    proxy.setRules(everything);
    assert.deepEqual(masks, await copied(direct ?? shown), shown);
  }
  await raw.end();
});

test("what would tell or store a masked value is refused, and the value is nowhere", async () => {
  proxy.setRules(everything, ssnMask);
  const raw = await rawClient(proxy.port);
  for (const text of [
    "SELECT ssn = '123-45-6789' FROM customers",
    "SELECT 1 / (length(ssn) - 11) FROM customers",
    "SELECT ssn::int FROM customers",
    "SELECT generate_series(1, length(ssn)) FROM customers",
    "SELECT ssn FROM customers UNION SELECT 'x'",
    "SELECT ssn FROM customers ORDER BY ssn",
    "SELECT id FROM customers WHERE ssn LIKE '123%'",
    "SELECT id FROM customer_view WHERE ssn LIKE '123%'",
    "EXPLAIN SELECT id FROM customers WHERE ssn > '1'",
    "CREATE TABLE stolen AS SELECT ssn FROM customers",
    "INSERT INTO notes (body) SELECT ssn FROM customers",
    "ALTER VIEW customer_view RENAME COLUMN ssn TO x",
    "DO $$ BEGIN RAISE NOTICE '%', (SELECT ssn FROM customers LIMIT 1); END $$",
  ]) {
    raw.send(
      serialize.query(text),
      serialize.parse({ text, types: [] }),
      serialize.bind({}),
      serialize.execute({}),
      serialize.sync(),
    );
    const answers = await raw.ready(2);
    assert.deepEqual(errorsOf(answers), ["42501", "42501"], text);
    assert.equal(
      JSON.stringify(answers.map(({ body }) => body.toString("latin1"))).includes(secret),
      false,
      text,
    );
    assert.equal(statusOf(answers), "II");
  }
  raw.send(serialize.query("SELECT name FROM harmless_view WHERE id = 1"));
  assert.deepEqual(rowsOf(await raw.ready()), [["name 1"]]);
  await raw.end();
});

test("errors keep their code and lose what could quote a row", async () => {
  proxy.setRules(everything, ssnMask);
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("UPDATE customers SET name = NULL WHERE id = 1"));
  const [error] = await raw.ready();
  assert.ok(error !== undefined);
  assert.equal(field(error, "C"), "23502");
  assert.match(field(error, "M") ?? "", /null value in column "name"/);
  assert.equal(field(error, "D"), undefined);
  assert.equal(error.body.includes(secret), false);
  raw.send(serialize.query("SELECT name::int FROM customers"));
  const cast = (await raw.ready()).find(({ type }) => type === "E");
  assert.ok(cast !== undefined);
  assert.equal(field(cast, "C"), "22P02");
  assert.doesNotMatch(cast.body.toString("utf8"), /name 1/);
  await raw.end();
});

test("a token looks like its value, is the same in both formats and at every execution, and cannot be asked for", async () => {
  proxy.setRules(everything, {
    columnMasks: [{ column: "public.customers.ssn", transform: { kind: "tokenize" }, policy: "p" }],
  });
  const raw = await rawClient(proxy.port);
  const tokens = new Set<string | null | undefined>();
  for (const text of [
    "SELECT ssn FROM customers WHERE id = 1",
    "SELECT x.s::text FROM (SELECT ssn AS s FROM customers) x",
  ]) {
    for (const rows of await everyForm(raw, text)) tokens.add(rows[0]?.[0]);
    raw.send(run(text, true));
    tokens.add(rowsOf(await raw.ready())[0]?.[0]);
  }
  const [token] = tokens;
  assert.equal(tokens.size, 1);
  assert.match(token ?? "", /^\d{3}-\d\d-\d{4}$/);
  assert.notEqual(token, secret);
  raw.send(
    serialize.query(
      `INSERT INTO customers (id, name, ssn) VALUES (900, 'n', '${secret}') RETURNING ssn`,
    ),
  );
  assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
  raw.send(serialize.query(`SELECT ssn FROM customers WHERE id = 1 UNION ALL SELECT '${secret}'`));
  assert.deepEqual(rowsOf(await raw.ready()), [["[redacted]"], ["[redacted]"]]);
  await raw.end();
});

test("masked rows stream: the first comes while the server still works on the rest", async () => {
  proxy.setRules(everything, ssnMask);
  const raw = await rawClient(proxy.port);
  // 125 million rows: nobody waits for the last.
  raw.send(serialize.query("SELECT a.ssn FROM customers a, customers b, customers c"));
  const first = await raw.until((answers) =>
    answers.some(({ type }) => type === "D" || type === "E"),
  );
  assert.equal(rowsOf(first)[0]?.[0], masked);
  raw.socket.resetAndDestroy();
});

test("tables altered between proof and execution do not move a masked value to where nobody masks it", async () => {
  proxy.setRules(everything, ssnMask);
  await admin.query(`CREATE TABLE left_side (id int, body text); CREATE TABLE right_side (id int);
    INSERT INTO left_side VALUES (1, 'l'); INSERT INTO right_side VALUES (2)`);
  const watcher = new pg.Client({ connectionString: server.superuserUrl });
  await watcher.connect();
  const raw = await rawClient(proxy.port);
  const sides = "left_side l, customers c, right_side r WHERE c.id = 1";
  const attempts: readonly (readonly [string, string])[] = [
    // The name no longer means the table's column.
    [
      "ALTER TABLE left_side DROP COLUMN body",
      "SELECT (SELECT body FROM left_side) FROM (SELECT ssn AS body FROM customers WHERE id = 1) c",
    ],
    // As many columns as before, one place further left.
    [
      "ALTER TABLE left_side DROP COLUMN id; ALTER TABLE right_side ADD COLUMN more int",
      `SELECT l.*, lower(c.ssn), r.* FROM ${sides}`,
    ],
    [
      "ALTER TABLE left_side ADD COLUMN id int; ALTER TABLE right_side DROP COLUMN more",
      `SELECT l.*, lower(c.ssn), r.* FROM ${sides} UNION ALL SELECT l.*, '', r.* FROM ${sides}`,
    ],
  ];
  for (const [alter, text] of attempts) {
    // The catalog of the room is read anew, before the change can be seen.
    raw.send(
      serialize.query("CREATE TABLE now_read (id int); DROP TABLE now_read"),
      serialize.query("SELECT * FROM left_side"),
    );
    assert.deepEqual(errorsOf(await raw.ready(2)), []);
    await admin.query("BEGIN");
    await admin.query(alter);
    raw.send(serialize.query(text));
    for (;;) {
      const { rows } = await watcher.query(
        "SELECT count(*)::int AS waiting FROM pg_locks WHERE NOT granted",
      );
      if (rows[0].waiting > 0) break;
    }
    await admin.query("COMMIT");
    const answers = await raw.ready();
    const seen = answers.map(({ body }) => body.toString("latin1")).join();
    assert.equal(seen.includes(secret), false, `${text}: ${seen}`);
    assert.ok(errorsOf(answers)[0] === "42501" || seen.includes("[redacted]"), `${text}: ${seen}`);
  }
  await watcher.end();
  await admin.query("DROP TABLE left_side, right_side");
  await raw.end();
});

test("a failed transaction can be ended also when the catalog would have to be read first", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("BEGIN"), serialize.query("SELECT 1 / 0"));
  assert.equal(statusOf(await raw.ready(2)), "TE");
  proxy.setRules(everything, ssnMask);
  const other = await rawClient(proxy.port);
  other.send(serialize.query("CREATE TABLE changes_the_catalog (id int)"));
  await other.ready();
  await other.end();
  raw.send(serialize.query("SELECT name FROM customers"), serialize.query("ROLLBACK"));
  const answers = await raw.ready(2);
  assert.deepEqual(errorsOf(answers), ["25P02"]);
  assert.equal(statusOf(answers), "EI");
  await raw.end();
});

test("what would have to be looked up in a failed transaction hears that it failed, and what its end is", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port);
  for (const text of [
    "BEGIN",
    "SELECT 1 / 0",
    "CREATE TABLE never_made (id int)",
    "SAVEPOINT never_there",
    "SELECT setval('never_made_id_seq', 1)",
    "ROLLBACK",
  ])
    raw.send(serialize.query(text));
  const answers = await raw.ready(6);
  assert.deepEqual(errorsOf(answers), ["22012", "25P02", "25P02", "25P02"]);
  assert.equal(statusOf(answers), "TEEEEI");
  await raw.end();
});

test("a pinned setting in a transaction that changed the schema is refused as itself", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port);
  for (const text of ["BEGIN", "CREATE TABLE taken_back (id int)", "SET search_path = elsewhere"])
    raw.send(serialize.query(text));
  const answers = await raw.ready(3);
  assert.match(
    answers.flatMap((a) => (a.type === "E" ? [field(a, "M")] : [])).join(),
    /search_path/,
  );
  await raw.end();
});

test("tables created by the agent or by others are known by the next statement", async () => {
  proxy.setRules(everything, ssnMask);
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("CREATE TABLE mine (id int)"), serialize.query("SELECT * FROM mine"));
  assert.deepEqual(
    (await raw.ready(2)).flatMap((a) => (a.type === "E" ? [field(a, "M")] : [])),
    [],
  );
  raw.send(
    serialize.query("BEGIN"),
    serialize.query("CREATE TABLE mine2 (id int)"),
    serialize.query("SELECT * FROM mine2"),
    serialize.query("ROLLBACK"),
  );
  const answers = await raw.ready(4);
  assert.deepEqual(errorsOf(answers), []);
  assert.equal(statusOf(answers), "TTTI");
  await admin.query("DROP TABLE customers CASCADE");
  await admin.query(
    `CREATE TABLE customers (ssn text, id int, name text, born date, score int); INSERT INTO customers VALUES ('${secret}', 1, 'n', now(), 1)`,
  );
  for (let attempt = 0; attempt < 3; attempt++) {
    raw.send(serialize.query("SELECT ssn FROM customers"));
    const [row] = rowsOf(await raw.ready());
    assert.notEqual(row?.[0], secret);
    if (row?.[0] === masked) break;
    assert.notEqual(attempt, 2, "the new table is masked once the catalog is read again");
  }
  await raw.end();
});

test("detectors mask what they find in any text, and the recording holds the masked rows", async () => {
  proxy.setRules(everything, {
    detectMasks: [{ detector: "email", transform: { kind: "redact" }, policy: "p" }],
    recording: { detail: "Full", strict: false, retentionDays: 1 },
  });
  const raw = await rawClient(proxy.port);
  for (const rows of await everyForm(raw, "SELECT body, doc, 'x' || body FROM notes")) {
    assert.equal(rows[0]?.[0], "write to [redacted] or [redacted]");
    assert.equal(rows[0]?.[1], '{"n": 1, "mail": "[redacted]"}');
    assert.doesNotMatch(rows[0]?.[2] ?? "", /@/);
  }
  raw.send(run("SELECT body, doc, ARRAY[body], id FROM notes", true));
  const binary =
    (await raw.ready()).find(({ type }) => type === "D")?.body.toString("latin1") ?? "";
  assert.match(binary, /write to \[redacted\] or/);
  assert.doesNotMatch(binary, /@/);
  raw.send(serialize.query("COPY notes TO STDOUT"));
  assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
  const event = proxy
    .operations()
    .find(({ body }) => body.operation?.summary.startsWith("SELECT body, doc, 'x'"));
  assert.deepEqual(event?.body.outcome?.masked?.detected, { email: 5 });
  assert.doesNotMatch(JSON.stringify(proxy.events), /@example/);
  await raw.end();
});

test("drivers see masked values through their own paths", async () => {
  proxy.setRules(everything, ssnMask);
  const db = await client();
  assert.equal(
    (await db.query("SELECT ssn FROM customers WHERE id = $1", [1])).rows[0].ssn,
    masked,
  );
  for (let round = 0; round < 3; round++) {
    const { rows } = await db.query({
      name: "n",
      text: "SELECT ssn, score FROM customers WHERE id = $1",
      values: [1],
    });
    assert.deepEqual(rows, [{ ssn: masked, score: null }]);
  }
  await db.end();
});
