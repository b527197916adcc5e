// What the proxy asks the database of its own is answered by PostgreSQL's operators, whatever the schema public has under their names.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { message } from "../../proxy/postgres/messages.ts";
import { allow, everything, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let direct: pg.Client;
const secret = "123-45-6789";

/** Each fits its arguments better than what PostgreSQL itself has, and lies. */
const lies = [
  ["oid", "regclass"],
  ["oid", "regproc"],
  ["oid", "int4"],
  ["int2", "int4"],
  ["int4", "int2"],
  ["oid", "int8"],
].flatMap(([left, right]) =>
  ["=", "<>", ">=", ">", "<="].map((operator) => [
    `CREATE OPERATOR public.${operator} (LEFTARG = ${left}, RIGHTARG = ${right}, FUNCTION = lie)`,
    `CREATE OR REPLACE FUNCTION lie(${left}, ${right}) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'asked'; END $$`,
  ]),
);

before(async () => {
  server = await startPostgres();
  direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query(`
    CREATE TABLE people (id int, ssn text, tail text GENERATED ALWAYS AS (right(ssn, 4)) STORED);
    INSERT INTO people VALUES (1, '${secret}');
    CREATE VIEW people_view AS SELECT ssn AS x FROM people;
    CREATE TABLE touched (what text);
    CREATE FUNCTION bump() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO touched VALUES ('x'); RETURN 7; END $$;
    CREATE FUNCTION echo() RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$;
  `);
  for (const [operator, lie] of lies) {
    await direct.query(lie ?? "");
    await direct.query(operator ?? "");
  }
  proxy = await startHarness(server);
});

after(async () => {
  await direct?.end();
  await proxy?.close();
  await server?.stop();
});

test("the catalog that masks go by is read in spite of them", async () => {
  proxy.setRules(everything, {
    columnMasks: [{ column: "public.people.ssn", transform: { kind: "nullify" }, policy: "p" }],
  });
  const { host, port } = proxy;
  const db = new pg.Client({ host, port, user: "agent", database: "postgres" });
  await db.connect();
  assert.deepEqual((await db.query("SELECT ssn, tail FROM people")).rows, [
    { ssn: null, tail: null },
  ]);
  assert.deepEqual((await db.query("SELECT x FROM people_view")).rows, [{ x: null }]);
  await db.end();
});

test("a function that is called by its number is the one that has the number", async () => {
  await direct.query(
    `CREATE OR REPLACE FUNCTION lie(oid, int4) RETURNS bool LANGUAGE sql AS $$ SELECT $1 OPERATOR(pg_catalog.=) 'public.echo'::regproc::oid $$`,
  );
  await direct.query(
    `CREATE OR REPLACE FUNCTION lie(oid, int8) RETURNS bool LANGUAGE sql AS $$ SELECT $1 OPERATOR(pg_catalog.=) 'public.echo'::regproc::oid $$`,
  );
  proxy.setRules([allow({ functions: ["public.echo"], statements: ["select"] })]);
  const { rows } = await direct.query("SELECT 'bump'::regproc::oid::text AS bump");
  const body = Buffer.alloc(10);
  body.writeUInt32BE(Number(rows[0].bump), 0);
  const raw = await rawClient(proxy.port);
  raw.send(message(0x46, body));
  assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
  assert.equal((await direct.query("SELECT FROM touched")).rowCount, 0);
  await raw.end();
});
