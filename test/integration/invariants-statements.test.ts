// Invariants 2 and 3 against the grammar: whatever can be said in SQL, nothing that leaks or is denied reaches the server, in either protocol.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import {
  leakingStatements,
  maskedStatements,
  smugglingStatements,
} from "./invariants-statements.ts";
import { databasePolicyYaml, secretNumbers } from "./local-manifests.ts";
import { startRelay, type Relay } from "./local-relay.ts";
import { findSecretsInBytes } from "./local-search.ts";
import {
  createSystem,
  eventually,
  startServers,
  type Dev,
  type LocalSystem,
  type Servers,
} from "./local-system.ts";

let servers: Servers;
let system: LocalSystem;
let dev: Dev;
let relay: Relay;
let client: pg.Client;
let seenByServer: () => string;

before(async () => {
  servers = await startServers({ steps: [{ text: "hello" }] });
  // The server's own log is the judge of what reached it.
  await servers.superuser("ALTER DATABASE orders SET log_statement = 'all'");
  seenByServer = servers.postgres.log;
  system = await createSystem(servers.targets);
  await system.write(
    "database.yaml",
    databasePolicyYaml({
      rules: [
        '{name: write, action: Allow, sql: {statements: [insert, update, merge, copy, explain], relations: ["public.*"]}}',
        "{name: ddl, action: Allow, sql: {statements: [utility, create, alter, set, transaction, call, do, grant]}}",
      ],
    }).replace(/ {4}- name: refunds-need-a-person\n(?: {6}.*\n)+/, ""),
  );
  dev = await system.dev();
  const { hostname, port } = new URL(dev.databaseUrl);
  relay = await startRelay({ host: hostname, port: Number(port) });
  client = new pg.Client({
    host: "127.0.0.1",
    port: relay.port,
    user: "agent",
    database: "orders",
  });
  client.on("error", () => undefined);
  await client.connect();
});

after(async () => {
  await client?.end().catch(() => undefined);
  await relay?.close();
  await dev?.stop();
  await system?.close();
  await servers?.close();
});

const ways: Readonly<Record<string, (text: string) => Promise<unknown>>> = {
  simple: (text) => client.query(text),
  extended: (text) => client.query({ text, values: [] }),
  named: (text) => client.query({ name: `n${names++}`, text, values: [] }),
};
let names = 0;

function assertNothingSeen(): void {
  assert.deepEqual(findSecretsInBytes([...secretNumbers], "the wire", relay.received()), []);
}

for (const [way, send] of Object.entries(ways)) {
  test(`${leakingStatements.length} ways to get at a masked value show none of it: refused before they are sent, or hidden (${way})`, async () => {
    let refusals = 0;
    for (const text of leakingStatements) {
      const answer = await send(text).catch((error: pg.DatabaseError) => error);
      if (!(answer instanceof pg.DatabaseError)) assertHidden(text, answer);
      else if (answer.hint?.startsWith("chaperone: ") === true) {
        refusals += 1;
        assertRefused(text, answer);
      } else assertHidden(text, { rows: [answer.message, answer.detail] });
    }
    assert.ok(refusals > leakingStatements.length / 2, `${refusals} were refused`);
    assertNothingSeen();
  });
}

function assertRefused(text: string, { code, message }: pg.DatabaseError): void {
  assert.ok(["42501", "42601", "0A000"].includes(code ?? ""), `${text}: ${code} ${message}`);
  assert.ok(!seenByServer().includes(text), `reached the server: ${text}`);
}

/** What is computed from a masked value is hidden whole: not even a piece of it comes. */
function assertHidden(text: string, answer: unknown): void {
  assert.ok(typeof answer === "object" && answer !== null && "rows" in answer);
  const shown = JSON.stringify(answer.rows);
  for (const number of secretNumbers)
    assert.ok(!shown.includes(number.slice(0, 5)), `${text}: ${shown}`);
}

test("what is hidden behind another statement is seen and refused, and nothing of the text runs", async () => {
  const counted =
    "SELECT (SELECT count(*) FROM orders)::int AS orders, (SELECT count(*) FROM customers)::int AS customers";
  const [before] = await servers.superuser(counted);
  for (const text of smugglingStatements) {
    await assert.rejects(
      client.query(text),
      (error: pg.DatabaseError) => error.code === "42501" || error.code === "42601",
      text,
    );
  }
  const [left] = await servers.superuser(counted);
  assert.deepEqual(left, before);
});

test("a masked column shown as it may be is masked, in either protocol", async () => {
  for (const text of maskedStatements) {
    for (const send of Object.values(ways)) await send(text);
    await client.query({ text, values: [], binary: true } as pg.QueryConfig);
  }
  assertNothingSeen();
  assert.ok(relay.received().includes("*******1120"), "the search looked at the right bytes");
});

test("names longer than PostgreSQL keeps, cut in the middle of a character or not, cannot dodge a Deny", async () => {
  const name = "o".repeat(62);
  await servers.superuser(`CREATE TABLE ${name} (id int); GRANT ALL ON ${name} TO app`);
  await system.write(
    "long.yaml",
    `apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: long, namespace: agents}
spec:
  targetRefs: [{group: chaperone.dev, kind: Connection, name: orders-db}]
  subjects: [{serviceAccounts: [invoice-agent]}]
  rules: [{name: not-this, action: Deny, sql: {relations: [public.${name}]}, message: Not this one.}]
`,
  );
  await dev.said("manifests reloaded");
  // The open connection hears of it a moment later.
  await eventually(
    "the rule to count",
    async () =>
      client.query(`SELECT count(*) FROM ${name}`).then(
        () => false,
        () => true,
      ),
    5_000,
  );
  const reached = seenByServer().length;
  const spellings = [
    name,
    `"${name}"`,
    name.toUpperCase(),
    `${name}é`,
    `"${name}é"`,
    `"${name}\u{1f600}"`,
  ];
  for (const spelling of spellings) {
    const outcome = await client.query(`SELECT count(*) FROM ${spelling}`).then(
      () => "passed",
      (error: Error) => error.message,
    );
    assert.notEqual(outcome, "passed", spelling);
  }
  const since = seenByServer().slice(reached);
  assert.ok(!since.includes(`FROM ${name}`), "nothing that names it reached the server");
});
