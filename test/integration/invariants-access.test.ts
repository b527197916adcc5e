// Invariants 1, 2, 5 and 9 as far as one machine can show them: no credential for the agent, no grant without proof, nothing unbounded.
import assert from "node:assert/strict";
import { request } from "node:http";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { truststoreBeside } from "../../contract/trust.ts";
import pg from "pg";
import { parseEvents } from "./local-events.ts";
import { databasePolicyYaml } from "./local-manifests.ts";
import { findSecrets } from "./local-search.ts";
import {
  createSystem,
  pendingRequest,
  startServers,
  type Dev,
  type LocalSystem,
  type Servers,
} from "./local-system.ts";

let servers: Servers;
let system: LocalSystem;
let dev: Dev;

before(async () => {
  servers = await startServers({ steps: [{ text: "hello" }] });
  system = await createSystem(servers.targets);
  dev = await system.dev();
});

after(async () => {
  await dev?.stop();
  await system?.close();
  await servers?.close();
});

const clients: pg.Client[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) await client.end().catch(() => undefined);
});

async function open(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: dev.databaseUrl });
  client.on("error", () => undefined);
  await client.connect();
  clients.push(client);
  return client;
}

const failure = (work: Promise<unknown>): Promise<pg.DatabaseError | undefined> =>
  work.then(
    () => undefined,
    (error: pg.DatabaseError) => error,
  );

test("an agent under run finds no credential: not in its environment, its parents' command lines, the trust it is given or the state directory", async () => {
  const state = join(system.directory, "run");
  const script = `
    import { readFileSync, readdirSync } from "node:fs";
    const say = (path) => { try { process.stdout.write(readFileSync(path)); } catch {} };
    process.stdout.write(JSON.stringify(process.env));
    for (const pid of ["self", String(process.ppid)]) for (const file of ["cmdline", "environ", "status", "maps"]) say("/proc/" + pid + "/" + file);
    for (const variable of ["SSL_CERT_FILE", "PGSSLROOTCERT", "NODE_EXTRA_CA_CERTS"]) say(process.env[variable]);
    for (const entry of readdirSync(${JSON.stringify(state)}, { recursive: true, withFileTypes: true })) if (entry.isFile()) say(entry.parentPath + "/" + entry.name);`;
  const ended = await system.cli([
    "run",
    "-f",
    system.manifests,
    "--service-account",
    "invoice-agent",
    "--state",
    state,
    "--",
    process.execPath,
    "--input-type=module",
    "-e",
    script,
  ]);
  assert.equal(ended.code, 0, ended.stderr);
  assert.ok(ended.stdout.includes("BEGIN CERTIFICATE") && ended.stdout.includes("DATABASE_URL"));
  const needles = [servers.targets.databasePassword, servers.targets.openaiKey];
  assert.deepEqual(
    await findSecrets(needles, state, { agent: ended.stdout, stderr: ended.stderr }),
    [],
  );
});

interface Answer {
  readonly status: number;
  readonly text: string;
}

function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const payload =
    body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        socketPath: join(system.state, "control.sock"),
        method,
        path,
        headers: {
          ...(payload === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
      },
      (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString()));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
        response.on("error", reject);
      },
    );
    sent.on("error", reject);
    sent.end(payload);
  });
}

test("the control socket gives no grant, takes no event and spends no approval without the proxy's own proof", async () => {
  const form = { "content-type": "application/x-www-form-urlencoded" };
  const exchange = new URLSearchParams({
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token: "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.",
    subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
  }).toString();
  const attempts: readonly (readonly [
    string,
    string,
    unknown,
    Readonly<Record<string, string>>,
  ])[] = [
    ["POST", "/v1/token", exchange, form],
    [
      "POST",
      "/v1/token",
      exchange,
      { ...form, dpop: "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6Im5vbmUifQ.e30." },
    ],
    ["POST", "/v1/events", { stream: "local/x", events: [], contents: [], head: "" }, {}],
    [
      "POST",
      "/v1/events",
      { stream: "local/x", events: [], contents: [], head: "" },
      { authorization: "DPoP x.y.z", dpop: "a.b.c" },
    ],
    ["POST", "/v1/requests", { connection: "agents/orders-db" }, { authorization: "Bearer x" }],
    ["POST", "/v1/requests/x/spend", { digest: `sha256-${"A".repeat(43)}` }, {}],
    ["GET", "/v1/stream", undefined, {}],
    ["GET", "/v1/requests/x", undefined, { authorization: "DPoP eyJhbGciOiJFZERTQSJ9.e30.x" }],
  ];
  for (const [method, path, body, headers] of attempts) {
    const { status, text } = await call(method, path, body, headers);
    assert.ok(status === 400 || status === 401, `${method} ${path}: ${status} ${text}`);
    assert.ok(
      !text.includes(servers.targets.databasePassword) && !text.includes("access_token"),
      text,
    );
  }
});

test("what people read over the control socket holds no credential", async () => {
  const client = await open();
  const held = failure(client.query("UPDATE orders SET refunds = 1 WHERE id = 5"));
  const name = await pendingRequest(system);
  const texts = await Promise.all(
    [
      "/v1/read/requests",
      "/v1/read/events",
      "/v1/read/sessions",
      "/v1/read/connections",
      "/v1/jwks",
      "/.well-known/jwks.json",
      "/healthz",
    ].map(async (path) => (await call("GET", path)).text),
  );
  await (await system.backend()).decide("agents", name, "Denied", "no");
  assert.match((await held)?.message ?? "", /was denied/);
  await client.end();
  for (const secret of [servers.targets.databasePassword, servers.targets.openaiKey])
    for (const text of texts) assert.ok(!text.includes(secret), text.slice(0, 200));
});

test("a subject that no policy names, and a connection without policy, get no grant and reach nothing", async () => {
  const state = join(system.directory, "stranger");
  const stranger = await system.dev({ state, args: ["--service-account", "stranger"] });
  const client = new pg.Client({ connectionString: stranger.databaseUrl });
  client.on("error", () => undefined);
  const refused = await failure(client.connect());
  assert.match(refused?.message ?? "", /polic/);
  assert.ok(["28000", "42501"].includes(refused?.code ?? ""), refused?.code);
  const chat = await fetch(`${stranger.openaiUrl}/models`, {
    headers: { authorization: `Bearer ${stranger.openaiKey}` },
  });
  assert.equal(chat.status, 403);
  await stranger.stop();
  const [seen] = await servers.superuser(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = 'app'",
  );
  assert.equal(seen?.["n"], 0);
});

test("limits of rows, operations and sessions hold, and say which of them it was", async () => {
  await system.write(
    "database.yaml",
    databasePolicyYaml({
      limits:
        "{rowsPerResult: 10, maxConnections: 2, requestsPerMinute: 60, bytesPerResult: 100000}",
    }),
  );
  await dev.said("manifests reloaded");
  const one = await open();
  const many = await failure(one.query("SELECT id FROM orders"));
  assert.equal(many?.code, "54000", many?.message);
  assert.match(many?.message ?? "", /10 rows \(limits\.rowsPerResult\)/);
  assert.equal((await one.query("SELECT id FROM orders LIMIT 10")).rowCount, 10);
  const wide = await failure(one.query("SELECT repeat('x', 1000000)"));
  assert.match(wide?.message ?? "", /limits\.bytesPerResult/);
  const two = await open();
  assert.match((await failure(open()))?.message ?? "", /limits\.maxConnections/);
  await two.end();
  let limited: pg.DatabaseError | undefined;
  for (let at = 0; at < 80 && limited === undefined; at += 1)
    limited = await failure(one.query("SELECT 1"));
  assert.match(limited?.message ?? "", /limits\.requestsPerMinute/);
  await one.end();
  await system.write("database.yaml", databasePolicyYaml());
});

test("what is too large is refused by name, and neither takes the process down nor the next statement", async () => {
  const from = dev.stderr().length;
  await system.write("database.yaml", databasePolicyYaml({ limits: "{rowsPerResult: 100000}" }));
  await dev.said("manifests reloaded", from);
  const client = await open();
  const large: readonly (readonly [string, string])[] = [
    ["parentheses", `SELECT ${"(".repeat(5_000)}1${")".repeat(5_000)}`],
    ["a long sum", `SELECT 1${" + 1".repeat(12_000)}`],
    ["many columns", `SELECT ${Array.from({ length: 12_000 }, () => "1").join(",")}`],
    ["many statements", "SELECT 1;".repeat(6_000)],
    [
      "many joins",
      `SELECT 1 FROM ${Array.from({ length: 600 }, (_, at) => `orders o${at}`).join(", ")}`,
    ],
    ["nested queries", `${"SELECT * FROM (".repeat(400)}SELECT 1${") x".repeat(400)}`],
    [
      "a list of values",
      `SELECT 1 WHERE 1 IN (${Array.from({ length: 20_000 }, (_, at) => at).join(",")})`,
    ],
  ];
  for (const [what, text] of large) {
    const error = await failure(client.query(text));
    if (error === undefined) continue;
    assert.ok(
      ["42501", "54000", "54001", "54011", "42601"].includes(error.code ?? ""),
      `${what}: ${error.code} ${error.message.slice(0, 200)}`,
    );
    assert.ok(error.message.length < 2_000, what);
  }
  const names = Array.from({ length: 3_000 }, (_, at) =>
    client.query({ name: `s${at}`, text: `SELECT ${at}::int`, values: [] }),
  );
  const settled = await Promise.allSettled(names);
  assert.ok(settled.some(({ status }) => status === "fulfilled"));
  await client.query("SELECT 1");
  const text = "x".repeat(2 * 1024 * 1024);
  const huge = await failure(client.query(`SELECT '${text}'`));
  assert.equal(huge?.code, "42501");
  assert.match(
    huge?.message ?? "",
    /a Query of 2097\d+ bytes exceeds the limit of \d+ bytes; send/,
  );
  await client.query("SELECT 1");
  // As a parameter it passes, up to a limit of its own.
  assert.equal((await client.query("SELECT length($1::text) AS n", [text])).rows[0].n, text.length);
  await client.query("BEGIN");
  const bound = await failure(client.query("SELECT length($1::text)", [text.repeat(5)]));
  assert.equal(bound?.code, "54000");
  assert.match(bound?.message ?? "", /a Bind of/);
  assert.equal((await failure(client.query("SELECT 1")))?.code, "25P02");
  await client.query("ROLLBACK");
  const parsed = await failure(client.query(`SELECT '${text}' || $1::text`, ["x"]));
  assert.match(parsed?.message ?? "", /a Parse of/);
  await client.query("SELECT 1");
});

test("events --limit gives as many as asked, also more than a page", async () => {
  const ended = await system.cli([
    "events",
    "--state",
    system.state,
    "-o",
    "json",
    "--limit",
    "2500",
  ]);
  const lines = parseEvents(ended.stdout);
  assert.equal(lines.length, 2_500);
  const page = await system.cli(["events", "--state", system.state, "-o", "json", "--limit", "10"]);
  assert.deepEqual(parseEvents(page.stdout), lines.slice(-10));
});

test("the state directory and everything in it are their owner's alone, whatever the umask", async () => {
  const open_ = (await readdir(system.state, { recursive: true, withFileTypes: true })).map(
    (entry) => join(entry.parentPath, entry.name),
  );
  assert.equal((await stat(system.state)).mode & 0o077, 0);
  for (const file of open_) {
    const { mode } = await stat(file);
    // The trust bundle and Java's form of it are public; the directory around them is not.
    if (
      file === dev.caFile ||
      file === truststoreBeside(dev.caFile) ||
      file.endsWith("control.sock")
    )
      continue;
    assert.equal(mode & 0o077, 0, `${file} ${(mode & 0o777).toString(8)}`);
  }
});
