// What goes wrong around local mode is said in the client's protocol, names the Connection and never a secret; and nothing that was written holds one.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import pg from "pg";
import { parseEvents, type EventLine } from "./local-events.ts";
import { connectionsYaml, secretNumbers } from "./local-manifests.ts";
import { findSecrets } from "./local-search.ts";
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
let closedPort = 0;
const wrongPassword = "wrong-password-4f1b2c";

before(async () => {
  servers = await startServers({ models: ["gpt-5-mini"], steps: [{ text: "hello" }] });
  system = await createSystem(servers.targets);
  closedPort = await unusedPort();
  await system.write("bad.yaml", badConnections());
  dev = await system.dev({ env: { CHAPERONE_LOG_LEVEL: "trace" } });
});

after(async () => {
  await dev?.stop();
  await system?.close();
  await servers?.close();
});

async function unusedPort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** The good connections again under other names, each with one thing wrong. */
function badConnections(): string {
  const good = connectionsYaml(servers.targets).split("---\n");
  const database = good.find((part) => /protocol: postgres/.test(part)) ?? "";
  const model = good.find((part) => /protocol: openai/.test(part)) ?? "";
  const named = (part: string, name: string, from: string | RegExp, to: string): string =>
    part
      .replace(/metadata: \{name: [a-z-]+,/, `metadata: {name: ${name},`)
      .replace(/hosts: \[[^\]]*\]/, `hosts: [${name}.example]`)
      .replace(/ {2}inject:\n {4}env: .*\n/, "")
      .replace(from, to);
  const policy = (name: string, rule: string): string => `apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: ${name}, namespace: agents}
spec:
  targetRefs: [{group: chaperone.dev, kind: Connection, name: ${name}}]
  rules: [{name: all, action: Allow, ${rule}}]
`;
  return [
    `apiVersion: v1\nkind: Secret\nmetadata: {name: wrong, namespace: agents}\nstringData: {username: app, password: ${wrongPassword}}\n`,
    named(database, "db-password", "secretRef: {name: orders-db}", "secretRef: {name: wrong}"),
    named(
      database,
      "db-certificate",
      "caSecretRef: {name: orders-db-ca",
      "caSecretRef: {name: openai-ca",
    ),
    named(database, "db-down", /port: \d+/, `port: ${closedPort}`),
    named(database, "db-not-postgres", /port: \d+/, `port: ${servers.targets.openaiPort}`),
    named(
      model,
      "llm-certificate",
      "caSecretRef: {name: openai-ca",
      "caSecretRef: {name: orders-db-ca",
    ),
    named(model, "llm-down", /localhost:\d+/, `localhost:${closedPort}`),
    ...["db-password", "db-certificate", "db-down", "db-not-postgres"].map((name) =>
      policy(name, "sql: {}"),
    ),
    ...["llm-certificate", "llm-down"].map((name) => policy(name, "llm: {}")),
  ].join("---\n");
}

interface Failure {
  readonly code: string | undefined;
  readonly message: string;
}

async function failure(name: string): Promise<Failure> {
  const { address } = dev.connection(name);
  const client = new pg.Client({ connectionString: `postgresql://agent:guess@${address}/orders` });
  client.on("error", () => undefined);
  try {
    await client.connect();
    throw new Error(`${name} let the client in`);
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    return { code, message };
  }
}

async function events(): Promise<EventLine[]> {
  return parseEvents(
    (await system.cli(["events", "--state", system.state, "-o", "json", "--limit", "5000"])).stdout,
  );
}

const secrets = (): string[] => [
  servers.targets.databasePassword,
  servers.targets.openaiKey,
  servers.postgres.password,
  wrongPassword,
];

function assertNoSecret(text: string): void {
  for (const secret of secrets()) assert.ok(!text.includes(secret), text);
}

test("a wrong password, a wrong certificate and a database that is away are told by name, without the secret", async () => {
  const expected: readonly (readonly [string, string, RegExp])[] = [
    ["db-password", "28P01", /refused the credential of connection agents\/db-password/],
    ["db-certificate", "08001", /connection agents\/db-certificate.*certificate/],
    ["db-down", "08001", /connection agents\/db-down/],
    ["db-not-postgres", "08001", /connection agents\/db-not-postgres/],
  ];
  for (const [name, code, message] of expected) {
    const failed = await failure(name);
    assert.equal(failed.code, code, `${name}: ${failed.message}`);
    assert.match(failed.message, message);
    assertNoSecret(failed.message);
  }
});

test("the same for a model, in the provider's own error shape", async () => {
  for (const name of ["llm-certificate", "llm-down"]) {
    const { url } = dev.connection(name);
    const answer = await fetch(`${url}/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "gpt-5-mini", messages: [{ role: "user", content: "hi" }] }),
    });
    const text = await answer.text();
    // Another try may find it up; none makes a certificate good, and SDKs repeat what is 5xx.
    assert.equal(answer.status, name === "llm-down" ? 502 : 403, text);
    const { error } = JSON.parse(text) as { error: { message: string; code: string } };
    assert.equal(error.code, name === "llm-down" ? "UpstreamUnreachable" : "UpstreamTls");
    assert.ok(error.message.includes(`agents/${name}`), error.message);
    assertNoSecret(text);
  }
});

/** Everything the other side says until it closes. */
async function exchange(port: number, ...parts: readonly (Buffer | string)[]): Promise<Buffer> {
  const socket: Socket = connect({ port, host: "127.0.0.1" });
  socket.on("error", () => undefined);
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(socket, "connect");
  for (const part of parts) socket.write(part);
  await once(socket, "close", { signal: AbortSignal.timeout(15_000) });
  return Buffer.concat(chunks);
}

function portOf(name: string): number {
  return Number(dev.connection(name).address.split(":")[1]);
}

function startup(extra: Readonly<Record<string, string>> = {}): Buffer {
  const pairs = Object.entries({ user: "agent", database: "orders", ...extra });
  const body = Buffer.from(`${pairs.map(([key, value]) => `${key}\0${value}\0`).join("")}\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(8 + body.length, 0);
  head.writeInt32BE(196_608, 4);
  return Buffer.concat([head, body]);
}

function frame(type: string, body: Buffer | string, length?: number): Buffer {
  const bytes = Buffer.from(body);
  const head = Buffer.alloc(5);
  head.write(type, 0, "latin1");
  head.writeInt32BE(length ?? 4 + bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** Events that say why something ended before it was an operation. */
async function refusals(connection: string | undefined): Promise<string[]> {
  return (await events())
    .filter((event) => event.connection?.name === connection && event.error !== undefined)
    .map(({ error }) => `${error?.code}: ${error?.message}`);
}

test("malformed PostgreSQL bytes get one FATAL, the end and an event, and the next client is served", async () => {
  const port = portOf("orders-db");
  const before = (await refusals("orders-db")).length;
  const cases: Readonly<Record<string, readonly Buffer[]>> = {
    "an HTTP request": [Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n")],
    "a startup of 2 GiB": [Buffer.from([0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0])],
    "a startup of 5 bytes": [Buffer.from([0, 0, 0, 5, 0])],
    "protocol 2": [Buffer.from([0, 0, 0, 9, 0, 2, 0, 0, 0])],
    "a startup without an end": [
      Buffer.from([0, 0, 0, 13, 0, 3, 0, 0, 0x75, 0x73, 0x65, 0x72, 0x72]),
    ],
    "an unknown message type": [startup(), frame("!", "x")],
    "a message of length 0": [startup(), frame("Q", "", 0)],
    "a negative length": [startup(), frame("Q", "x", -5)],
    "a Query without an end": [startup(), frame("Q", "SELECT 1")],
    "a Query with something behind its end": [
      startup(),
      frame("Q", "SELECT 1\0DROP TABLE orders\0"),
    ],
    "a Parse cut short": [startup(), frame("P", "x\0")],
    "a Bind with a wrong count": [
      startup(),
      frame("P", "\0SELECT 1\0\0\0"),
      frame("B", "\0\0\0\x09"),
    ],
    "a message of 2 GiB": [startup(), frame("Q", "SELECT", 0x7f_ff_ff_ff)],
    "a server's message": [startup(), frame("Z", "I")],
    "COPY data outside of COPY in a pipeline, then garbage": [
      startup(),
      frame("d", "x"),
      frame("!", ""),
    ],
  };
  for (const [what, parts] of Object.entries(cases)) {
    const answer = await exchange(port, ...parts);
    const text = answer.toString("latin1");
    assert.match(text, /FATAL/, `${what}: ${JSON.stringify(text.slice(-200))}`);
    assert.match(text, /C(08P01|0A000|54000)\0/, `${what}: ${JSON.stringify(text.slice(-200))}`);
    assert.ok(!text.includes("DROP TABLE"), what);
  }
  await eventually(
    "every one is recorded",
    async () => (await refusals("orders-db")).length === before + Object.keys(cases).length,
    15_000,
  );
  const client = new pg.Client({ connectionString: dev.databaseUrl });
  await client.connect();
  await client.query("SELECT 1");
  await client.end();
  assert.equal((await servers.superuser("SELECT count(*)::int AS n FROM orders"))[0]?.["n"], 200);
});

test("malformed HTTP gets a 400, the end and an event, and never reaches the upstream", async () => {
  const port = portOf("openai");
  const before = servers.openai.requests.length;
  const head = `host: 127.0.0.1:${port}\r\nauthorization: Bearer ${dev.openaiKey}\r\n`;
  const cases: readonly string[] = [
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "GET\r\n\r\n",
    `GET /v1/models HTTP/1.1\r\n${head}content-length: 5\r\ncontent-length: 6\r\n\r\n`,
    `POST /v1/models HTTP/1.1\r\n${head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    `POST /v1/models HTTP/1.1\r\n${head}transfer-encoding: xchunked\r\n\r\n`,
    `POST /v1/models HTTP/1.1\r\n${head}transfer-encoding: chunked\r\n\r\nzz\r\n`,
    `GET /v1/models HTTP/1.1\r\n${head}x : y\r\n\r\n`,
    `GET /v1/models HTTP/1.1\r\n${head}x: a\nb: c\r\n\r\n`,
    `GET /v1/models HTTP/9.9\r\n${head}\r\n`,
    `GET /v1/mod\0els HTTP/1.1\r\n${head}\r\n`,
    "GET /v1/models HTTP/1.1\r\n\r\n",
    `GET /v1/models HTTP/1.1\r\n${head}x: ${"y".repeat(100_000)}\r\n\r\n`,
  ];
  const preface = await exchange(port, Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1"));
  assert.equal(preface.subarray(0, 4).toString("hex"), "00000004", "SETTINGS, as HTTP/2 begins");
  assert.ok(preface.includes("HTTP/2 is spoken over TLS only"));
  for (const bytes of cases) {
    const text = (await exchange(port, Buffer.from(bytes, "latin1"))).toString("latin1");
    assert.match(
      text,
      /^HTTP\/1\.1 (400|413|421|403|431|501|505)/,
      JSON.stringify(bytes.slice(0, 80)),
    );
    assertNoSecret(text);
  }
  assert.equal(servers.openai.requests.length, before);
  await eventually(
    "every one is recorded",
    async () => (await refusals(undefined)).length >= cases.length,
    15_000,
  );
});

test("while the store is away operations go on from the spool, and nothing is missing once it is back", async () => {
  const locker = new DatabaseSync(join(system.state, "store.sqlite"));
  locker.exec("PRAGMA busy_timeout = 10000; BEGIN EXCLUSIVE");
  const client = new pg.Client({ connectionString: dev.databaseUrl });
  await client.connect();
  try {
    for (let id = 1; id <= 20; id += 1)
      await client.query(`SELECT id FROM orders WHERE id = ${id} -- away`);
    await assert.rejects(client.query("DROP TABLE orders"), /data team/);
  } finally {
    locker.exec("ROLLBACK");
    locker.close();
  }
  await client.end();
  await eventually(
    "everything arrives",
    async () => {
      const lines = (await events()).filter(({ type }) => type === "operation");
      const away = lines.filter(({ operation }) => /WHERE id = \d+/.test(operation?.summary ?? ""));
      return away.length >= 20;
    },
    30_000,
  );
  const verified = await system.cli(["audit", "verify", "--state", system.state]);
  assert.equal(verified.code, 0, verified.stdout);
});

test("a full disk refuses what must be recorded, says so, and goes on once there is room", async (t) => {
  if (process.getuid?.() !== 0 || process.platform !== "linux") {
    t.skip("mounting a small disk needs root on Linux");
    return;
  }
  const state = join(system.directory, "small");
  await mkdir(state);
  const run = promisify(execFile);
  await run("mount", ["-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", state]);
  try {
    const small = await system.dev({ state });
    const client = new pg.Client({ connectionString: small.databaseUrl });
    client.on("error", () => undefined);
    await client.connect();
    await client.query("COPY orders (id) TO STDOUT");
    const filler = join(state, "filler");
    await writeFile(filler, Buffer.alloc(16 * 1024 * 1024)).catch(
      (error: Error & { code?: string }) => assert.equal(error.code, "ENOSPC"),
    );
    let refused: Failure | undefined;
    await eventually(
      "a strict operation is refused",
      async () => {
        refused = await client.query("COPY orders (id) TO STDOUT").then(
          () => undefined,
          (error: Error & { code?: string }) => ({ code: error.code, message: error.message }),
        );
        return refused !== undefined;
      },
      30_000,
    );
    assert.equal(refused?.code, "58030", refused?.message);
    assert.match(refused?.message ?? "", /record/);
    await rm(filler);
    await eventually(
      "there is room again",
      () =>
        client.query("COPY orders (id) TO STDOUT").then(
          () => true,
          () => false,
        ),
      30_000,
    );
    await client.end();
    assert.equal((await small.stop()).code, 0);
    const verified = await system.cli(["audit", "verify", "--state", state]);
    assert.equal(verified.code, 0, verified.stdout + verified.stderr);
  } finally {
    await run("umount", ["-l", state]);
  }
});

test("no secret and no masked value stands in anything that was written: output, logs, store, spool, keys, requests", async () => {
  const client = new pg.Client({ connectionString: dev.databaseUrl });
  await client.connect();
  const { rows } = await client.query<{ ssn: string }>(
    "SELECT id, name, ssn, card FROM customers ORDER BY id",
  );
  assert.ok(rows[0]?.ssn.endsWith("1120"));
  for (const attempt of [
    "SELECT ssn::int FROM customers",
    "SELECT id FROM customers WHERE ssn LIKE '0%'",
    "INSERT INTO customers (id, name) VALUES (1, 'x')",
    "SELECT nonsense FROM customers",
  ])
    await assert.rejects(client.query(attempt));
  await client.end();
  await dev.stop();
  const needles = [...secrets(), ...secretNumbers];
  const listed = await system.cli([
    "events",
    "--state",
    system.state,
    "-o",
    "json",
    "--limit",
    "5000",
  ]);
  const replay = await system.cli(["sessions", "replay", "--no-wait", "--state", system.state]);
  assert.ok(listed.stdout.includes("FROM customers"), "there is something to search");
  const findings = await findSecrets(needles, system.state, {
    stdout: dev.stdout(),
    stderr: dev.stderr(),
    events: listed.stdout,
    replay: replay.stdout,
  });
  assert.deepEqual(findings, []);
  assert.ok((await readdir(system.state)).includes("store.sqlite"));
  const canary = await findSecrets(["FROM customers"], system.state);
  assert.ok(
    canary.some(({ place }) => place.includes("store.sqlite")),
    "the search does find what is there",
  );
});
