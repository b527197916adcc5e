// Roles made for grants, in a real PostgreSQL: what they can do is what the policy permits, and they go when the grant does.
import assert from "node:assert/strict";
import { after, before, beforeEach, afterEach, test } from "node:test";
import fc from "fast-check";
import pg from "pg";
import type { Lease } from "../../contract/control.ts";
import type { AccessPolicy, Connection, PolicyRule } from "../../crds/types.gen.ts";
import {
  connection,
  MemoryResources,
  podIdentity,
  policy,
  quarantine,
} from "../../operator/api/fixture.ts";
import { govern, type Governing } from "../../operator/grants/govern.ts";
import { LeaseRefused } from "../../operator/grants/lease-refused.ts";
import { RoleLeases, type RoleLeasesOptions } from "../../operator/leases/role-leases.ts";
import { decide, prepare } from "../../policy/decide.ts";
import { loadSqlGrammar } from "../../policy/sql/grammar.ts";
import { createSqlRecogniser } from "../../policy/sql/recognise.ts";
import { eventually } from "./local-system.ts";
import { startPostgres, type PostgresServer } from "./postgres-server.ts";
import { cases } from "./search-length.ts";

const soonMs = 10_000;
/** Each set of rules is held against every probe, some forty statements. */
const ruleSets = cases(12);
const never = new AbortController().signal;

let server: PostgresServer;
let view: MemoryResources;
let leases: RoleLeases;
let clock: number;
let problems: string[];
let noted: string[];
const open: pg.Client[] = [];

before(async () => {
  server = await startPostgres({ tls: true, settings: { log_statement: "all" } });
  for (const sql of [
    "CREATE ROLE owner NOLOGIN",
    "CREATE ROLE lessor LOGIN CREATEROLE PASSWORD 'admin-password-1'",
    "GRANT owner TO lessor",
    "CREATE DATABASE orders OWNER owner",
  ])
    await superuser(sql, "postgres");
  await superuser(
    `
    SET ROLE owner;
    CREATE SCHEMA sales;
    CREATE TABLE public_orders (id int); DROP TABLE public_orders;
  `.replaceAll("public_orders", "sales.scratch"),
  );
  await superuser(`
    GRANT CREATE ON SCHEMA public TO owner;
    REVOKE CREATE ON SCHEMA public FROM PUBLIC; -- as it is from PostgreSQL 15 on
    SET ROLE owner;
    CREATE TABLE orders (id serial PRIMARY KEY, status text NOT NULL DEFAULT 'paid', total int);
    INSERT INTO orders (total) SELECT n FROM generate_series(1, 10) n;
    CREATE TABLE customers (id int PRIMARY KEY, name text, ssn text);
    INSERT INTO customers VALUES (1, 'Ada', '078-05-1120');
    CREATE TABLE sales.leads (id int, note text);
    INSERT INTO sales.leads VALUES (1, 'call');
    CREATE VIEW cards AS SELECT id, name FROM customers;
    CREATE FUNCTION peek() RETURNS text LANGUAGE sql AS 'SELECT ssn FROM public.customers LIMIT 1';
    CREATE FUNCTION scribble() RETURNS int LANGUAGE plpgsql VOLATILE AS $$
      BEGIN INSERT INTO public.orders (total) VALUES (666); RETURN 1; END $$;
    CREATE FUNCTION definer() RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS $$
      BEGIN INSERT INTO public.orders (total) VALUES (667); RETURN 1; END $$;
  `);
});

after(async () => {
  await server?.stop();
});

beforeEach(() => {
  clock = Date.now();
  problems = [];
  noted = [];
  view = new MemoryResources();
  view.put(rolesConnection());
  view.putSecret("agents", "orders-admin", { username: "lessor", password: "admin-password-1" });
  view.putSecret("agents", "orders-ca", { "ca.crt": server.caPem ?? "" });
  setRules([allow({ statements: ["select"], relations: ["public.orders"] })]);
  leases = start();
});

afterEach(async () => {
  for (const client of open.splice(0)) await client.end().catch(() => undefined);
  await leases.close();
  for (const name of await roleNames()) {
    await superuser(`DROP OWNED BY "${name}"`);
    await superuser(`DROP ROLE "${name}"`);
  }
});

function rolesConnection(changes: Partial<Connection["spec"]> = {}): Connection {
  return connection({
    endpoint: {
      host: "localhost",
      port: server.port,
      tls: { mode: "VerifyFull", caSecretRef: { name: "orders-ca", key: "ca.crt" } },
    },
    postgres: { database: "orders", targetSessionAttrs: "any" },
    credential: {
      postgresRole: {
        adminSecretRef: { name: "orders-admin" },
        usernameKey: "username",
        passwordKey: "password",
      },
    },
    ...changes,
  });
}

function start(changes: Partial<RoleLeasesOptions> = {}): RoleLeases {
  return new RoleLeases({
    governing: governing(),
    installation: "installation-1",
    access: { resolve: async () => ["127.0.0.1"] },
    dropsAtClose: true,
    random: Math.random,
    onProblem: (what, on, error) =>
      problems.push(`${what} ${on}: ${error instanceof Error ? error.message : String(error)}`),
    onNotes: (on, notes) => noted.push(`${on}: ${notes.length}`),
    ...changes,
  });
}

function governing(): Governing {
  return { view, maskKey: () => "a2V5", operatorNamespace: "chaperone-system", now: () => clock };
}

function allow(sql: NonNullable<PolicyRule["sql"]>, name = "allow"): PolicyRule {
  return { name, action: "Allow", sql };
}

function deny(sql: NonNullable<PolicyRule["sql"]>, name = "deny"): PolicyRule {
  return { name, action: "Deny", sql };
}

function setRules(rules: readonly PolicyRule[], more: Partial<AccessPolicy["spec"]> = {}): void {
  view.put(policy({ rules, ...more }));
}

interface Login {
  readonly username: string;
  readonly password: string;
}

async function lease(
  pod = podIdentity(),
  { from = leases, ttlSeconds = 300, signal = never } = {},
): Promise<Login> {
  const governed = govern(governing(), pod, pod, "agents/orders-db");
  if ("refused" in governed) throw new Error(governed.message);
  const { connection: of, bundle } = governed;
  const made: Lease = await from.lease({ connection: of, bundle, pod, ttlSeconds }, signal);
  assert.equal(made.kind, "password");
  return made;
}

function settings(login: Login, database = "orders"): pg.ClientConfig {
  return {
    host: server.host,
    port: server.port,
    user: login.username,
    password: login.password,
    database,
    ssl: { ca: server.caPem, servername: "localhost" },
  };
}

async function connect(login: Login, database?: string): Promise<pg.Client> {
  const client = new pg.Client(settings(login, database));
  client.on("error", () => undefined);
  await client.connect();
  open.push(client);
  return client;
}

async function superuser(sql: string, database = "orders"): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(
    settings({ username: server.superuser, password: server.password }, database),
  );
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function roleNames(): Promise<string[]> {
  const rows = await superuser(
    "SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'chaperone_')",
  );
  return rows.map(({ rolname }) => String(rolname)).sort();
}

async function noRoles(): Promise<void> {
  await eventually("no role is left", async () => (await roleNames()).length === 0, soonMs);
}

/** SQLSTATE; `ok` when it works. */
async function outcome(client: pg.Client, sql: string): Promise<string> {
  try {
    await client.query("BEGIN");
    await client.query(sql);
    return "ok";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  } finally {
    await client.query("ROLLBACK");
  }
}

const denied = "42501";
const readOnly = "25006";

/** What somebody tries who holds the login of a role that may read `orders`, past the proxy. */
const attempts: Readonly<Record<string, { readonly asMade: string; readonly writing?: string }>> = {
  "SELECT * FROM orders": { asMade: "ok" },
  "SELECT * FROM customers": { asMade: denied },
  "SELECT * FROM cards": { asMade: denied },
  "SELECT * FROM sales.leads": { asMade: denied },
  "SELECT peek()": { asMade: denied },
  "SELECT nextval('orders_id_seq')": { asMade: denied },
  "SELECT * FROM pg_authid": { asMade: denied },
  "SET ROLE owner": { asMade: denied },
  "SET ROLE lessor": { asMade: denied },
  "SET SESSION AUTHORIZATION lessor": { asMade: denied },
  "COPY (SELECT 1) TO PROGRAM 'id'": { asMade: denied },
  "SELECT * FROM orders FOR UPDATE": { asMade: readOnly },
  "UPDATE orders SET total = 1": { asMade: readOnly },
  "INSERT INTO orders (total) VALUES (1)": { asMade: readOnly },
  "DELETE FROM orders": { asMade: readOnly },
  "TRUNCATE orders": { asMade: readOnly },
  "DROP TABLE orders": { asMade: readOnly },
  "ALTER TABLE orders ADD COLUMN x int": { asMade: readOnly },
  "CREATE TABLE mine (id int)": { asMade: readOnly },
  "CREATE TEMP TABLE t AS SELECT * FROM customers": { asMade: readOnly },
  "CREATE ROLE another": { asMade: readOnly },
  "SELECT scribble()": { asMade: readOnly },
  // It runs as its owner, whatever the caller may: only the read-only transaction stands before it.
  "SELECT definer()": { asMade: readOnly, writing: "ok" },
  // A warning, and nothing granted.
  "GRANT SELECT ON orders TO PUBLIC": { asMade: readOnly, writing: "ok" },
};

test("a role made for reading one table reads that table and does nothing else, read-only or not", async () => {
  const client = await connect(await lease());
  const expected = (pick: (attempt: { asMade: string; writing?: string }) => string) =>
    Object.fromEntries(Object.entries(attempts).map(([sql, attempt]) => [sql, pick(attempt)]));
  const all = async (): Promise<Record<string, string>> => {
    const tried: Record<string, string> = {};
    for (const sql of Object.keys(attempts)) tried[sql] = await outcome(client, sql);
    return tried;
  };
  assert.deepEqual(
    await all(),
    expected(({ asMade }) => asMade),
  );
  await client.query("SET default_transaction_read_only = off"); // the proxy lets no agent do this
  assert.deepEqual(
    await all(),
    expected(({ asMade, writing }) => writing ?? (asMade === readOnly ? denied : asMade)),
  );
});

test("a policy that only reads makes transactions read-only, and one that writes does not", async () => {
  const login = await lease();
  const show = async (): Promise<unknown> => {
    const client = await connect(login);
    return (await client.query("SHOW transaction_read_only")).rows[0]?.transaction_read_only;
  };
  assert.equal(await show(), "on");
  setRules([allow({ statements: ["select", "insert"], relations: ["public.orders"] })]);
  assert.equal((await lease()).username, login.username);
  assert.equal(await show(), "off");
  setRules([allow({ statements: ["select"], relations: ["public.orders"] })]);
  await lease();
  assert.equal(await show(), "on");
});

test("columns, kinds and Denies hold in the database as the policy says them", async () => {
  setRules([
    allow({ statements: ["select"], relations: ["public.*"] }, "read"),
    deny({ statements: ["select"], columns: ["public.customers.ssn"] }, "not-ssn"),
    allow({ statements: ["insert"], relations: ["public.orders"] }, "add"),
    allow(
      { statements: ["update"], columns: ["public.orders.id", "public.orders.status"] },
      "mark",
    ),
    deny({ statements: ["delete", "truncate"] }, "never"),
  ]);
  const client = await connect(await lease());
  const expected: Readonly<Record<string, string>> = {
    "SELECT id, name FROM customers": "ok",
    "SELECT ssn FROM customers": denied,
    "SELECT * FROM customers": denied,
    "SELECT peek()": denied,
    "INSERT INTO orders (total) VALUES (5) RETURNING id": "ok",
    "UPDATE orders SET status = 'refunded' WHERE id = 1": "ok",
    "UPDATE orders SET total = 0 WHERE id = 1": denied,
    "INSERT INTO customers VALUES (2)": denied,
    "DELETE FROM orders": denied,
    "SELECT * FROM sales.leads": denied,
  };
  const tried: Record<string, string> = {};
  for (const sql of Object.keys(expected)) tried[sql] = await outcome(client, sql);
  assert.deepEqual(tried, expected);
});

const tables: Readonly<Record<string, readonly string[]>> = {
  "public.orders": ["id", "status", "total"],
  "public.customers": ["id", "name", "ssn"],
  "sales.leads": ["id", "note"],
};

/** Every kind of access by itself, on every table and column. */
const probes = Object.entries(tables).flatMap(([table, columns]) => [
  { table, sql: `SELECT * FROM ${table}` },
  { table, sql: `DELETE FROM ${table} WHERE id = 0` },
  { table, sql: `DELETE FROM ${table}` },
  { table, sql: `TRUNCATE ${table}` },
  ...columns.flatMap((column) => [
    { table, column, sql: `SELECT ${column} FROM ${table}` },
    { table, column, sql: `INSERT INTO ${table} (${column}) VALUES (DEFAULT)` },
    { table, column, sql: `UPDATE ${table} SET ${column} = NULL` },
    { table, column, sql: `UPDATE ${table} SET ${column} = NULL WHERE ${column} IS NULL` },
  ]),
]);

const some = <T>(values: readonly T[]) =>
  fc.option(fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 3 }), {
    nil: undefined,
  });

const anyRule: fc.Arbitrary<PolicyRule> = fc
  .record({
    name: fc.uuid(),
    action: fc.constantFrom<PolicyRule["action"]>("Allow", "Allow", "RequireApproval", "Deny"),
    statements: some(["select", "insert", "update", "delete", "truncate", "merge"] as const),
    relations: some(["public.*", "public.orders", "sales.leads", "*", "public.c*"]),
    columns: some(["public.orders.id", "public.customers.*", "*.ssn", "sales.leads.id"]),
    hasWhere: fc.option(fc.boolean(), { nil: undefined }),
  })
  .map(({ name, action, statements, relations, columns, hasWhere }) => ({
    name,
    action,
    sql: {
      ...(statements && { statements }),
      ...(relations && { relations }),
      ...(columns && { columns }),
      ...(hasWhere !== undefined && { hasWhere }),
    },
  }));

/** The same write with a WHERE or without: no privilege tells them apart. */
function otherWhere(sql: string): readonly string[] {
  const [table, column] = [/(?:FROM|UPDATE) (\S+)/.exec(sql)?.[1], /SET (\S+)/.exec(sql)?.[1]];
  if (sql.startsWith("DELETE"))
    return [`DELETE FROM ${table}`, `DELETE FROM ${table} WHERE id = 0`];
  if (!sql.startsWith("UPDATE")) return [];
  const all = `UPDATE ${table} SET ${column} = NULL`;
  return [all, `${all} WHERE ${column} IS NULL`];
}

test("whatever the rules, the database lets pass what they permit, and refuses the rest", async () => {
  const recogniser = createSqlRecogniser({ grammar: await loadSqlGrammar() });
  const pod = podIdentity();
  const context = { session: { id: "s", operations: 0 }, time: new Date() };
  const decided = (sql: string): string => {
    const governed = govern(governing(), pod, pod, "agents/orders-db");
    if ("refused" in governed) throw new Error(governed.message);
    const { operation } = recogniser.recognise(sql);
    return decide(prepare(governed.bundle), pod, { ...operation, params: [] }, context).verdict;
  };
  /** A write that reads its own columns brings SELECT on them along. */
  const readsByWriting = (table: string, column: string | undefined): boolean => {
    const columns = column === undefined ? tables[table] : [column];
    return [
      ...(columns ?? []).flatMap((name) => [
        `UPDATE ${table} SET ${name} = NULL`,
        `UPDATE ${table} SET ${name} = NULL WHERE ${name} IS NULL`,
        `MERGE INTO ${table} t USING (SELECT 1 AS x) s ON t.${name} IS NULL WHEN MATCHED THEN DO NOTHING`,
      ]),
      `DELETE FROM ${table}`,
      `DELETE FROM ${table} WHERE id = 0`,
    ].some((sql) => decided(sql) !== "deny");
  };
  await fc.assert(
    fc.asyncProperty(fc.array(anyRule, { maxLength: 4 }), async (rules) => {
      setRules(rules);
      const client = await connect(await lease());
      for (const { sql, table, column } of probes.map((probe) => ({
        column: undefined,
        ...probe,
      }))) {
        const code = await outcome(client, sql);
        const passes = code !== denied && code !== readOnly;
        if (decided(sql) !== "deny") assert.ok(passes, `${code}: ${sql}`);
        else if (passes && sql.startsWith("SELECT"))
          assert.ok(readsByWriting(table, column), `too much: ${sql}`);
        else if (passes)
          assert.ok(
            otherWhere(sql).some((twin) => decided(twin) !== "deny"),
            `too much: ${sql}`,
          );
      }
      await client.end();
    }),
    { numRuns: ruleSets },
  );
});

test("a renewal keeps role and password, and gives what is due now: new tables, fewer rules", async () => {
  setRules([allow({ statements: ["select"], relations: ["sales.*"] })]);
  const first = await lease();
  const client = await connect(first);
  assert.equal(await outcome(client, "SELECT * FROM sales.leads"), "ok");
  await superuser("SET ROLE owner; CREATE TABLE sales.fresh (id int)");
  assert.equal(await outcome(client, "SELECT * FROM sales.fresh"), denied);
  const before = await validUntil(first.username);
  clock += 100_000;
  assert.deepEqual(await lease(podIdentity(), { ttlSeconds: 400 }), first);
  assert.equal(await outcome(client, "SELECT * FROM sales.fresh"), "ok");
  assert.ok((await validUntil(first.username)) > before);
  setRules([allow({ statements: ["select"], columns: ["sales.leads.id"] })]);
  await lease();
  assert.equal(await outcome(client, "SELECT id FROM sales.leads"), "ok");
  assert.equal(await outcome(client, "SELECT note FROM sales.leads"), denied);
  assert.equal(await outcome(client, "SELECT * FROM sales.fresh"), denied);
  await superuser("DROP TABLE sales.fresh");
});

async function validUntil(role: string): Promise<number> {
  const [row] = await superuser(
    `SELECT extract(epoch FROM rolvaliduntil)::float8 AS at FROM pg_roles WHERE rolname = '${role}'`,
  );
  return Number(row?.["at"]);
}

test("the role is nothing but its grants, may log in for its time, and says whose it is", async () => {
  const { username } = await lease();
  const [row] = await superuser(
    `SELECT rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit,
            rolvaliduntil BETWEEN now() + interval '5 minutes' AND now() + interval '6 minutes' AS timed,
            shobj_description(oid, 'pg_authid')::json AS comment FROM pg_roles WHERE rolname = '${username}'`,
  );
  const { comment, ...attributes } = row ?? {};
  assert.deepEqual(attributes, {
    rolsuper: false,
    rolinherit: false,
    rolcreaterole: false,
    rolcreatedb: false,
    rolcanlogin: true,
    rolreplication: false,
    rolbypassrls: false,
    rolconnlimit: 100,
    timed: true,
  });
  const { expires, ...mark } = comment as Record<string, unknown>;
  assert.ok(Date.parse(String(expires)) > Date.now());
  assert.deepEqual(mark, {
    madeBy: "chaperone.dev",
    installation: "installation-1",
    connection: "agents/orders-db",
    database: "orders",
    namespace: "agents",
    pod: "invoice-7c9d",
    podUid: podIdentity().podUid,
    serviceAccount: "invoice-agent",
  });
});

test("the server sees a verifier: neither its log nor its catalog ever holds the password", async () => {
  const { username, password } = await lease();
  const [row] = await superuser(`SELECT rolpassword FROM pg_authid WHERE rolname = '${username}'`);
  assert.match(String(row?.["rolpassword"]), /^SCRAM-SHA-256\$4096:/);
  assert.match(server.log(), /CREATE ROLE/);
  assert.ok(!server.log().includes(password));
  assert.ok(!server.log().includes("admin-password-1"));
});

test("a quarantine ends the sessions in the database itself and drops the role", async () => {
  const login = await lease();
  const client = await connect(login);
  const ended = new Promise<string | undefined>((resolve) =>
    client.on("error", (error: Error & { code?: string }) => resolve(error.code)),
  );
  view.put(quarantine({ subjects: [{ serviceAccounts: ["invoice-agent"] }] }));
  assert.equal(await ended, "57P01");
  await noRoles();
  await assert.rejects(connect(login), { code: "28P01" });
});

test("removing the policy, another credential and the pod's end drop the role, too", async () => {
  await lease();
  view.delete("AccessPolicy", "agents", "invoice-agent");
  await noRoles();
  setRules([allow({ statements: ["select"] })]);
  await lease();
  leases.end(podIdentity().podUid);
  await noRoles();
  await lease();
  view.put(connection());
  await noRoles();
});

/** As if the server's clock had come to the end of the role's time. */
async function outlive(role: string): Promise<void> {
  const [row] = await superuser(
    `SELECT shobj_description(oid, 'pg_authid') AS comment FROM pg_roles WHERE rolname = '${role}'`,
  );
  const past = String(row?.["comment"]).replace(
    /"expires":"[^"]*"/,
    '"expires":"2020-01-01T00:00:00Z"',
  );
  await superuser(`COMMENT ON ROLE "${role}" IS '${past}'`);
}

test("what is not renewed is dropped after its time, with its sessions", async () => {
  const login = await lease();
  const client = await connect(login);
  await outlive(login.username);
  clock += 331_000;
  await noRoles();
  await assert.rejects(client.query("SELECT 1"));
});

test("a role that another process has given more time is left to it", async () => {
  const login = await lease();
  const client = await connect(login);
  const other = start({ dropsAtClose: false });
  const taken = await lease(podIdentity(), { from: other });
  assert.equal(taken.username, login.username);
  clock += 331_000; // this process knows of no renewal
  await new Promise((resolve) => setTimeout(resolve, 3_000)); // more than a look at what is over
  assert.equal((await client.query("SELECT 1 AS one")).rows[0]?.one, 1);
  assert.deepEqual(await roleNames(), [login.username]);
  await other.close();
  await outlive(login.username);
  await leases.sweep();
  await noRoles();
});

test("a role whose comment somebody changed still ends with its grant", async () => {
  const { username } = await lease();
  await superuser(`COMMENT ON ROLE "${username}" IS 'do not touch'`);
  leases.end(podIdentity().podUid);
  await noRoles();
});

test("pods at a time get roles of their own, each with its privileges", async () => {
  const pods = Array.from({ length: 12 }, (_, at) =>
    podIdentity({ podUid: `uid-${at}`, pod: `invoice-${at}` }),
  );
  const logins = await Promise.all(pods.map((pod) => lease(pod)));
  assert.equal(new Set(logins.map(({ username }) => username)).size, 12);
  for (const login of logins)
    assert.equal(await outcome(await connect(login), "SELECT * FROM orders"), "ok");
  const [first] = pods;
  leases.end(first?.podUid ?? "");
  await eventually("one is gone", async () => (await roleNames()).length === 11, soonMs);
});

test("after a crash a pod's role is taken over with its sessions, and an orphan is swept", async () => {
  const gone = podIdentity({ podUid: "uid-gone", pod: "gone" });
  const first = start({ dropsAtClose: false });
  const kept = await lease(podIdentity(), { from: first });
  const client = await connect(kept);
  const lost = await lease(gone, { from: first });
  await first.close();
  const second = start({ podExists: (podUid) => podUid !== "uid-gone" });
  try {
    await second.sweep();
    await eventually(
      "the orphan is gone",
      async () => !(await roleNames()).includes(lost.username),
      soonMs,
    );
    const taken = await lease(podIdentity(), { from: second });
    assert.equal(taken.username, kept.username, "the same role");
    assert.notEqual(
      taken.password,
      kept.password,
      "whose password nobody but the new process knows",
    );
    assert.equal((await client.query("SELECT 1 AS one")).rows[0]?.one, 1, "its session lives on");
    assert.equal(await outcome(await connect(taken), "SELECT * FROM orders"), "ok");
    view.put(quarantine({ all: true }));
    await noRoles();
  } finally {
    await second.close();
  }
});

test("a role whose time is over is swept whoever it was for; another installation's is left alone", async () => {
  const other = start({ installation: "installation-2", dropsAtClose: false });
  const theirs = await lease(podIdentity({ podUid: "theirs" }), { from: other });
  await other.close();
  const mine = start({ dropsAtClose: false });
  const left = await lease(podIdentity({ podUid: "left" }), { from: mine });
  await mine.close();
  await outlive(left.username);
  await leases.sweep();
  await eventually(
    "the old one is gone",
    async () => !(await roleNames()).includes(left.username),
    soonMs,
  );
  assert.deepEqual(await roleNames(), [theirs.username]);
});

test("a role that cannot be dropped is tried again until it can", async () => {
  const { username } = await lease();
  await superuser("CREATE DATABASE elsewhere", "postgres");
  await superuser(`CREATE TABLE kept (id int); GRANT SELECT ON kept TO "${username}"`, "elsewhere");
  leases.end(podIdentity().podUid);
  await eventually(
    "it is told",
    () => problems.some((line) => /role-not-dropped/.test(line)),
    soonMs,
  );
  assert.deepEqual(await roleNames(), [username]);
  await superuser("DROP DATABASE elsewhere", "postgres");
  clock += 1_000; // the first retry comes after half a second
  await noRoles();
});

const failures: readonly {
  readonly title: string;
  readonly reason: string;
  readonly says: RegExp;
  readonly breaks: () => void | Promise<void>;
}[] = [
  {
    title: "a login that the database refuses",
    reason: "AdminRefused",
    says: /connection agents\/orders-db: the database refused the administrator's login \(28P01\)/,
    breaks: () =>
      view.putSecret("agents", "orders-admin", { username: "lessor", password: "wrong-one-2" }),
  },
  {
    title: "a login that may make no roles",
    reason: "AdminNotAble",
    says: /lacks CREATEROLE/,
    breaks: async () => {
      await superuser(
        "DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN PASSWORD 'weak-password-3'",
      );
      view.putSecret("agents", "orders-admin", { username: "weak", password: "weak-password-3" });
    },
  },
  {
    title: "a server that is away",
    reason: "DatabaseUnreachable",
    says: /cannot be reached to make a role \(ECONNREFUSED\)/,
    breaks: () => view.put(rolesConnection({ endpoint: { host: "localhost", port: 1 } })),
  },
  {
    title: "a certificate of somebody else",
    reason: "DatabaseUntrusted",
    says: /certificate of its database is not to be trusted/,
    breaks: () =>
      view.put(
        rolesConnection({
          endpoint: { host: "localhost", port: server.port, tls: { mode: "VerifyFull" } },
        }),
      ),
  },
  {
    title: "a certificate for another name",
    reason: "DatabaseUntrusted",
    says: /not to be trusted/,
    breaks: () =>
      view.put(
        rolesConnection({
          endpoint: {
            host: "db.example",
            port: server.port,
            tls: { mode: "VerifyFull", caSecretRef: { name: "orders-ca", key: "ca.crt" } },
          },
        }),
      ),
  },
  {
    title: "a database that is not there",
    reason: "RoleNotMade",
    says: /3D000/,
    breaks: () =>
      view.put(rolesConnection({ postgres: { database: "nowhere", targetSessionAttrs: "any" } })),
  },
];

for (const { title, reason, says, breaks } of failures)
  test(`${title} is named with the Connection, never with a secret, and stands in its status`, async () => {
    await breaks();
    await assert.rejects(lease(), (error: unknown) => {
      assert.ok(error instanceof LeaseRefused);
      assert.equal(error.reason, reason, error.message);
      assert.match(error.message, says);
      assert.doesNotMatch(error.message, /wrong-one-2|weak-password-3|admin-password-1/);
      assert.equal(error.temporary, true);
      return true;
    });
    assert.equal(leases.outcome("agents/orders-db").problem?.reason, reason);
    assert.deepEqual(await roleNames(), []);
  });

test("a name that leads to a forbidden address is not dialled", async () => {
  const careful = start({
    access: {
      resolve: async () => ["127.0.0.1"],
      forbidden: { reason: () => "a loopback address" },
    },
  });
  await assert.rejects(lease(podIdentity(), { from: careful }), /its host is a loopback address/);
  await careful.close();
});

test("what the login cannot pass on, what only an owner can do and what PUBLIC may are said", async () => {
  await superuser(
    "CREATE TABLE foreign_to_us (id int); CREATE TABLE leaky (id int); GRANT SELECT ON leaky TO PUBLIC; GRANT CREATE ON SCHEMA sales TO PUBLIC",
  );
  setRules([
    allow({ statements: ["select"], relations: ["public.foreign_to_us", "public.orders"] }),
    allow({ statements: ["drop"], relations: ["public.orders"] }, "drops"),
  ]);
  const client = await connect(await lease());
  assert.equal(await outcome(client, "SELECT * FROM orders"), "ok");
  assert.equal(await outcome(client, "SELECT * FROM foreign_to_us"), denied);
  const { notes, problem } = leases.outcome("agents/orders-db");
  assert.equal(problem, undefined);
  assert.equal(notes.length, 4);
  assert.match(notes.join("\n"), /rule drops permits drop, which only the owner/);
  assert.match(notes.join("\n"), /may not grant SELECT on table public\.foreign_to_us/);
  assert.match(notes.join("\n"), /PUBLIC holds SELECT on table public\.leaky/);
  assert.match(notes.join("\n"), /PUBLIC may CREATE in sales/);
  await lease();
  assert.deepEqual(noted, ["agents/orders-db: 4"], "logged once, not at every renewal");
  await superuser("DROP TABLE foreign_to_us, leaky; REVOKE CREATE ON SCHEMA sales FROM PUBLIC");
});

test("a database that PUBLIC may not enter is opened for the role, and closed with it", async () => {
  await superuser(
    "REVOKE CONNECT ON DATABASE orders FROM PUBLIC; GRANT CONNECT ON DATABASE orders TO lessor",
  );
  await connect(await lease());
  leases.end(podIdentity().podUid);
  await noRoles();
  await superuser("GRANT CONNECT ON DATABASE orders TO PUBLIC");
});

test("a superuser as login works alike", async () => {
  view.putSecret("agents", "orders-admin", {
    username: server.superuser,
    password: server.password,
  });
  assert.equal(await outcome(await connect(await lease()), "SELECT * FROM orders"), "ok");
  leases.end(podIdentity().podUid);
  await noRoles();
});

test("an exchange that gives up leaves no role behind", async () => {
  await superuser("SELECT 1");
  for (const ms of [0, 5, 10, 20, 30, 40, 60, 80]) {
    const given = new AbortController();
    const timer = setTimeout(() => given.abort(new Error("gave up")), ms);
    await lease(podIdentity(), { signal: given.signal }).catch(() => undefined);
    clearTimeout(timer);
    leases.end(podIdentity().podUid);
  }
  await noRoles();
});
