// What psql's `\d` reads while masks exist: definitions, by a rule; and the bounds of partitions only where they are no masked values.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import type { Bundle } from "../../policy/bundle.ts";
import { allow, everything, startHarness, type Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient, rowsOf, type Answer, type RawClient } from "./postgres-proxy-raw.ts";
import { startPostgres, type PostgresServer } from "./postgres-server.ts";

const secret = "123-45-6789";
const masks: Partial<Bundle> = {
  columnMasks: [{ column: "public.people.ssn", transform: { kind: "redact" }, policy: "agents/p" }],
};
let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;

before(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query(`
    CREATE TABLE people (id int, ssn text) PARTITION BY LIST (ssn);
    CREATE TABLE orders (id int, state text) PARTITION BY LIST (state);
    CREATE TABLE orders_open PARTITION OF orders FOR VALUES IN ('open');
    CREATE VIEW ids AS SELECT id FROM orders;
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

const bounds =
  "SELECT c.relname, pg_catalog.pg_get_expr(c.relpartbound, c.oid) FROM pg_catalog.pg_class c WHERE c.relispartition AND c.relkind = 'r' ORDER BY 1";

test("definitions are read where a rule names them, and are no part of every session", async () => {
  const raw = await rawClient(proxy.port);
  const text =
    "SELECT pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid WHERE c.relname = 'ids'";
  const tables = allow({ statements: ["select"], relations: ["public.*"] });
  proxy.setRules([tables], masks);
  assert.deepEqual(errorsOf(await ask(raw, text)), ["42501"]);
  proxy.setRules(
    [
      tables,
      allow({ statements: ["select"], relations: ["pg_catalog.*"] }),
      allow({ functions: ["pg_catalog.pg_get_viewdef"] }),
    ],
    masks,
  );
  assert.match(rowsOf(await ask(raw, text))[0]?.[0] ?? "", /SELECT (?:orders\.)?id/);
  // Neither statistics nor the source of functions come with them.
  for (const other of ["SELECT most_common_vals FROM pg_stats", "SELECT prosrc FROM pg_proc"])
    assert.deepEqual(errorsOf(await ask(raw, other)), ["42501"], other);
  await raw.end();
});

test("bounds of partitions are shown until a masked table has one, and from then on refused", async () => {
  proxy.setRules(everything, masks);
  const raw = await rawClient(proxy.port);
  assert.deepEqual(rowsOf(await ask(raw, bounds)), [["orders_open", "FOR VALUES IN ('open')"]]);
  await admin.query(`CREATE TABLE people_one PARTITION OF people FOR VALUES IN ('${secret}')`);
  // What was read of the database a second ago is read again, as for a view.
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  const refused = await ask(raw, bounds);
  assert.deepEqual(errorsOf(refused), ["42501"]);
  const shown = Buffer.concat(refused.map(({ body }) => body)).toString("latin1");
  assert.equal(shown.includes(secret), false);
  assert.match(shown, /relpartbound can show what masked columns hold/);
  await raw.end();
});
