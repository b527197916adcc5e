// An agent that may change the schema tries to have rows that a Deny is about come under another name, and sessions that were there before try to read on.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import type { BundleRule } from "../../policy/bundle.ts";
import { allow, deny, hold, startHarness, type Harness } from "./postgres-proxy-harness.ts";
import { askAll, errorOf } from "./postgres-proxy-ask.ts";
import {
  errorsOf,
  field,
  rawClient,
  rowsOf,
  type Answer,
  type RawClient,
} from "./postgres-proxy-raw.ts";
import { startPostgres, type PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;
let raw: RawClient;
let clockMs = 0;

before(async () => {
  server = await startPostgres({ settings: { log_statement: "all", log_line_prefix: "" } });
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  proxy = await startHarness(server, { now: () => clockMs });
});

beforeEach(async () => {
  await admin.query(`
    DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP SCHEMA IF EXISTS aside CASCADE; CREATE SCHEMA aside;
    CREATE TABLE events (id int, ssn text) PARTITION BY RANGE (id);
    CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (100);
    INSERT INTO events VALUES (1, 'canary');
    CREATE TABLE people (id int, ssn text);
    CREATE TABLE staff () INHERITS (people);
    INSERT INTO staff VALUES (2, 'canary');
    CREATE TABLE secrets (id int, ssn text); INSERT INTO secrets VALUES (150, 'canary');
    CREATE TABLE own (id int, ssn text) PARTITION BY RANGE (id);
    CREATE TABLE loose (id int, ssn text);
    CREATE VIEW plain AS SELECT id, ssn FROM loose;`);
  // What was made anew behind the proxy's back is looked up anew.
  clockMs += 61_000;
  proxy.setRules([]);
  raw = await rawClient(proxy.port);
});

afterEach(() => raw.end());

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

/** Everything but one thing with one table. */
const but = (sql: BundleRule["sql"]): readonly BundleRule[] => [
  allow({ relations: ["public.*", "aside.*"], functions: ["*"] }),
  allow({ statements: ["transaction", "alter", "drop", "create", "grant", "utility"] }, "opaque"),
  deny(sql),
];
const noRead = (relation: string): readonly BundleRule[] =>
  but({ statements: ["select"], relations: [`public.${relation}`] });

const one = async (text: string, how: "simple" | "extended" = "simple"): Promise<string> =>
  errorOf(await askAll(raw, text, how));

const inTurn = async (
  texts: readonly string[],
  how: "simple" | "extended" = "simple",
): Promise<Answer[]> => {
  const answers: Answer[] = [];
  for (const text of texts) {
    answers.push(...(await askAll(raw, text, how)));
    if (errorOf(answers) !== "") break;
  }
  return answers;
};

/** What came of several texts: sent at once without waiting for answers, or until one is refused or fails. */
const ways: Readonly<Record<string, (texts: readonly string[]) => Promise<Answer[]>>> = {
  "in one text": (texts) => {
    raw.send(serialize.query(texts.join(";")));
    return raw.ready();
  },
  "by queries sent at once": (texts) => {
    raw.send(...texts.map((text) => serialize.query(text)));
    return raw.ready(texts.length);
  },
  "in one pipeline": (texts) => {
    const parts = texts.flatMap((text) => [
      serialize.parse({ text }),
      serialize.bind({}),
      serialize.execute({}),
    ]);
    raw.send(...parts, serialize.sync());
    return raw.ready();
  },
  "in one pipeline, prepared first": (texts) => {
    const names = texts.map((text, index) => serialize.parse({ name: `s${index}`, text }));
    const runs = texts.flatMap((_, index) => [
      serialize.bind({ statement: `s${index}` }),
      serialize.execute({}),
    ]);
    raw.send(...names, ...runs, serialize.sync());
    return raw.ready();
  },
  "in a transaction": async (texts) => {
    const answers = await inTurn(["BEGIN", ...texts]);
    await one("COMMIT");
    return answers;
  },
  "one after the other": (texts) => inTurn(texts, "extended"),
};
/** In a pipeline, what stands behind a change of functions or relations cannot be told yet, and PostgreSQL itself does not know a name before it is made. */
const refusals: readonly string[] = ["42501", "08P01", "42P01"];

const attacks: Readonly<Record<string, readonly [readonly BundleRule[], ...string[]]>> = {
  "detaches the partition": [
    noRead("events"),
    "ALTER TABLE events DETACH PARTITION events_low",
    "SELECT * FROM events_low",
  ],
  "takes the child from its parent": [
    noRead("people"),
    "ALTER TABLE staff NO INHERIT people",
    "SELECT * FROM staff",
  ],
  "renames the table": [
    noRead("secrets"),
    "ALTER TABLE secrets RENAME TO renamed",
    "SELECT * FROM renamed",
  ],
  "renames a partition": [
    noRead("events"),
    "ALTER TABLE events_low RENAME TO renamed",
    "SELECT * FROM renamed",
  ],
  "moves the table": [
    noRead("secrets"),
    "ALTER TABLE secrets SET SCHEMA aside",
    "SELECT * FROM aside.secrets",
  ],
  "renames the schema": [
    noRead("secrets"),
    "ALTER SCHEMA public RENAME TO before",
    "CREATE SCHEMA public",
  ],
  "renames the column": [
    but({ columns: ["public.secrets.ssn"] }),
    "ALTER TABLE secrets RENAME ssn TO plain",
    "SELECT plain FROM secrets",
  ],
  "attaches the table to one of its own": [
    noRead("secrets"),
    "ALTER TABLE own ATTACH PARTITION secrets FOR VALUES FROM (100) TO (200)",
    "SELECT * FROM own",
  ],
  "makes the table a child of its own": [
    noRead("secrets"),
    "ALTER TABLE secrets INHERIT loose",
    "SELECT * FROM loose",
  ],
  "writes into a partition it makes": [
    but({ statements: ["insert"], relations: ["public.events"] }),
    "CREATE TABLE events_mine PARTITION OF events FOR VALUES FROM (500) TO (600)",
    "INSERT INTO events_mine VALUES (501, 'x')",
  ],
  "writes into a child it makes": [
    but({ statements: ["insert"], relations: ["public.people"] }),
    "CREATE TABLE mine () INHERITS (people)",
    "INSERT INTO mine VALUES (501, 'x')",
  ],
  "writes through a view it makes": [
    but({ statements: ["insert"], relations: ["public.secrets"] }),
    "CREATE VIEW mine AS SELECT * FROM secrets",
    "INSERT INTO mine VALUES (1, 'x')",
  ],
  "writes through a view it makes over a partition": [
    but({ statements: ["delete"], relations: ["public.events"] }),
    "CREATE VIEW mine AS SELECT * FROM events_low",
    "DELETE FROM mine",
  ],
  "has a view that there is read another table": [
    but({ statements: ["update"], relations: ["public.secrets"] }),
    "CREATE OR REPLACE VIEW plain AS SELECT id, ssn FROM secrets",
    "UPDATE plain SET ssn = 'x'",
  ],
  "has a view under a view read another table": [
    but({ statements: ["update"], relations: ["public.secrets"] }),
    "CREATE VIEW upper AS SELECT * FROM plain",
    "CREATE OR REPLACE VIEW plain AS SELECT id, ssn FROM secrets",
    "UPDATE upper SET ssn = 'x'",
  ],
  "has the plan of a table by a view it makes": [
    but({ statements: ["explain"], relations: ["public.secrets"] }),
    "CREATE VIEW mine AS SELECT * FROM secrets",
    "EXPLAIN SELECT * FROM mine",
  ],
  "empties a child it makes by its parent": [
    but({ statements: ["truncate"], relations: ["public.kept*"] }),
    "CREATE TABLE kept () INHERITS (loose)",
    "TRUNCATE loose",
  ],
  "drops the schema around it": [
    but({ statements: ["drop"], relations: ["public.secrets"] }),
    "DROP SCHEMA public CASCADE",
  ],
  "drops the parent with it": [
    but({ statements: ["drop"], relations: ["public.staff"] }),
    "DROP TABLE people CASCADE",
  ],
  "grants all of the schema": [
    but({ statements: ["grant"], relations: ["public.secrets"] }),
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC",
  ],
  "takes a temporary child": [
    noRead("people"),
    "CREATE TEMP TABLE mine () INHERITS (people)",
    "SELECT * FROM mine",
  ],
  "copies a partition by rule": [
    noRead("events"),
    "CREATE RULE r AS ON INSERT TO loose DO INSTEAD SELECT * FROM events_low",
  ],
};

for (const [what, [rules, ...texts]] of Object.entries(attacks))
  for (const [how, send] of Object.entries(ways))
    test(`an agent that ${what} is refused ${how}`, async () => {
      proxy.setRules(rules);
      const answers = await send(texts);
      const [error = ""] = errorsOf(answers);
      const isPipeline = how.startsWith("in one pipeline");
      assert.ok(isPipeline ? refusals.includes(error) : error === "42501", error);
      assert.equal(
        answers.some(({ body }) => body.includes("canary")),
        false,
      );
      const { rows } = await admin.query(
        "SELECT (SELECT count(*) FROM secrets WHERE ssn = 'canary') AS s, (SELECT count(*) FROM people) AS p, (SELECT count(*) FROM events) AS e",
      );
      assert.deepEqual(rows, [{ s: "1", p: "1", e: "1" }]);
    });

/** What one session does in a transaction, and what another sends behind the first of it, so that it waits for its lock. */
const races: Readonly<Record<string, readonly [readonly BundleRule[], readonly string[], string]>> =
  {
    "the table becomes a child": [
      noRead("secrets"),
      ["LOCK TABLE loose", "ALTER TABLE secrets INHERIT loose"],
      "SELECT * FROM loose",
    ],
    "the table becomes a partition": [
      noRead("secrets"),
      ["LOCK TABLE own", "ALTER TABLE own ATTACH PARTITION secrets FOR VALUES FROM (100) TO (200)"],
      "SELECT * FROM own",
    ],
    "a view reads the table": [
      but({ statements: ["delete"], relations: ["public.secrets"] }),
      ["LOCK TABLE plain", "CREATE OR REPLACE VIEW plain AS SELECT id, ssn FROM secrets"],
      "DELETE FROM plain",
    ],
    "a new view reads the table": [
      but({ statements: ["delete"], relations: ["public.secrets"] }),
      ["LOCK TABLE plain", "DROP VIEW plain", "CREATE VIEW plain AS SELECT id, ssn FROM secrets"],
      "DELETE FROM plain",
    ],
    "a view that reads the table gets the name": [
      but({ statements: ["delete"], relations: ["public.secrets"] }),
      ["LOCK TABLE plain", "DROP VIEW plain", "ALTER VIEW theirs RENAME TO plain"],
      "DELETE FROM plain",
    ],
    "a new partition gets the name": [
      but({ statements: ["insert"], relations: ["public.events"] }),
      [
        "LOCK TABLE loose",
        "DROP VIEW plain",
        "DROP TABLE loose",
        "CREATE TABLE loose PARTITION OF events FOR VALUES FROM (500) TO (600)",
      ],
      "INSERT INTO loose VALUES (501, 'x')",
    ],
  };

for (const [what, [rules, [lock = "", ...texts], late]] of Object.entries(races))
  test(`a statement that waits while ${what} does not come to it by the name it was decided by`, async () => {
    await admin.query("CREATE VIEW theirs AS SELECT id, ssn FROM secrets");
    proxy.setRules(rules);
    const other = await rawClient(proxy.port);
    await one("BEGIN");
    // The catalog is read: nothing of what follows is behind a look-up of ours.
    assert.equal(errorOf(await inTurn(["SELECT FROM loose, own, plain", lock])), "");
    other.send(serialize.query(late));
    await decidedOrWaiting(other);
    await inTurn(texts);
    await one("COMMIT");
    const answers = await other.ready();
    assert.equal(
      answers.some(({ body }) => body.includes("canary")),
      false,
    );
    const { rows } = await admin.query(
      "SELECT (SELECT count(*) FROM secrets) AS s, (SELECT count(*) FROM events) AS e",
    );
    assert.deepEqual(rows, [{ s: "1", e: "1" }]);
    await other.end();
  });

/** It has its answer, or waits in the database for a lock. */
async function decidedOrWaiting(client: RawClient): Promise<void> {
  const deadline = AbortSignal.timeout(30_000);
  for (;;) {
    if (client.answers.some(({ type }) => type === "Z")) return;
    const { rowCount } = await admin.query(
      "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
    );
    if (rowCount !== null && rowCount > 0) return;
    deadline.throwIfAborted();
  }
}

test("the same with relations of its own passes, in each way that PostgreSQL takes it", async () => {
  const texts = [
    "CREATE TABLE mine (id int)",
    "INSERT INTO mine VALUES (1)",
    "CREATE VIEW seen AS SELECT * FROM mine",
    "INSERT INTO seen VALUES (2)",
    "ALTER TABLE mine RENAME TO yours",
    "SELECT * FROM yours",
    "DROP VIEW seen",
    "DROP TABLE yours",
  ];
  proxy.setRules(noRead("secrets"));
  for (const how of [
    "in one text",
    "by queries sent at once",
    "in a transaction",
    "one after the other",
  ])
    assert.deepEqual(errorsOf((await ways[how]?.(texts)) ?? []), [], how);
});

const makesHidden = "CREATE TABLE hidden_low PARTITION OF own FOR VALUES FROM (0) TO (9)";

test("what was made and taken back is what it was before", async () => {
  proxy.setRules(noRead("hidden*"));
  assert.equal(await one("SELECT * FROM own"), "");
  await one("BEGIN");
  assert.equal(await one(makesHidden), "");
  await one("SAVEPOINT s");
  assert.equal(await one("SELECT * FROM own"), "42501");
  await one("ROLLBACK");
  assert.equal(await one("SELECT * FROM own"), "");
});

test("a statement that was prepared before is decided by what its names stand for when it runs", async () => {
  proxy.setRules(noRead("hidden*"));
  raw.send(serialize.parse({ name: "x", text: "SELECT * FROM own" }), serialize.sync());
  await raw.ready();
  assert.equal(await one("PREPARE y AS SELECT * FROM own"), "");
  const run = async (): Promise<unknown[]> => {
    raw.send(serialize.bind({ statement: "x" }), serialize.execute({}), serialize.sync());
    return errorsOf(await raw.ready());
  };
  assert.deepEqual([await run(), await one("EXECUTE y")], [[], ""]);
  assert.equal(await one(makesHidden), "");
  assert.deepEqual([await run(), await one("EXECUTE y")], [["42501"], "42501"]);
});

test("what another session attaches is seen within a minute, behind the snapshot of a transaction as well", async () => {
  proxy.setRules(noRead("secrets"));
  await one("BEGIN ISOLATION LEVEL REPEATABLE READ");
  assert.equal(await one("SELECT * FROM own"), "");
  await admin.query("ALTER TABLE secrets INHERIT loose");
  clockMs += 61_000;
  assert.equal(await one("SELECT * FROM loose"), "42501");
  await one("ROLLBACK");
});

test("where the relations cannot be looked up, statements that name any are refused and the rest goes on", async () => {
  proxy.setRules(noRead("secrets"));
  const before = proxy.operations().length;
  await one("BEGIN ISOLATION LEVEL REPEATABLE READ");
  assert.equal(await one("CREATE TABLE mine (id int)"), "");
  const answers = await askAll(raw, "SELECT * FROM own", "simple");
  const said = answers.map((answer) => (answer.type === "E" ? field(answer, "M") : "")).join("");
  assert.match(
    said,
    /connection agents\/orders-db: rules name relations, and what partitions, children and views the database has cannot be read now: this transaction changed the schema/,
  );
  assert.equal(await one("SELECT 1"), "25P02");
  assert.equal(await one("SELECT * FROM own"), "25P02");
  assert.equal(await one("ROLLBACK"), "");
  assert.equal(await one("SELECT 1"), "");
  assert.equal(await one("SELECT * FROM own"), "");
  assert.deepEqual(
    proxy
      .operations()
      .slice(before)
      .filter(({ body }) => JSON.stringify(body).includes("SELECT * FROM own"))
      .map(({ body }) => body.decision?.verdict),
    ["deny", "deny", "allow"],
  );
});

test("a cursor declared before a Deny of the parent reads no further", async () => {
  proxy.setRules([
    allow({ relations: ["public.*"] }),
    allow({ statements: ["transaction"] }, "more"),
  ]);
  await one("BEGIN");
  await one("DECLARE c CURSOR FOR SELECT * FROM events_low");
  proxy.setRules([...noRead("events")]);
  const answers = await askAll(raw, "FETCH 1 FROM c", "simple");
  assert.deepEqual([errorsOf(answers), rowsOf(answers)], [["42501"], []]);
  await one("ROLLBACK");
});

test("a Deny of the parent that comes while a person is asked counts", async () => {
  const asks = hold({ statements: ["select"], relations: ["public.events_low"] }, 30);
  proxy.setRules([asks]);
  raw.send(serialize.query("SELECT * FROM events_low"));
  await raw.until((answers) => answers.some(({ type }) => type === "N"));
  proxy.setRules([asks, deny({ relations: ["public.events"] })]);
  proxy.answerRequest("Approved");
  assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
});

test("the catalog is asked only where a Deny or RequireApproval names relations, and once", async () => {
  let marks = 0;
  /** How many catalogs the server has logged since it was last asked; it keeps the end of its log. */
  const read = async (): Promise<number> => {
    marks += 1;
    const mark = `SELECT 'mark ${marks}'`;
    await admin.query(mark);
    const deadline = AbortSignal.timeout(30_000);
    while (!server.log().includes(mark)) {
      deadline.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const since =
      server
        .log()
        .split(`SELECT 'mark ${marks - 1}'`)
        .at(-1) ?? "";
    return since.split("FROM pg_catalog.pg_class c JOIN").length - 1;
  };
  await read();
  proxy.setRules([
    allow({ relations: ["public.*"] }),
    deny({ statements: ["drop"] }),
    deny({ relations: ["*"], statements: ["delete"] }),
  ]);
  assert.equal(await one("SELECT * FROM events"), "");
  assert.equal(await read(), 0);
  proxy.setRules(noRead("secrets"));
  for (const text of ["SELECT 1", "SELECT relname FROM pg_class LIMIT 1"])
    assert.equal(await one(text), "");
  assert.equal(await read(), 0);
  for (let times = 0; times < 3; times++) assert.equal(await one("SELECT * FROM events"), "");
  assert.equal(await read(), 1);
});
