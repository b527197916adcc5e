// Proof against the real thing: a role that holds exactly the privileges a statement's accesses imply can run it, and
// without any one of them PostgreSQL refuses. So no access is missing and none is invented.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import pg from "pg";
import type { Access, RelationAccess } from "../../policy/operation.ts";
import { loadSqlGrammar } from "../../policy/sql/grammar.ts";
import { createSqlRecogniser, type SqlRecogniser } from "../../policy/sql/recognise.ts";
import { startPostgres, type PostgresServer } from "./postgres-server.ts";
import { cases } from "./search-length.ts";
import { isNewerThan } from "./sql-fixture.ts";

const tables: Readonly<Record<string, readonly string[]>> = {
  "public.customers": ["id", "name", "ssn"],
  "public.orders": ["id", "customer_id", "total", "note"],
  "public.items": ["id", "order_id", "sku"],
  "sales.orders": ["id", "region"],
};

let server: PostgresServer;
let client: pg.Client;
let recogniser: SqlRecogniser;

before(async () => {
  server = await startPostgres();
  client = new pg.Client({ connectionString: server.superuserUrl });
  await client.connect();
  await client.query("SET search_path = public, pg_temp");
  await client.query(`
    CREATE SCHEMA sales;
    CREATE TABLE public.customers (id int PRIMARY KEY, name text, ssn text);
    CREATE TABLE public.orders (id int PRIMARY KEY, customer_id int, total int, note text);
    CREATE TABLE public.items (id int PRIMARY KEY, order_id int, sku text);
    CREATE TABLE sales.orders (id int PRIMARY KEY, region text);
    CREATE FUNCTION public.shout(text) RETURNS text LANGUAGE sql AS 'SELECT upper($1)';
    REVOKE EXECUTE ON FUNCTION public.shout FROM PUBLIC;
    CREATE ROLE agent;
    GRANT USAGE ON SCHEMA public, sales TO agent`);
  recogniser = createSqlRecogniser({
    grammar: await loadSqlGrammar(),
    resolver: {
      columnsOf: (relation) => (relation in tables ? new Set(tables[relation]) : undefined),
    },
  });
});

after(async () => {
  await client?.end();
  await server?.stop();
});

/** Privileges as GRANT spells them; several make one access. */
function privileges(access: Access): string[] {
  if (access.kind === "function")
    return access.function.startsWith("public.") ? [`EXECUTE ON FUNCTION ${access.function}`] : [];
  if (access.kind !== "relation" || access.relation.startsWith("pg_catalog.")) return [];
  const on = `ON ${access.relation}`;
  switch (access.statement) {
    case "select":
      return [`SELECT${columnList(access)} ${on}`];
    case "insert":
      return [`INSERT${access.allColumns ? "" : columnList(access)} ${on}`];
    case "update":
    case "delete":
    case "truncate":
      return [`${access.statement.toUpperCase()} ${on}`];
    case "utility":
      return [`UPDATE ${on}`];
    default:
      return [];
  }
}

/** `SELECT count(*)` names no column; PostgreSQL then wants any one of them. */
function columnList({ relation, columns, allColumns }: RelationAccess): string {
  if (allColumns) return "";
  const known = tables[relation] ?? [];
  const names = columns
    .map((column) => column.slice(relation.length + 1))
    .filter((name) => known.includes(name));
  return ` (${names.length === 0 ? known[0] : names.join(", ")})`;
}

/** The target of a write, read in its own WHERE or RETURNING, belongs to the write. */
function readsOfWrites(accesses: readonly Access[]): string[] {
  return accesses.flatMap((access) => {
    const writes =
      access.kind === "relation" &&
      ["insert", "update", "delete", "merge"].includes(access.statement);
    return writes ? [`SELECT ON ${access.relation}`] : [];
  });
}

/** SQLSTATE of the statement run with these privileges; undefined when it ran. */
async function runWith(sql: string, granted: readonly string[]): Promise<string | undefined> {
  await client.query("BEGIN");
  try {
    for (const privilege of granted) await client.query(`GRANT ${privilege} TO agent`);
    await client.query("SET LOCAL ROLE agent");
    await client.query(sql);
    return undefined;
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    return error.code ?? "";
  } finally {
    await client.query("ROLLBACK");
    await client.query("DEALLOCATE ALL");
  }
}

const denied = "42501";

/** Runs it with all that the accesses imply, which must do; returns for each privilege what happens without it. */
async function withheld(sql: string): Promise<Map<string, string | undefined>> {
  const { accesses, unrecognised } = recogniser.recognise(sql).operation;
  assert.equal(unrecognised, undefined, sql);
  const reads = readsOfWrites(accesses);
  const own = [...new Set(accesses.flatMap(privileges))];
  const outcome = await runWith(sql, [...own, ...reads]);
  assert.notEqual(outcome, denied, `an access is missing: ${sql}\n${JSON.stringify(accesses)}`);
  assert.equal(outcome, undefined, `the statement fails by itself (${outcome}): ${sql}`);
  const outcomes = new Map<string, string | undefined>();
  for (const privilege of own) {
    const relation = / ON (.*)$/.exec(privilege)?.[1] ?? "";
    const rest = own.filter((other) => other !== privilege);
    // What a write may read besides cannot be withheld from it here, nor one of two like privileges.
    if (privilege.startsWith("SELECT") && reads.includes(`SELECT ON ${relation}`)) continue;
    if (
      privilege.startsWith("UPDATE") &&
      rest.some((other) => other.startsWith("UPDATE") && other.endsWith(relation))
    )
      continue;
    outcomes.set(privilege, await runWith(sql, [...rest, ...reads]));
  }
  return outcomes;
}

async function agree(sql: string): Promise<void> {
  for (const [privilege, outcome] of await withheld(sql)) {
    assert.equal(outcome, denied, `PostgreSQL does not ask for ${privilege}: ${sql}`);
  }
}

describe("accesses agree with PostgreSQL's own privilege checks", () => {
  const statements = [
    "SELECT id FROM customers",
    "SELECT * FROM customers",
    "SELECT count(*) FROM customers",
    "SELECT c FROM customers c",
    "SELECT row_to_json(c) FROM customers c",
    "SELECT c.max FROM customers c",
    "SELECT (SELECT ssn FROM orders LIMIT 1) FROM customers",
    "SELECT total FROM orders WHERE customer_id IN (SELECT id FROM customers WHERE name = 'x')",
    "SELECT c.name, o.total FROM customers c JOIN orders o ON o.customer_id = c.id JOIN sales.orders s ON s.id = o.id",
    "SELECT 1 FROM customers WHERE EXISTS (SELECT 1 FROM items)",
    "WITH customers AS (SELECT 1 AS id) SELECT * FROM customers",
    "WITH c AS (SELECT * FROM customers) SELECT name FROM c",
    "WITH customers AS (SELECT id, ssn FROM public.customers) SELECT id FROM customers",
    "WITH RECURSIVE items AS (SELECT id FROM orders UNION ALL SELECT id + 100 FROM items WHERE id < 0) SELECT * FROM items",
    "WITH a AS (SELECT id FROM items), items AS (SELECT 2 AS id) SELECT * FROM a, items",
    "WITH orders AS (SELECT 1 AS id) UPDATE orders SET note = 'x' WHERE id = 1",
    "SELECT id FROM customers UNION SELECT customer_id FROM orders INTERSECT SELECT id FROM items",
    "SELECT x.n FROM (SELECT name AS n FROM customers) x, LATERAL (SELECT sku FROM items WHERE sku = x.n) y",
    "SELECT o.id FROM sales.orders o, orders p WHERE p.id = o.id ORDER BY p.total",
    "SELECT shout(name) FROM customers",
    "SELECT id FROM customers GROUP BY id HAVING max(name) > 'a' ORDER BY max(ssn) LIMIT (SELECT count(*) FROM items)",
    "SELECT id FROM customers FOR UPDATE",
    "SELECT c.id FROM customers c, orders o FOR SHARE OF o",
    "TABLE items",
    "VALUES ((SELECT ssn FROM customers LIMIT 1))",
    "INSERT INTO customers (id, name) VALUES (100, 'x')",
    "INSERT INTO customers VALUES (100, 'x', 'y')",
    "INSERT INTO orders (id, note) SELECT id + 1000, sku FROM items",
    "INSERT INTO customers (id) VALUES (100) RETURNING name",
    "INSERT INTO customers (id) VALUES (100) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
    "INSERT INTO orders (id, total) VALUES (1000, (SELECT count(*) FROM items))",
    "UPDATE customers SET name = 'x'",
    "UPDATE customers SET name = ssn WHERE id = 1 RETURNING *",
    "UPDATE orders SET note = c.name FROM customers c WHERE c.id = customer_id",
    "UPDATE orders SET total = (SELECT max(id) FROM items WHERE order_id = orders.id)",
    "DELETE FROM orders WHERE id = 1",
    "DELETE FROM orders USING items i WHERE i.order_id = orders.id AND i.sku = 'x'",
    "WITH gone AS (DELETE FROM items RETURNING id) INSERT INTO orders (id) SELECT id + 5000 FROM gone",
    "WITH u AS (UPDATE customers SET name = 'y' RETURNING id) SELECT * FROM u",
    "MERGE INTO orders o USING items i ON o.id = i.order_id WHEN MATCHED THEN UPDATE SET note = i.sku",
    "MERGE INTO orders o USING items i ON o.id = i.order_id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (i.id)",
    "TRUNCATE items",
    "EXPLAIN SELECT name FROM customers",
    "EXPLAIN DELETE FROM items WHERE sku = 'x'",
    "COPY (SELECT name FROM customers) TO STDOUT",
    "DECLARE cur CURSOR FOR SELECT sku FROM items",
    "SELECT now(), version(), current_schema()",
    "SELECT relname FROM pg_class LIMIT 1",
  ];
  for (const sql of statements)
    test(sql, async (t) => {
      if (isNewerThan(server.major, sql)) t.skip("this server does not know it");
      else await agree(sql);
    });
});

describe("generated queries", () => {
  const table = fc.constantFrom(...Object.keys(tables));
  const query = fc.letrec<{ query: string; source: string }>((tie) => ({
    source: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      { arbitrary: table.map((name) => name.replace("public.", "")), weight: 3 },
      tie("query").map((inner) => `(${inner})`),
    ),
    query: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      { arbitrary: tie("source").map((source) => `SELECT a.id FROM ${source} AS a`), weight: 2 },
      tie("source").map((source) => `SELECT id FROM ${source} AS a WHERE id > 0`),
      fc
        .tuple(tie("source"), tie("source"))
        .map(([one, other]) => `SELECT a.id FROM ${one} AS a JOIN ${other} AS b USING (id)`),
      fc
        .tuple(tie("source"), tie("query"))
        .map(([source, inner]) => `SELECT a.id FROM ${source} AS a WHERE a.id IN (${inner})`),
      fc
        .tuple(tie("source"), tie("query"))
        .map(([source, inner]) => `SELECT a.id FROM ${source} AS a WHERE EXISTS (${inner})`),
      fc.tuple(tie("query"), tie("query")).map(([one, other]) => `(${one}) UNION ALL (${other})`),
      fc
        .tuple(fc.constantFrom("items", "orders", "cte"), tie("query"), tie("source"))
        .map(
          ([name, inner, source]) =>
            `WITH ${name} AS (${inner}) SELECT a.id FROM ${source} AS a, ${name}`,
        ),
      fc
        .tuple(fc.constantFrom("items", "orders"), tie("query"), tie("query"))
        .map(
          ([name, inner, outer]) =>
            `SELECT x.id FROM (WITH RECURSIVE ${name} AS (${inner}) SELECT ${name}.id FROM ${name}) x, (${outer}) y`,
        ),
      tie("source").map(
        (source) =>
          `SELECT (SELECT max(b.id) FROM ${source} AS b WHERE b.id = a.id) AS id FROM items AS a`,
      ),
    ),
  })).query;

  /** Each runs once with all privileges, and once without each of those it needs. */
  const generated = cases(120);

  test("need no privilege that their accesses do not imply", async () => {
    let agreed = 0;
    let needed = 0;
    await fc.assert(
      fc.asyncProperty(query, async (sql) => {
        // What PostgreSQL itself cannot run proves nothing.
        if (
          (await runWith(
            sql,
            Object.keys(tables).map((name) => `ALL ON ${name}`),
          )) !== undefined
        )
          return;
        // The planner drops sub-queries whose result nobody uses, and their checks with them; most remain.
        for (const outcome of (await withheld(sql)).values()) if (outcome === denied) needed += 1;
        agreed += 1;
      }),
      { numRuns: generated },
    );
    assert.ok(
      agreed > generated / 3 && needed > generated / 3,
      `only ${agreed} queries were comparable, ${needed} privileges needed`,
    );
  });
});
