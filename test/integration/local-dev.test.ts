// `chaperone dev`, `run`, `check` and `explain` as their users meet them: output, exit codes, signals, and who may work in a state directory.
import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import pg from "pg";
import {
  createSystem,
  eventually,
  startServers,
  type Dev,
  type LocalSystem,
  type Servers,
} from "./local-system.ts";

const saidYaml = `apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: said-db, namespace: said}
spec: {protocol: postgres, endpoint: {host: localhost, port: 5432}, postgres: {database: app}, hosts: [said.example]}
---
apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: said, namespace: said}
spec:
  targetRefs: [{group: chaperone.dev, kind: Connection, name: said-db}]
  detectors: [{name: order-number, pattern: "ORD-[0-9]{5}"}]
  rules:
    - {name: all, action: Allow, sql: {relations: ["public.*"]}}
    - {name: no-orders, action: Deny, sql: {detect: [order-number]}}
`;

let servers: Servers;
let system: LocalSystem;
/** Runs from the first test to the last. */
let dev: Dev;

before(async () => {
  servers = await startServers({
    models: ["gpt-5-mini"],
    steps: [{ text: "hello from the model" }],
  });
  system = await createSystem(servers.targets);
});

after(async () => {
  await system?.close();
  await servers?.close();
});

const run = (...command: string[]): string[] => [
  "run",
  "-f",
  system.manifests,
  "--service-account",
  "invoice-agent",
  "--state",
  join(system.directory, "run"),
  "--",
  ...command,
];

test("dev --json prints one line with exactly what the contract says, and its environment works", async () => {
  dev = await system.dev({ args: ["--port-base", "24310"] });
  const parsed: unknown = JSON.parse(dev.line);
  const key = dev.openaiKey;
  assert.match(key, /^held-by-chaperone-[0-9a-f]{24}$/);
  assert.deepEqual(parsed, {
    ready: true,
    stateDir: system.state,
    caFile: join(system.state, "ca.crt"),
    connections: [
      {
        namespace: "agents",
        name: "openai",
        protocol: "openai",
        address: "127.0.0.1:24310",
        url: "http://127.0.0.1:24310/v1",
        env: { OPENAI_BASE_URL: "http://127.0.0.1:24310/v1", OPENAI_API_KEY: key },
      },
      {
        namespace: "agents",
        name: "orders-db",
        protocol: "postgres",
        address: "127.0.0.1:24311",
        url: "postgresql://127.0.0.1:24311",
        env: { DATABASE_URL: "postgresql://agent@127.0.0.1:24311/orders" },
      },
    ],
  });
  const client = new pg.Client({ connectionString: dev.databaseUrl });
  await client.connect();
  const { rows } = await client.query("SELECT id, name FROM customers ORDER BY id");
  assert.equal(rows.length, 3);
  await client.end();
  const chat = await fetch(`${dev.openaiUrl}/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "gpt-5-mini", messages: [{ role: "user", content: "hi" }] }),
  });
  assert.equal(chat.status, 200, await chat.clone().text());
  assert.match(await readFile(dev.caFile, "utf8"), /BEGIN CERTIFICATE/);
  assert.equal((await stat(dev.stateDir)).mode & 0o777, 0o700);
});

test("dev without --json prints a table and ready, and logs nothing there", async () => {
  let out = "";
  const other = join(system.directory, "other");
  const ended = await system.cli(
    ["dev", "-f", system.manifests, "--service-account", "invoice-agent", "--state", other],
    {
      started: (child) =>
        child.stdout?.on("data", (chunk: Buffer) => {
          out += chunk.toString();
          if (out.endsWith("ready\n")) child.kill("SIGTERM");
        }),
    },
  );
  assert.equal(ended.code, 0, ended.stderr);
  assert.match(ended.stdout, /^CONNECTION +PROTOCOL +ADDRESS +ENVIRONMENT\n/);
  assert.match(
    ended.stdout,
    /agents\/orders-db +postgres +127\.0\.0\.1:\d+ +DATABASE_URL=postgresql/,
  );
  assert.match(ended.stdout, /HTTPS_PROXY=http:\/\/127\.0\.0\.1:\d+ SSL_CERT_FILE=\S+\nready\n$/);
});

test("a second dev in the same state directory is refused and the first goes on", async () => {
  const second = await system.cli(["dev", "-f", system.manifests, "--state", system.state]);
  assert.equal(second.code, 1);
  assert.match(second.stderr, new RegExp(`is in use by process ${dev.pid}; stop it, or choose`));
  assert.equal(second.stderr.trim().split("\n").length, 1);
  const client = new pg.Client({ connectionString: dev.databaseUrl });
  await client.connect();
  await client.query("SELECT 1");
  await client.end();
});

test("wrong use ends with 2, what cannot be done with 1, each with one line of what to do", async () => {
  for (const args of [["dev"], ["explain", "-f", "x"], ["quarantine", "add"], ["nonsense"]])
    assert.equal((await system.cli(args)).code, 2, args.join(" "));
  const missing = await system.cli([
    "dev",
    "-f",
    join(system.directory, "nowhere"),
    "--state",
    system.state,
  ]);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /nowhere/);
  const state = await system.cli(["events", "--state", join(system.directory, "none")]);
  assert.equal(state.code, 1);
  assert.match(state.stderr, /there is no state directory .*none/);
  await system.write(
    "other.yaml",
    "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: other}\nstringData: {a: b}\n",
  );
  const two = await system.cli(["check", "-f", system.manifests]);
  assert.equal(two.code, 0, two.stderr);
  await system.remove("other.yaml");
});

test("run gives the command environment and trust, and returns its exit code and its signal", async () => {
  const seen = await system.cli(
    run(process.execPath, "-e", "console.log(JSON.stringify(process.env)); process.exit(7)"),
    { env: { MY_OWN: "kept", NO_PROXY: "intranet" } },
  );
  assert.equal(seen.code, 7, seen.stderr);
  const env = JSON.parse(seen.stdout) as Record<string, string>;
  assert.equal(env["MY_OWN"], "kept");
  assert.match(env["DATABASE_URL"] ?? "", /^postgresql:\/\/agent@127\.0\.0\.1:\d+\/orders$/);
  assert.match(env["HTTPS_PROXY"] ?? "", /^http:\/\/127\.0\.0\.1:\d+$/);
  assert.equal(env["SSL_CERT_FILE"], join(system.directory, "run", "ca.crt"));
  assert.match(env["NO_PROXY"] ?? "", /^intranet,127\.0\.0\.1/);
  assert.match(seen.stderr, /chaperone: 0 sessions, 0 operations/);

  const killed = await system.cli(run("sh", "-c", "kill -KILL $$"));
  assert.equal(killed.code, 128 + 9);
  const missing = await system.cli(run("no-such-command-here"));
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /no-such-command-here cannot be run/);
});

test("a signal to run reaches the command, whose answer to it decides", async () => {
  const script =
    "process.on('SIGTERM', () => { console.log('got it'); process.exit(5); }); console.log('up'); setInterval(() => {}, 1000)";
  let out = "";
  const ended = await system.cli(run(process.execPath, "-e", script), {
    started: (child) =>
      child.stdout?.on("data", (chunk: Buffer) => {
        out += chunk.toString();
        if (out === "up\n") child.kill("SIGTERM");
      }),
  });
  assert.deepEqual([ended.code, ended.stdout], [5, "up\ngot it\n"], ended.stderr);
});

test("check ends with 0, or with 1 and every error at once as FILE:LINE: PATH: message", async () => {
  const good = await system.cli(["check", "-f", system.manifests]);
  assert.deepEqual([good.code, good.stderr], [0, ""]);
  await system.write(
    "broken.yaml",
    `apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: broken, namespace: agents}
spec:
  targetRefs: [{group: chaperone.dev, kind: Connection, name: nowhere-db}]
  rules:
    - {name: a, action: Alow, sql: {statements: [select]}}
    - {name: b, action: Allow, sql: {statements: [select]}, when: "sql.hasWehre"}
    - {name: c, action: Allow, sgl: {statements: [select]}}
`,
  );
  const bad = await system.cli(["check", "-f", system.manifests]);
  await system.remove("broken.yaml");
  assert.equal(bad.code, 1);
  const said = bad.stdout + bad.stderr;
  assert.match(said, /broken\.yaml:7: spec\.rules\[0\]\.action: /);
  assert.match(said, /broken\.yaml:9: spec\.rules\[2\]/);
  assert.ok(!said.includes(servers.targets.databasePassword));
});

test("explain ends with 0 when allowed, 1 when denied, and names the rule", async () => {
  const explain = (sql: string) =>
    system.cli([
      "explain",
      "-f",
      system.manifests,
      "--service-account",
      "invoice-agent",
      "--connection",
      "orders-db",
      "--sql",
      sql,
    ]);
  const [allowed, denied, nothing] = await Promise.all([
    explain("SELECT id FROM orders"),
    explain("DROP TABLE orders"),
    explain("UPDATE customers SET name = 'x' WHERE id = 1"),
  ]);
  assert.equal(allowed.code, 0, allowed.stderr);
  assert.match(allowed.stdout, /read/);
  assert.equal(denied.code, 1);
  assert.match(denied.stdout, /never-destroy/);
  assert.match(denied.stdout, /Deletions go through the data team/);
  assert.equal(nothing.code, 1);
});

test("explain looks for what a rule with detect looks for: in a text, in parameters, and in rows that it cannot see", async () => {
  await system.write("said.yaml", saidYaml);
  const explain = async (...asked: string[]) => {
    const args = ["explain", "-f", join(system.manifests, "said.yaml")];
    args.push("--service-account", "clerk", "--connection", "said-db", "-o", "json", ...asked);
    const { code, stdout, stderr } = await system.cli(args);
    assert.ok(code === 0 || code === 1, stderr);
    return JSON.parse(stdout) as { readonly decision: { verdict: string; rule?: string } };
  };
  const sql = "SELECT id FROM public.orders WHERE note = $1";
  const bound = async (value: string) => {
    const file = join(system.directory, "operation.json");
    await writeFile(file, JSON.stringify({ sql, params: [value] }));
    return explain("--operation", file);
  };
  assert.equal((await explain("--sql", sql)).decision.verdict, "allow");
  assert.equal((await bound("nothing of it")).decision.verdict, "allow");
  for (const one of [
    await explain("--sql", "SELECT id FROM public.orders WHERE note = E'ORD-\\x31\\x32345'"),
    await bound("as for ORD-12345:"),
    await explain("--sql", "COPY public.orders FROM STDIN"),
  ])
    assert.deepEqual([one.decision.verdict, one.decision.rule], ["deny", "no-orders"]);
  await system.remove("said.yaml");
});

test("SIGTERM ends dev while an agent is connected, and the last events are in the store", async () => {
  const client = new pg.Client({ connectionString: dev.databaseUrl });
  const gone = new Promise<Error>((resolve) => client.on("error", resolve));
  await client.connect();
  await client.query("SELECT id FROM orders WHERE id = 17");
  const ended = await dev.stop();
  assert.deepEqual([ended.code, ended.signal], [0, undefined], ended.stderr);
  assert.equal(ended.stdout, `${dev.line}\n`, "nothing but the line goes to stdout");
  assert.match((await gone).message, /ending|terminat/i);
  const events = await system.cli(["events", "--state", system.state, "-o", "json"]);
  assert.ok(events.stdout.includes("WHERE id = 17"), events.stderr);
  assert.match(events.stdout, /"type":"session-end"/);
  const verified = await system.cli(["audit", "verify", "--state", system.state]);
  assert.equal(verified.code, 0, verified.stdout + verified.stderr);
  await eventually("the port is free", async () => !(await connects(dev.databaseUrl)), 1_000);
});

async function connects(connectionString: string): Promise<boolean> {
  const client = new pg.Client({ connectionString });
  client.on("error", () => undefined);
  try {
    await client.connect();
    await client.end();
    return true;
  } catch {
    return false;
  }
}
