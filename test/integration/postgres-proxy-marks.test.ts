// Data-flow marks out of a real PostgreSQL: which statements count as having read a marked column, however the column comes into the result.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import type { Bundle, BundleRule } from "../../policy/bundle.ts";
import { PodMarks } from "../../proxy/marks.ts";
import { allow, everything, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
const policy = "agents/invoice-agent";
const emails: Partial<Bundle> = {
  columnMasks: [
    {
      column: "public.customers.email",
      transform: { kind: "partial", keepFirst: 1, keepLast: 0 },
      predicates: "Allow",
      policy,
      marks: [{ mark: "pii", policy }],
    },
    { column: "public.customers.ssn", transform: { kind: "redact" }, policy },
  ],
};

before(async () => {
  server = await startPostgres({ tls: true });
  const admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query(`
    CREATE TABLE customers (id int PRIMARY KEY, name text, email text, ssn text);
    INSERT INTO customers VALUES (1, 'Ann', 'ann@example.com', '123-45-6789');
    CREATE VIEW contacts AS SELECT id, email AS address FROM customers;
    CREATE VIEW chosen AS SELECT id FROM customers WHERE email LIKE 'a%';
    CREATE TABLE notes (id int, body text);
    INSERT INTO notes VALUES (1, 'write to bob@example.org');
  `);
  await admin.end();
});

after(() => server?.stop());

interface Session {
  readonly proxy: Harness;
  readonly marks: PodMarks;
  readonly db: pg.Client;
}

/** A pod's session of its own, with one client of the database. */
async function start(
  t: TestContext,
  changes: Partial<Bundle>,
  rules = everything,
): Promise<Session> {
  const marks = new PodMarks();
  const proxy = await startHarness(server, { marks });
  proxy.setRules(rules, changes);
  const db = new pg.Client({
    host: proxy.host,
    port: proxy.port,
    user: "a",
    password: "b",
    database: "postgres",
  });
  db.on("error", () => undefined);
  await db.connect();
  t.after(async () => {
    await db.end();
    await proxy.close();
  });
  return { proxy, marks, db };
}

const reads = [
  "SELECT email FROM customers",
  "SELECT * FROM customers",
  "SELECT c.email AS harmless FROM customers c",
  "SELECT upper(email) FROM customers",
  "SELECT row_to_json(c) FROM customers c",
  "SELECT address FROM contacts",
  "WITH x AS (SELECT email FROM customers) SELECT * FROM x",
  "SELECT email FROM customers WHERE false",
  "UPDATE customers SET name = name RETURNING email",
  "BEGIN; DECLARE c CURSOR FOR SELECT email FROM customers; FETCH c; COMMIT",
  "SELECT 1; SELECT email FROM customers",
  "SELECT id FROM customers WHERE email = 'ann@example.com'",
  "SELECT count(*) FROM customers GROUP BY email",
  "SELECT id FROM customers ORDER BY email",
  "UPDATE customers SET name = 'Ann' WHERE email LIKE 'a%'",
];
for (const text of reads)
  test(`has read the column: ${text}`, async (t) => {
    const { db, marks, proxy } = await start(t, emails);
    assert.deepEqual(marks.names, []);
    await db.query(text);
    assert.deepEqual(marks.names, ["pii"]);
    const [event, ...more] = proxy.events.filter(({ type }) => type === "mark");
    assert.deepEqual(more, []);
    assert.deepEqual(event?.body.mark, {
      name: "pii",
      policy,
      column: "public.customers.email",
    });
    assert.ok(!JSON.stringify(proxy.events).includes("ann@example.com") || text.includes("ann@"));
  });

const others = [
  "SELECT id, name, ssn FROM customers",
  "SELECT count(*) FROM customers",
  "SELECT id FROM contacts",
  "SELECT id FROM chosen",
  "INSERT INTO customers VALUES (99, 'x', 'y', 'z') ON CONFLICT DO NOTHING",
  "UPDATE customers SET email = 'ann@example.com'",
  "EXPLAIN SELECT email FROM customers",
  "BEGIN; COMMIT",
];
for (const text of others)
  test(`has not read it: ${text}`, async (t) => {
    const { db, marks } = await start(t, emails);
    await db.query(text);
    assert.deepEqual(marks.names, []);
  });

test("a prepared statement puts the mark when it is executed, not when it is described", async (t) => {
  const { proxy, marks } = await start(t, emails);
  const raw = await rawClient(proxy.port);
  raw.send(
    Buffer.concat([
      serialize.parse({ name: "s", text: "SELECT email FROM customers", types: [] }),
      serialize.describe({ type: "S", name: "s" }),
      serialize.sync(),
    ]),
  );
  await raw.ready();
  assert.deepEqual(marks.names, []);
  raw.send(
    Buffer.concat([serialize.bind({ statement: "s" }), serialize.execute({}), serialize.sync()]),
  );
  await raw.ready();
  assert.deepEqual(marks.names, ["pii"]);
  await raw.end();
});

test("COPY TO puts the mark, too", async (t) => {
  const { proxy, marks } = await start(t, emails);
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("COPY customers (id, email) TO STDOUT"));
  await raw.ready();
  assert.deepEqual(marks.names, ["pii"]);
  await raw.end();
});

test("a finding of a detector puts its mark before its row is out, and only a finding does", async (t) => {
  const { db, marks, proxy } = await start(t, {
    detectMasks: [
      {
        detector: "email",
        transform: { kind: "redact" },
        policy,
        marks: [{ mark: "contact", policy }],
      },
    ],
  });
  await db.query("SELECT name FROM customers");
  assert.deepEqual(marks.names, []);
  const { rows } = await db.query<{ body: string }>("SELECT body FROM notes");
  assert.deepEqual(rows, [{ body: "write to [redacted]" }]);
  assert.deepEqual(marks.names, ["contact"]);
  const event = proxy.events.find(({ type }) => type === "mark");
  assert.equal(event?.body.mark?.detector, "email");
});

test("a Connection's marks come with the first statement that may read, not with what a driver sends to begin", async (t) => {
  const { db, marks } = await start(t, { marks: ["internal"] });
  await db.query("SET application_name = 'x'");
  await db.query("BEGIN");
  await db.query("COMMIT");
  assert.deepEqual(marks.names, []);
  await db.query("SELECT name FROM customers");
  assert.deepEqual(marks.names, ["internal"]);
});

const noCopy: readonly BundleRule[] = [
  allow(undefined, "anything"),
  {
    ...allow({ relations: ["public.notes"], statements: ["insert"] }, "no-pii"),
    action: "Deny",
    when: "session.marks.exists(m, m == 'pii')",
  },
];

test("a COPY FROM that was going on when the mark came takes no more rows", async (t) => {
  const { proxy, marks, db } = await start(t, emails, noCopy);
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("COPY notes FROM STDIN"));
  await raw.until((answers) => answers.some(({ type }) => type === "G"));
  raw.send(serialize.copyData(Buffer.from("2\tbefore\n")));
  await db.query("SELECT email FROM customers");
  assert.deepEqual(marks.names, ["pii"]);
  raw.send(Buffer.concat([serialize.copyData(Buffer.from("3\tann\n")), serialize.copyDone()]));
  const answers = await raw.until(() => raw.closed);
  assert.deepEqual(errorsOf(answers).at(-1), "42501");
  const { rows } = await db.query("SELECT id FROM notes WHERE id > 1");
  assert.deepEqual(rows, []);
  await assert.rejects(db.query("INSERT INTO notes VALUES (4, 'x')"), /carries the mark pii/);
  await raw.end();
});

test("a portal that was bound before the mark came is decided with it when it is executed", async (t) => {
  const { proxy, marks, db } = await start(t, emails, noCopy);
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.parse({ text: "INSERT INTO notes VALUES (5, 'bound')", types: [] }),
    serialize.bind({ portal: "p" }),
    serialize.flush(),
  );
  await raw.until((answers) => answers.some(({ type }) => type === "2"));
  await db.query("SELECT email FROM customers");
  assert.deepEqual(marks.names, ["pii"]);
  raw.send(serialize.execute({ portal: "p" }), serialize.sync());
  assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
  assert.equal((await db.query("SELECT id FROM notes WHERE id = 5")).rowCount, 0);
  await raw.end();
});
