// A Deny or RequireApproval of a table holds by whatever name its rows are reached: partition, parent, child, view. An Allow opens what it names alone.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import type { BundleRule } from "../../policy/bundle.ts";
import { allow, deny, everything, hold, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { askAll, errorOf } from "./postgres-proxy-ask.ts";
import { rawClient } from "./postgres-proxy-raw.ts";
import { startPostgres, type PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;
let clockMs = 0;

before(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query(`
    CREATE TABLE events (id int, ssn text) PARTITION BY RANGE (id);
    CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
    CREATE TABLE events_low_a PARTITION OF events_low FOR VALUES FROM (0) TO (50);
    CREATE TABLE events_rest PARTITION OF events DEFAULT;
    INSERT INTO events VALUES (1, 'one'), (200, 'two');
    CREATE TABLE people (id int, ssn text, shout text GENERATED ALWAYS AS (upper(ssn)) STORED);
    CREATE TABLE staff (desk int) INHERITS (people);
    CREATE TABLE bosses () INHERITS (staff);
    CREATE TABLE other (id int);
    CREATE TABLE list (id int) PARTITION BY LIST (id);
    INSERT INTO people VALUES (1, 'a'); INSERT INTO staff VALUES (2, 'b'); INSERT INTO bosses VALUES (3, 'c');
    CREATE VIEW seen AS SELECT id AS number, ssn AS what FROM events_low;
    CREATE VIEW seen_again AS SELECT what, number FROM seen UNION ALL SELECT ssn, id FROM ONLY bosses;
    CREATE VIEW numbers AS SELECT id FROM people WHERE ssn IS NOT NULL;
    CREATE VIEW whole AS SELECT id, p AS row FROM people p;
    CREATE MATERIALIZED VIEW stored AS SELECT * FROM staff;
    CREATE VIEW theirs AS SELECT o.id, (SELECT max(ssn) FROM people) AS ssn FROM other o;
    CREATE SCHEMA api; CREATE VIEW api.people AS SELECT id FROM public.people;
    CREATE TABLE target (id int); CREATE VIEW ruled AS SELECT 1 AS id;
    CREATE RULE r AS ON INSERT TO ruled DO INSTEAD INSERT INTO target VALUES (NEW.id);
    CREATE TABLE logged (id int); CREATE TABLE log (id int);
    CREATE RULE r AS ON INSERT TO logged DO ALSO INSERT INTO log VALUES (NEW.id);
    ANALYZE;
  `);
  proxy = await startHarness(server, { now: () => clockMs });
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

/** SQLSTATE of each text by itself, in one session; "" where it went through. */
async function states(texts: readonly string[], how: "simple" | "extended" = "simple") {
  const raw = await rawClient(proxy.port);
  const found: Record<string, string> = {};
  for (const text of texts) found[text] = errorOf(await askAll(raw, text, how));
  await raw.end();
  return found;
}

async function assertStates(texts: readonly string[], state: string): Promise<void> {
  const wanted = Object.fromEntries(texts.map((text) => [text, state]));
  for (const how of ["simple", "extended"] as const)
    assert.deepEqual(await states(texts, how), wanted);
}

const refused = (texts: readonly string[]): Promise<void> => assertStates(texts, "42501");
const passes = (texts: readonly string[]): Promise<void> => assertStates(texts, "");

/** The way that most people write a Deny: all of a schema but one table. */
const but = (sql: BundleRule["sql"]): readonly BundleRule[] => [
  allow({
    statements: ["select", "insert", "update", "delete", "truncate", "copy"],
    relations: ["public.*"],
    functions: ["*"],
  }),
  allow(
    {
      statements: ["transaction", "explain", "utility", "create", "alter", "drop"],
      relations: ["public.*"],
    },
    "more",
  ),
  deny(sql),
];

test("an Allow opens what it names: of the parent no partition, child or view by its own name", async () => {
  proxy.setRules([allow({ statements: ["select"], relations: ["public.events"] })]);
  await passes(["SELECT * FROM events"]);
  await refused(
    ["events_low", "events_low_a", "events_rest", "seen"].map((name) => `SELECT * FROM ${name}`),
  );
});

test("a Deny of a table is one of its partitions and children, however deep, and of views over them", async () => {
  proxy.setRules(but({ relations: ["public.events"] }));
  await refused([
    "SELECT * FROM events",
    "SELECT * FROM events_low_a",
    "TABLE events_rest",
    "SELECT count(*) FROM ONLY events_low_a",
    "WITH x AS (SELECT id FROM events_low) SELECT * FROM x",
    "SELECT 1 WHERE EXISTS (SELECT FROM public.events_rest)",
    "COPY events_rest TO STDOUT",
    "COPY (SELECT id FROM events_rest) TO STDOUT",
    "EXPLAIN SELECT * FROM events_rest",
    "INSERT INTO events_rest VALUES (300, 'x')",
    "UPDATE events_low_a SET ssn = 'x'",
    "DELETE FROM events_low_a",
    "TRUNCATE events_rest",
    "LOCK TABLE events_rest",
    "DROP TABLE events_rest",
    "ALTER TABLE events_rest ADD CHECK (id > 0)",
    "CREATE TABLE copied AS SELECT * FROM events_rest",
    "CREATE VIEW own AS SELECT * FROM events_rest",
    "DECLARE c CURSOR FOR SELECT * FROM events_rest",
    "SELECT * FROM seen",
    "SELECT * FROM seen_again",
  ]);
  await passes(["SELECT * FROM people", "SELECT * FROM other", "SELECT * FROM numbers"]);
});

test("a Deny of a partition or child is one of what reads and writes its parents, but not of ONLY them, nor of its siblings", async () => {
  proxy.setRules(but({ relations: ["public.events_low_a"] }));
  await refused([
    "SELECT * FROM events",
    "SELECT * FROM events_low",
    "INSERT INTO events VALUES (300, 'x')",
    "TRUNCATE events",
    "SELECT * FROM seen",
  ]);
  await passes(["SELECT * FROM events_rest", "SELECT * FROM ONLY events"]);
  proxy.setRules(but({ relations: ["public.bosses"] }));
  await refused([
    "SELECT * FROM people",
    "UPDATE people SET ssn = ssn",
    "DELETE FROM staff",
    "TRUNCATE people",
    "SELECT * FROM ONLY people, people AS again",
  ]);
  await passes([
    "SELECT * FROM ONLY people",
    "INSERT INTO people (id) VALUES (7)",
    "DELETE FROM ONLY people WHERE id = 7",
  ]);
});

test("a Deny of a column follows it by name along inheritance, into generated columns and through views that show it", async () => {
  proxy.setRules(but({ columns: ["public.people.ssn"] }));
  await refused([
    "SELECT ssn FROM people",
    "SELECT shout FROM people",
    "SELECT ssn FROM staff",
    "SELECT * FROM bosses",
    "SELECT id FROM staff WHERE ssn = 'b'",
    "SELECT ssn FROM theirs",
    "SELECT * FROM theirs",
    "SELECT row FROM whole",
    "SELECT ssn FROM stored",
    "SELECT what FROM seen_again",
  ]);
  await passes([
    "SELECT id FROM people",
    "SELECT id, desk FROM staff",
    "SELECT * FROM numbers",
    "SELECT id FROM theirs",
    "SELECT id FROM whole",
    "SELECT id FROM stored",
    "SELECT number FROM seen_again",
  ]);
});

test("a view that a rule opens without opening its table is a way that was given; one opened by the same wildcard is not", async () => {
  const table = deny({ relations: ["public.people"] });
  proxy.setRules([allow({ statements: ["select"], relations: ["public.*"] }), table]);
  await refused(["SELECT * FROM numbers", "SELECT * FROM stored"]);
  proxy.setRules([allow({ statements: ["select"], relations: ["public.numbers"] }), table]);
  await passes(["SELECT * FROM numbers"]);
  proxy.setRules([
    allow({ statements: ["select"], relations: ["public.*"] }),
    allow({ statements: ["select"], relations: ["api.*"] }, "api"),
    table,
  ]);
  await passes(["SELECT * FROM api.people"]);
  await refused(["SELECT * FROM numbers", "SELECT * FROM people"]);
  // A restriction of the cluster is not for a policy to lift.
  proxy.setRules([
    allow({ statements: ["select"], relations: ["api.*"] }),
    { ...table, restricts: true },
  ]);
  await refused(["SELECT * FROM api.people"]);
  // Given for reading is not given for writing.
  proxy.setRules([
    allow({ relations: ["public.*"] }),
    allow({ statements: ["select"], relations: ["public.numbers"] }, "numbers"),
    table,
  ]);
  await passes(["SELECT * FROM numbers"]);
  await refused([
    "INSERT INTO numbers VALUES (9)",
    "UPDATE numbers SET id = 9",
    "DELETE FROM numbers",
  ]);
});

test("a write through a view is one of its table, and reads what the view reads besides", async () => {
  proxy.setRules(but({ statements: ["insert", "update", "delete"], relations: ["public.events"] }));
  await refused([
    "INSERT INTO seen VALUES (1, 'x')",
    "UPDATE seen SET what = 'x'",
    "DELETE FROM seen",
  ]);
  await passes(["SELECT * FROM seen"]);
  proxy.setRules(but({ statements: ["select"], relations: ["public.people"] }));
  await refused(["UPDATE theirs SET id = id RETURNING ssn", "SELECT * FROM theirs"]);
  await passes(["SELECT * FROM other"]);
  proxy.setRules(but({ statements: ["insert"], relations: ["public.target"] }));
  await refused(["INSERT INTO ruled VALUES (1)"]);
  // What a rule of a table does is its owner's, like a trigger.
  proxy.setRules(but({ statements: ["insert"], relations: ["public.log"] }));
  await passes(["INSERT INTO logged VALUES (1)"]);
});

test("statistics and TOAST tables hold values of any table: a Deny of one to read is one of them", async () => {
  proxy.setRules([...everything, deny({ relations: ["public.people"] })]);
  await refused([
    "SELECT * FROM pg_stats",
    "SELECT * FROM pg_statistic",
    "TABLE pg_catalog.pg_stats_ext",
    "SELECT * FROM pg_toast.pg_toast_2619",
    "COPY pg_statistic TO STDOUT",
  ]);
  await passes(["SELECT relname FROM pg_class LIMIT 1"]);
  proxy.setRules([...everything, deny({ relations: ["pg_catalog.pg_authid"] })]);
  await passes(["SELECT count(*) FROM pg_stats"]);
});

test("RequireApproval of a table asks a person for its partitions and views, too, and permits what it names alone", async () => {
  const asks = hold({ statements: ["select"], relations: ["public.events"] }, 0, "ask");
  proxy.setRules([allow({ statements: ["select"], relations: ["public.*"] }), asks]);
  const before = proxy.requests.length;
  await states(["SELECT id FROM events_rest", "SELECT number FROM seen"]);
  assert.deepEqual(
    proxy.requests.slice(before).map(({ summary }) => summary),
    ["SELECT id FROM events_rest", "SELECT number FROM seen"],
  );
  proxy.setRules([asks]);
  await refused(["SELECT ssn FROM events_rest"]);
  assert.equal(proxy.requests.length, before + 2, "nothing is asked that no rule permits");
});

test("the refusal says which table it is about", async () => {
  proxy.setRules(but({ relations: ["public.events", "public.bosses"] }));
  const raw = await rawClient(proxy.port);
  const said = async (text: string): Promise<string> => {
    const [answer] = (await askAll(raw, text, "simple")).filter(({ type }) => type === "E");
    return answer?.body.toString() ?? "";
  };
  assert.match(
    await said("TABLE events_rest"),
    /select on public\.events_rest, a part of public\.events/,
  );
  assert.match(
    await said("TABLE people"),
    /select on public\.people, of which public\.bosses is a part/,
  );
  assert.match(await said("TABLE seen"), /select on public\.seen, which reads public\.events/);
  await raw.end();
});

test("what others attach, detach and create is seen when the catalog is read again; a name that is not known has it read at once", async () => {
  proxy.setRules(but({ relations: ["public.events"] }));
  await passes(["SELECT * FROM other"]);
  await admin.query("CREATE TABLE events_new PARTITION OF events FOR VALUES FROM (5000) TO (6000)");
  clockMs += 1_100;
  await refused(["SELECT * FROM events_new"]);
  assert.equal((await states(["SELECT * FROM nobody"]))["SELECT * FROM nobody"], "42P01");
});
