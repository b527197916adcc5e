// The catalog that masks go by grows old in the middle of a pipeline, where it cannot be read: what was begun is finished with it, for a while.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import { everything, startHarness, type Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient, rowsOf, type Answer } from "./postgres-proxy-raw.ts";
import { postgresAvailable, startPostgres, type PostgresServer } from "./postgres-server.ts";

const skip = postgresAvailable() ? false : "the embedded PostgreSQL is not installed";
const masked = {
  columnMasks: [{ column: "public.people.ssn", transform: { kind: "redact" }, policy: "agents/p" }],
} as const;

let server: PostgresServer;
let proxy: Harness;
let clockMs = 0;

before(async () => {
  if (skip !== false) return;
  server = await startPostgres();
  const admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query("CREATE TABLE people (ssn text); INSERT INTO people VALUES ('123-45-6789')");
  await admin.end();
  proxy = await startHarness(server, { now: () => clockMs });
});

after(async () => {
  await proxy?.close();
  await server?.stop();
});

const run = Buffer.concat([
  serialize.bind({ statement: "s" }),
  serialize.describe({ type: "P" }),
  serialize.execute({}),
]);

test(
  "what was begun is finished with the catalog it was begun with, but not for ever: then one is read beside it",
  { skip },
  async () => {
    proxy.setRules(everything, masked);
    const raw = await rawClient(proxy.port);
    raw.send(
      serialize.parse({ name: "s", text: "SELECT ssn FROM people", types: [] }),
      serialize.sync(),
    );
    await raw.ready();
    const rows = async (): Promise<unknown> =>
      rowsOf(await raw.until((answers) => answers.some(({ type }) => type === "C")));

    raw.send(run, serialize.flush());
    assert.deepEqual(await rows(), [["[redacted]"]]);
    clockMs += 61_000;
    raw.send(run, serialize.flush());
    assert.deepEqual(await rows(), [["[redacted]"]], "the pipeline goes on");
    clockMs += 60_000;
    const before = proxy.dialled();
    raw.send(run, serialize.flush());
    assert.deepEqual(await rows(), [["[redacted]"]]);
    assert.equal(proxy.dialled(), before + 1);
    raw.send(serialize.sync());
    await raw.ready();
    raw.send(run, serialize.sync());
    assert.deepEqual(rowsOf(await raw.ready()), [["[redacted]"]]);
    await raw.end();
  },
);

test(
  "an empty query, as drivers ping with, leaves the catalog as it was, in a pipeline too",
  { skip },
  async () => {
    proxy.setRules(everything, masked);
    const raw = await rawClient(proxy.port);
    raw.send(serialize.query("SELECT ssn FROM people"));
    assert.deepEqual(rowsOf(await raw.ready()), [["[redacted]"]]);
    for (const nothing of ["", " ; ", "-- ping"]) {
      raw.send(serialize.query(nothing), serialize.close({ type: "S", name: "a" }));
      raw.send(serialize.query("SELECT ssn FROM people"));
      assert.deepEqual(rowsOf(await raw.ready(2)), [["[redacted]"]], `after ${nothing}`);
    }
    await raw.end();
  },
);

test(
  "reading the catalog anew leaves the client what it prepared and bound without a name, as it does at the server",
  { skip },
  async () => {
    proxy.setRules(everything, masked);
    const raw = await rawClient(proxy.port);
    raw.send(serialize.parse({ text: "SELECT ssn FROM people" }), serialize.sync());
    await raw.ready();
    const unnamed = Buffer.concat([serialize.bind({}), serialize.execute({}), serialize.sync()]);
    for (const where of ["outside a transaction", "in a transaction"]) {
      clockMs += 61_000;
      raw.send(unnamed);
      const answers = await raw.ready();
      assert.deepEqual(errorsOf(answers), [], where);
      assert.deepEqual(rowsOf(answers), [["[redacted]"]], where);
      raw.send(serialize.query("BEGIN"));
      await raw.ready();
      raw.send(serialize.parse({ text: "SELECT ssn FROM people" }), serialize.sync());
      await raw.ready();
    }
    raw.send(serialize.bind({}), serialize.sync());
    await raw.ready();
    clockMs += 61_000;
    raw.send(serialize.parse({ name: "other", text: "SELECT ssn FROM people" }), serialize.sync());
    assert.deepEqual(errorsOf(await raw.ready()), []);
    raw.send(serialize.execute({}), serialize.sync());
    assert.deepEqual(rowsOf(await raw.ready()), [["[redacted]"]], "the portal");
    await raw.end();
  },
);

for (const [what, text] of [
  ["as a whole row", "SELECT row_to_json(w) FROM whole w"],
  ["as text", "SELECT w::text FROM whole w"],
  ["in a sub-query", "SELECT to_json(x) FROM (SELECT * FROM whole) x"],
  ["in COPY", "COPY whole TO STDOUT"],
] as const)
  test(
    `a column that another session adds or renames to what a mask names is seen within seconds, ${what}`,
    { skip },
    async (t) => {
      const admin = new pg.Client({ connectionString: server.superuserUrl });
      await admin.connect();
      t.after(() => admin.end());
      await admin.query("DROP TABLE IF EXISTS whole; CREATE TABLE whole (id int, note text)");
      await admin.query("INSERT INTO whole VALUES (1, 'secret')");
      proxy.setRules(everything, {
        columnMasks: [{ column: "public.*.email", transform: { kind: "redact" }, policy: "p" }],
      });
      const raw = await rawClient(proxy.port);
      t.after(() => raw.end());
      clockMs += 61_000;
      raw.send(serialize.query(text));
      const shows = (answers: readonly Answer[]): boolean =>
        answers.some(({ body }) => body.includes("secret"));
      assert.equal(shows(await raw.ready()), true);
      await admin.query("ALTER TABLE whole RENAME note TO email");
      clockMs += 2_000;
      raw.send(serialize.query(text));
      assert.equal(shows(await raw.ready()), false);
    },
  );

for (const [what, mask, ddl, text] of [
  ["renamed to what a mask names", "public.*.email", "RENAME note TO email", "SELECT * FROM whole"],
  ["added", "public.*.email", "ADD email text DEFAULT 'secret', DROP note", "SELECT * FROM whole"],
  [
    "given the place of a masked one",
    "public.whole.ssn",
    "DROP ssn; ALTER TABLE whole RENAME note TO ssn",
    "SELECT ssn FROM whole",
  ],
  [
    "given the place of a masked one, in *",
    "public.whole.ssn",
    "DROP ssn; ALTER TABLE whole RENAME note TO ssn",
    "SELECT * FROM whole",
  ],
  [
    "given the place of a masked one, in a sub-query",
    "public.whole.ssn",
    "DROP ssn; ALTER TABLE whole RENAME note TO ssn",
    "SELECT * FROM (SELECT * FROM whole) x",
  ],
] as const)
  test(
    `a column that another session has just ${what} is not shown, however young the catalog is`,
    { skip },
    async (t) => {
      const admin = new pg.Client({ connectionString: server.superuserUrl });
      await admin.connect();
      t.after(() => admin.end());
      await admin.query(
        "DROP TABLE IF EXISTS whole; CREATE TABLE whole (id int, note text, ssn text)",
      );
      await admin.query("INSERT INTO whole VALUES (1, 'secret', 'ssn')");
      proxy.setRules(everything, {
        columnMasks: [{ column: mask, transform: { kind: "redact" }, policy: "p" }],
      });
      const raw = await rawClient(proxy.port);
      t.after(() => raw.end());
      clockMs += 61_000;
      raw.send(serialize.query("SELECT id FROM whole"));
      await raw.ready();
      await admin.query(`ALTER TABLE whole ${ddl}`);
      raw.send(serialize.query(text));
      const answers = await raw.ready();
      assert.equal(
        answers.some(({ body }) => body.includes("secret")),
        false,
      );
    },
  );
