// `credential.postgresRole` in local mode: the same roles as in a cluster, gone when it ends, swept when it was killed.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import pg from "pg";
import { connectionsYaml, databasePolicyYaml } from "./local-manifests.ts";
import {
  createSystem,
  eventually,
  startServers,
  type Dev,
  type LocalSystem,
  type Servers,
} from "./local-system.ts";

const soonMs = 15_000;
const adminPassword = "lessor-password-1";

let servers: Servers;
let system: LocalSystem;
/** The running one, which the next test finds as this one left it. */
let running: Dev | undefined;
const clients: pg.Client[] = [];

before(async () => {
  servers = await startServers({ models: ["gpt-5-mini"], steps: [{ text: "hello" }] });
  await servers.superuser(`
    CREATE ROLE lessor LOGIN CREATEROLE PASSWORD '${adminPassword}';
    GRANT USAGE ON SCHEMA public TO lessor WITH GRANT OPTION;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO lessor WITH GRANT OPTION`);
  system = await createSystem(servers.targets);
  await system.write("connections.yaml", rolesYaml(adminPassword));
});

after(async () => {
  await running?.stop();
  await system?.close();
  await servers?.close();
});

afterEach(async () => {
  for (const client of clients.splice(0)) await client.end().catch(() => undefined);
});

async function begin(): Promise<Dev> {
  running ??= await system.dev();
  return running;
}

async function end(signal?: NodeJS.Signals): Promise<void> {
  await running?.stop(signal);
  running = undefined;
}

/** Until the manifests that were written are in force. */
async function reload(file: string, text: string): Promise<void> {
  const from = running?.stderr().length;
  await system.write(file, text);
  await running?.said("manifests reloaded", from);
}

function rolesYaml(password: string): string {
  const before =
    "static: {secretRef: {name: orders-db}, usernameKey: username, passwordKey: password}";
  const yaml = connectionsYaml({ ...servers.targets, databasePassword: password });
  assert.ok(yaml.includes(before));
  return yaml
    .replace("username: app", "username: lessor")
    .replace(before, before.replace("static: {secretRef", "postgresRole: {adminSecretRef"));
}

async function connect(to: Dev): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: to.databaseUrl });
  client.on("error", () => undefined);
  await client.connect();
  clients.push(client);
  return client;
}

async function roles(): Promise<string[]> {
  const rows = await servers.superuser(
    "SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'chaperone_')",
  );
  return rows.map(({ rolname }) => String(rolname));
}

async function sessions(): Promise<number> {
  const [row] = await servers.superuser(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE starts_with(usename, 'chaperone_')",
  );
  return Number(row?.["n"]);
}

test("an agent works under a role of its own, which is dropped when local mode ends", async () => {
  const started = await begin();
  assert.deepEqual(await roles(), [], "none before its first use");
  const client = await connect(started);
  const { rows } = await client.query("SELECT id, status FROM orders WHERE id = 1");
  assert.deepEqual(rows, [{ id: 1, status: "paid" }]);
  const masked = await client.query<{ ssn: string }>("SELECT ssn FROM customers WHERE id = 1");
  assert.match(masked.rows[0]?.ssn ?? "", /\*.*1120$/);
  await assert.rejects(client.query("DELETE FROM orders"), /Deletions go through the data team/);
  assert.equal(await sessions(), 1);
  const [role] = await roles();
  const whoami = await client.query("SELECT current_user AS name FROM orders WHERE id = 1");
  assert.deepEqual(whoami.rows, [{ name: role }]);
  const [may] = await servers.superuser(
    `SELECT has_table_privilege('${role}', 'orders', 'UPDATE') AS "update", has_table_privilege('${role}', 'orders', 'DELETE') AS "delete"`,
  );
  assert.deepEqual(may, { update: true, delete: false });
  const events = await system.cli(["events", "--state", system.state, "-o", "json"]);
  assert.equal(events.code, 0, events.stderr);
  const granted = events.stdout.split("\n").filter((line) => line.includes('"type":"grant"'));
  assert.match(granted.join("\n"), new RegExp(`"role":"${role}"`), "the grant names it");
  assert.doesNotMatch(events.stdout, new RegExp(adminPassword));
  await end();
  assert.deepEqual(await roles(), []);
});

test("a policy that changes changes what the role may do, on the open connection", async () => {
  const started = await begin();
  const client = await connect(started);
  await client.query("SELECT id FROM orders WHERE id = 1");
  const [role] = await roles();
  const may = async (): Promise<unknown> =>
    (
      await servers.superuser(`SELECT has_table_privilege('${role}', 'orders', 'DELETE') AS may`)
    )[0]?.["may"];
  assert.equal(await may(), false);
  const wider = databasePolicyYaml({
    rules: [
      "{name: remove, action: Allow, sql: {statements: [delete], relations: [public.orders]}}",
    ],
  }).replace("statements: [drop, truncate, delete]", "statements: [drop, truncate]");
  await system.write("database.yaml", wider);
  await eventually("the privilege is there", async () => (await may()) === true, soonMs);
  // The database knows a moment before the proxy does.
  const removes = async (): Promise<boolean> =>
    client.query("DELETE FROM orders WHERE id = -1").then(
      ({ rowCount }) => rowCount === 0,
      () => false,
    );
  await eventually("and used", removes, soonMs);
  assert.deepEqual(await roles(), [role]);
  await reload("database.yaml", databasePolicyYaml());
});

test("what a rule about functions lets through, the database refuses", async () => {
  await servers.superuser(`
    CREATE OR REPLACE FUNCTION scribble() RETURNS int LANGUAGE plpgsql VOLATILE AS $$
      BEGIN INSERT INTO public.orders (id, status) VALUES (999, 'mine'); RETURN 1; END $$`);
  const started = await begin();
  const rules = [
    "{name: call, action: Allow, sql: {statements: [select], functions: ['*']}}",
    "{name: read, action: Allow, sql: {statements: [select], relations: [public.orders]}}",
  ];
  const policy = `apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: invoice-agent, namespace: agents}
spec:
  targetRefs: [{group: chaperone.dev, kind: Connection, name: orders-db}]
  subjects: [{serviceAccounts: [invoice-agent]}]
  rules:
${rules.map((rule) => `    - ${rule}\n`).join("")}`;
  await reload("database.yaml", policy);
  const client = await connect(started);
  const codeOf = (sql: string): Promise<string | undefined> =>
    client.query(sql).then(
      () => undefined,
      (error: Error & { code?: string }) => error.code,
    );
  // Under the policy before it no rule lets a function through: 42501.
  const isInForce = async (): Promise<boolean> => (await codeOf("SELECT scribble()")) === "25006";
  await eventually("a volatile function that writes", isInForce, soonMs);
  assert.equal(await codeOf("SELECT id FROM orders WHERE id = 1"), undefined);
  assert.equal(await codeOf("SELECT number_of(1)"), "42501", "a function that reads customers");
  for (const sql of [
    "SET default_transaction_read_only = off",
    "BEGIN READ WRITE",
    "SET ROLE app",
    "SELECT set_config('transaction_read_only', 'off', false)",
  ])
    assert.equal(await codeOf(sql), "42501", sql);
  assert.deepEqual(await servers.superuser("SELECT id FROM orders WHERE id = 999"), []);
  await reload("database.yaml", databasePolicyYaml());
});

test("a quarantine ends the sessions in the database itself", async () => {
  const started = await begin();
  const client = await connect(started);
  await client.query("SELECT id FROM orders WHERE id = 1");
  const args = ["quarantine", "add", "--service-account", "invoice-agent", "--reason", "test"];
  const added = await system.cli([...args, "--state", system.state]);
  assert.equal(added.code, 0, added.stderr);
  await eventually("no session is left", async () => (await sessions()) === 0, soonMs);
  await eventually("no role is left", async () => (await roles()).length === 0, soonMs);
  await assert.rejects(connect(started));
  const backend = await system.backend();
  for (const { namespace, name } of await backend.quarantines())
    await backend.liftQuarantine(namespace, name);
  const isBack = async (): Promise<boolean> =>
    connect(started).then(
      () => true,
      () => false,
    );
  await eventually("it is back", isBack, soonMs);
});

test("what a killed process left is swept by the next one", async () => {
  const started = await begin();
  const client = await connect(started);
  await client.query("SELECT id FROM orders WHERE id = 1");
  const [orphan = ""] = await roles();
  await end("SIGKILL");
  assert.deepEqual(await roles(), [orphan], "the kill left it behind");
  const again = await begin();
  await eventually("the orphan is gone", async () => !(await roles()).includes(orphan), soonMs);
  const fresh = await connect(again);
  assert.equal((await fresh.query("SELECT id FROM orders WHERE id = 1")).rows.length, 1);
  await end();
});

test("`chaperone run` leaves no role behind", async () => {
  const script = `
    const { default: pg } = await import(${JSON.stringify(import.meta.resolve("pg"))});
    const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
    await client.connect();
    console.log((await client.query("SELECT count(*) FROM orders")).rows[0].count);
    await client.end();`;
  const args = ["run", "-f", system.manifests, "--service-account", "invoice-agent"];
  const where = [
    "--state",
    system.state,
    "--",
    process.execPath,
    "--input-type=module",
    "-e",
    script,
  ];
  const ended = await system.cli([...args, ...where]);
  assert.equal(ended.code, 0, ended.stderr);
  assert.match(ended.stdout, /200/);
  assert.deepEqual(await roles(), []);
});

test("an administrator that the database refuses is told to the agent with the connection, without a secret", async () => {
  await system.write("connections.yaml", rolesYaml("wrong-password-9"));
  const started = await begin();
  const failure = await connect(started).then(
    () => undefined,
    (error: Error) => error,
  );
  assert.match(failure?.message ?? "", /agents\/orders-db.*refused the administrator's login/);
  assert.doesNotMatch(`${failure?.message}${started.stderr()}`, /wrong-password-9/);
});
