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
const running: Dev[] = [];
const clients: pg.Client[] = [];

before(async () => {
  servers = await startServers({ models: ["gpt-5-mini"], steps: [{ text: "hello" }] });
  await servers.superuser(`
    CREATE ROLE lessor LOGIN CREATEROLE PASSWORD '${adminPassword}';
    GRANT USAGE ON SCHEMA public TO lessor WITH GRANT OPTION;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO lessor WITH GRANT OPTION`);
});

after(async () => {
  await servers?.close();
});

afterEach(async () => {
  for (const client of clients.splice(0)) await client.end().catch(() => undefined);
  for (const dev of running.splice(0)) await dev.stop().catch(() => undefined);
  await system?.close();
});

async function begin(password = adminPassword): Promise<Dev> {
  system = await createSystem(servers.targets);
  await system.write("connections.yaml", rolesYaml(password));
  return await dev();
}

async function dev(): Promise<Dev> {
  const started = await system.dev();
  running.push(started);
  return started;
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
  await started.stop();
  assert.deepEqual(await roles(), []);
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
});

test("what a killed process left is swept by the next one", async () => {
  const started = await begin();
  const client = await connect(started);
  await client.query("SELECT id FROM orders WHERE id = 1");
  const [orphan = ""] = await roles();
  await started.stop("SIGKILL");
  assert.deepEqual(await roles(), [orphan], "the kill left it behind");
  const again = await dev();
  await eventually("the orphan is gone", async () => !(await roles()).includes(orphan), soonMs);
  const fresh = await connect(again);
  assert.equal((await fresh.query("SELECT id FROM orders WHERE id = 1")).rows.length, 1);
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
  await eventually(
    "and used",
    async () => (await client.query("DELETE FROM orders WHERE id = -1")).rowCount === 0,
    soonMs,
  );
  assert.deepEqual(await roles(), [role]);
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
  await system.write("database.yaml", policy);
  await started.said("manifests reloaded");
  const client = await connect(started);
  const codeOf = (sql: string): Promise<string | undefined> =>
    client.query(sql).then(
      () => undefined,
      (error: Error & { code?: string }) => error.code,
    );
  assert.equal(await codeOf("SELECT id FROM orders WHERE id = 1"), undefined);
  assert.equal(await codeOf("SELECT number_of(1)"), "42501", "a function that reads customers");
  assert.equal(await codeOf("SELECT scribble()"), "25006", "a volatile function that writes");
  for (const sql of [
    "SET default_transaction_read_only = off",
    "BEGIN READ WRITE",
    "SET ROLE app",
    "SELECT set_config('transaction_read_only', 'off', false)",
  ])
    assert.equal(await codeOf(sql), "42501", sql);
  assert.deepEqual(await servers.superuser("SELECT id FROM orders WHERE id = 999"), []);
});

test("`chaperone run` leaves no role behind", async () => {
  system = await createSystem(servers.targets);
  await system.write("connections.yaml", rolesYaml(adminPassword));
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
  const started = await begin("wrong-password-9");
  const failure = await connect(started).then(
    () => undefined,
    (error: Error) => error,
  );
  assert.match(failure?.message ?? "", /agents\/orders-db.*refused the administrator's login/);
  assert.doesNotMatch(`${failure?.message}${started.stderr()}`, /wrong-password-9/);
});
