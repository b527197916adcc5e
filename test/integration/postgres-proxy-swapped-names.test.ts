// Functions that policy lets be called try to have another statement run than the one that was decided: by the names of statements and portals, the
// search path, roles and temporary tables. What a function itself reads and returns is its own; what it leaves behind must not speak for later statements.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import { allow, everything, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, field, rawClient, rowsOf, tagsOf, typesOf } from "./postgres-proxy-raw.ts";
import type { RawClient } from "./postgres-proxy-raw.ts";
import { postgresAvailable, startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

const skip = postgresAvailable() ? false : "the embedded PostgreSQL is not installed";
let server: PostgresServer;
let proxy: Harness;

before(async () => {
  if (skip !== false) return;
  server = await startPostgres();
  proxy = await startHarness(server);
  const direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query(`
    CREATE TABLE orders (id int PRIMARY KEY, note text);
    INSERT INTO orders VALUES (1, 'one'), (2, 'two');
    CREATE TABLE secrets (id int, note text);
    INSERT INTO secrets VALUES (1, 'canary-1'), (2, 'canary-2');
    CREATE SCHEMA other; CREATE VIEW other.orders AS SELECT * FROM secrets;
    CREATE FUNCTION run(sql text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE sql; END $$;
    CREATE FUNCTION open(name text, sql text) RETURNS void LANGUAGE plpgsql AS
      $$ DECLARE opened refcursor := name; BEGIN OPEN opened FOR EXECUTE sql; END $$;
    CREATE FUNCTION swaps(name text) RETURNS text LANGUAGE plpgsql AS
      $$ BEGIN EXECUTE 'DEALLOCATE ' || name; EXECUTE 'PREPARE ' || name || ' AS SELECT note FROM secrets'; RETURN 'done'; END $$;`);
  await direct.end();
});

after(async () => {
  await proxy?.close();
  await server?.stop();
});

beforeEach(() => {
  proxy?.setRules([
    allow({ statements: ["select"], relations: ["public.orders"], functions: ["public.*"] }),
    allow({ statements: ["transaction", "insert"], relations: ["public.orders"] }, "more"),
  ]);
});

const read = "SELECT note FROM orders ORDER BY id";
const steal = "SELECT note FROM secrets ORDER BY id";
const rows = [["one"], ["two"]];
const use = (statement: string, portal = ""): Buffer =>
  Buffer.concat([serialize.bind({ statement, portal }), serialize.execute({ portal })]);

async function prepared(): Promise<RawClient> {
  const raw = await rawClient(proxy.port);
  raw.send(serialize.parse({ name: "x", text: read }), use("x"), serialize.sync());
  assert.deepEqual(rowsOf(await raw.ready()), rows);
  return raw;
}

const swap = `SELECT run('DEALLOCATE x'), run('PREPARE x AS ${steal}')`;

test(
  "a statement that a function put another in the place of runs as what it was prepared as",
  { skip },
  async () => {
    const raw = await prepared();
    raw.send(serialize.query(swap));
    assert.deepEqual(errorsOf(await raw.ready()), []);
    raw.send(use("x"), serialize.sync());
    const answers = await raw.ready();
    assert.deepEqual(rowsOf(answers), rows);
    assert.equal(typesOf(answers), "2DDCZ", "what we said again is no answer to the client");
    raw.send(use("x"), serialize.sync());
    assert.deepEqual(rowsOf(await raw.ready()), rows, "and the next time");
    await raw.end();
  },
);

test("so it does in the same pipeline, and when it is the one that swaps", { skip }, async () => {
  const raw = await prepared();
  raw.send(serialize.parse({ text: swap }), use(""), use("x"), serialize.sync());
  const answers = await raw.ready();
  // Before PostgreSQL 18 nobody can tell within a pipeline what a function did to the search path.
  if (server.major < 18) assert.deepEqual(errorsOf(answers), ["42501"]);
  else assert.deepEqual(rowsOf(answers).slice(1), rows);
  raw.send(serialize.parse({ name: "self", text: "SELECT swaps('self')" }), serialize.sync());
  await raw.ready();
  raw.send(use("self"), use("self"), serialize.sync());
  assert.deepEqual(rowsOf(await raw.ready()), [["done"], ["done"]]);
  await raw.end();
});

test("its description is that of what it was prepared as", { skip }, async () => {
  const raw = await rawClient(proxy.port);
  const text = "SELECT id FROM orders WHERE id = $1";
  raw.send(serialize.parse({ name: "x", text, types: [23] }), serialize.sync());
  await raw.ready();
  raw.send(serialize.query(swap));
  await raw.ready();
  raw.send(serialize.describe({ type: "S", name: "x" }), serialize.sync());
  const answers = await raw.ready();
  assert.equal(typesOf(answers), "tTZ");
  assert.equal(answers[0]?.body.readInt16BE(0), 1, "one parameter");
  raw.send(
    serialize.bind({ statement: "x", values: ["2"] }),
    serialize.execute({}),
    serialize.sync(),
  );
  assert.deepEqual(rowsOf(await raw.ready()), [["2"]]);
  await raw.end();
});

test(
  "EXECUTE of SQL does not run what a function put in the place of a statement of the protocol",
  { skip },
  async () => {
    const raw = await prepared();
    raw.send(serialize.query(swap));
    await raw.ready();
    raw.send(serialize.query("EXECUTE x"));
    const answers = await raw.ready();
    assert.deepEqual([rowsOf(answers), errorsOf(answers)], [[], ["26000"]]);
    raw.send(use("x"), serialize.sync(), serialize.query("EXECUTE x"));
    assert.deepEqual(rowsOf(await raw.ready(2)), [...rows, ...rows], "known again");
    await raw.end();
  },
);

test(
  "a statement that cannot be said again fails in its place, and is said again the next time",
  { skip },
  async () => {
    const raw = await prepared();
    raw.send(serialize.query("BEGIN"), serialize.query(swap), serialize.query("SELECT 1/0"));
    assert.deepEqual(errorsOf(await raw.ready(3)), ["22012"]);
    raw.send(use("x"), serialize.sync());
    assert.deepEqual(errorsOf(await raw.ready()), ["25P02"]);
    raw.send(serialize.query("ROLLBACK"), use("x"), serialize.sync());
    assert.deepEqual(rowsOf(await raw.ready(2)), rows);
    await raw.end();
  },
);

for (const [how, replace] of [
  ["by CLOSE and a cursor variable", `SELECT run('CLOSE p'), open('p', '${steal}')`],
  ["by CLOSE and DECLARE", `SELECT run('CLOSE p'), run('DECLARE p CURSOR FOR ${steal}')`],
] as const)
  test(
    `a portal that a function put a cursor in the place of is not executed: ${how}`,
    { skip },
    async () => {
      const raw = await rawClient(proxy.port);
      raw.send(
        serialize.query("BEGIN"),
        serialize.parse({ text: read }),
        serialize.bind({ portal: "p" }),
        serialize.execute({ portal: "p", rows: 1 }),
        serialize.sync(),
      );
      assert.deepEqual(rowsOf(await raw.ready(2)), [["one"]]);
      raw.send(serialize.query(replace));
      assert.deepEqual(errorsOf(await raw.ready()), []);
      raw.send(serialize.execute({ portal: "p" }), serialize.sync());
      const answers = await raw.ready();
      assert.deepEqual(rowsOf(answers), []);
      assert.deepEqual(errorsOf(answers), ["34000"]);
      const [error] = answers;
      assert.match(
        error === undefined ? "" : (field(error, "M") ?? ""),
        /since a function ran; bind it again/,
      );
      raw.send(serialize.query("ROLLBACK"));
      await raw.ready();
      await raw.end();
    },
  );

test("nor in the pipeline that replaces it", { skip }, async () => {
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.query("BEGIN"),
    serialize.parse({ text: read }),
    serialize.bind({ portal: "p" }),
    serialize.parse({ text: `SELECT run('CLOSE p'), open('p', '${steal}')` }),
    use(""),
    serialize.execute({ portal: "p" }),
    serialize.sync(),
  );
  const answers = await raw.ready(2);
  assert.equal(
    rowsOf(answers)
      .flat()
      .some((cell) => cell?.includes("canary")),
    false,
  );
  assert.deepEqual(errorsOf(answers), ["34000"]);
  await raw.end();
});

test("a portal that itself runs a function is read on, row by row", { skip }, async () => {
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.query("BEGIN"),
    serialize.parse({ text: "SELECT id, run('SELECT 1') FROM orders ORDER BY id" }),
    serialize.bind({ portal: "p" }),
    serialize.execute({ portal: "p", rows: 1 }),
    serialize.execute({ portal: "p", rows: 1 }),
    serialize.sync(),
    serialize.execute({ portal: "p", rows: 1 }),
    serialize.sync(),
  );
  const answers = await raw.ready(3);
  assert.deepEqual(errorsOf(answers), []);
  assert.deepEqual(
    rowsOf(answers).map(([id]) => id),
    ["1", "2"],
  );
  await raw.end();
});

test(
  "a function that changes the search path ends the session before a name can mean another table",
  { skip },
  async () => {
    for (const set of [
      "SET search_path TO other, public",
      "SET LOCAL search_path TO other, public",
      "SET SESSION AUTHORIZATION DEFAULT; SET search_path TO other",
    ]) {
      const raw = await rawClient(proxy.port);
      raw.send(
        serialize.query("BEGIN"),
        serialize.query(`SELECT run('${set}')`),
        serialize.query(read),
      );
      const answers = await raw
        .until(() => raw.closed || raw.types().split("Z").length > 3)
        .catch(() => raw.answers);
      assert.equal(
        rowsOf(answers)
          .flat()
          .some((cell) => cell?.includes("canary")),
        false,
        set,
      );
      await raw.end();
    }
  },
);

test(
  "a temporary table that a function makes does not stand for the real one",
  { skip },
  async () => {
    const raw = await rawClient(proxy.port);
    raw.send(
      serialize.query("SELECT run('CREATE TEMP TABLE orders AS SELECT * FROM secrets')"),
      serialize.query(read),
      serialize.query("SELECT note FROM pg_temp.orders"),
    );
    const answers = await raw.ready(3);
    assert.deepEqual(rowsOf(answers).slice(1), rows);
    assert.deepEqual(errorsOf(answers), ["42501"]);
    await raw.end();
  },
);

test(
  "a function that takes another role changes nothing of what is decided",
  { skip },
  async () => {
    const raw = await rawClient(proxy.port);
    raw.send(
      serialize.query("SELECT run('SET ROLE pg_read_all_data')"),
      serialize.query(steal),
      serialize.query("INSERT INTO secrets VALUES (3)"),
    );
    const answers = await raw.ready(3);
    assert.deepEqual(errorsOf(answers), ["42501", "42501"]);
    assert.deepEqual(tagsOf(answers), ["SELECT 1"]);
    await raw.end();
  },
);

test(
  "what a function left behind before masks applied shows nothing under them",
  { skip },
  async () => {
    proxy.setRules(everything);
    const raw = await prepared();
    raw.send(
      serialize.query(
        "SELECT run('DEALLOCATE x'), run('PREPARE x AS SELECT note || '''' FROM secrets')",
      ),
    );
    assert.deepEqual(errorsOf(await raw.ready()), []);
    proxy.setRules(everything, {
      columnMasks: [
        { column: "public.secrets.note", transform: { kind: "redact" }, policy: "agents/p" },
      ],
    });
    raw.send(use("x"), serialize.sync());
    assert.deepEqual(rowsOf(await raw.ready()), rows);
    await raw.end();
  },
);
