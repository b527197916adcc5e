import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { after, before, test } from "node:test";
import { connect as connectTls } from "node:tls";
import pg from "pg";
import { serialize } from "pg-protocol";
import { ProxyError } from "../../proxy/errors.ts";
import {
  cancelRequest,
  message,
  sslRequest,
  startupMessage,
} from "../../proxy/postgres/messages.ts";
import { allow, everything, hold, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import {
  errorsOf,
  field,
  RawClient,
  rawClient,
  rowsOf,
  statusOf,
  typesOf,
} from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;

before(async () => {
  server = await startPostgres({ tls: true, settings: { log_connections: "on" } });
  proxy = await startHarness(server);
});

after(async () => {
  await proxy?.close();
  await server?.stop();
});

async function client(changes: pg.ClientConfig = {}): Promise<pg.Client> {
  const connected = new pg.Client({
    host: proxy.host,
    port: proxy.port,
    user: "agent",
    password: "anything",
    database: "postgres",
    ...changes,
  });
  connected.on("error", () => undefined);
  await connected.connect();
  return connected;
}

async function running(text: string): Promise<number> {
  const direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  const { rows } = await direct.query(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1 AND pid <> pg_backend_pid()",
    [`%${text}%`],
  );
  await direct.end();
  return rows[0].n;
}

async function eventually(check: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error("it never came true");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test("the client's user and password are replaced, the settings pinned, the real server reached over TLS", async () => {
  const db = await client({ user: "whoever", password: "wrong" });
  const { rows } = await db.query(
    "SELECT current_user, current_setting('search_path') AS path, current_setting('standard_conforming_strings') AS strings, current_database() AS db",
  );
  assert.deepEqual(rows, [
    { current_user: "postgres", path: "public, pg_temp", strings: "on", db: "postgres" },
  ]);
  await db.end();
});

test("TLS on the client's side is verified, also when it begins at once", async () => {
  const tls = { ca: proxy.caPem, servername: "localhost" };
  const db = await client({ ssl: tls });
  assert.equal((await db.query("SELECT 1 AS one")).rows[0].one, 1);
  await db.end();
  const direct = connectTls({
    host: proxy.host,
    port: proxy.port,
    ...tls,
    ALPNProtocols: ["postgresql"],
  });
  await once(direct, "secureConnect");
  const raw = new RawClient(direct);
  raw.send(startupMessage({ user: "agent" }));
  assert.equal(statusOf(await raw.ready()), "I");
  await raw.end();
});

test("bytes sent behind SSLRequest before its answer end the connection", async () => {
  const socket = connect(proxy.port, proxy.host);
  const raw = new RawClient(socket);
  const bytes: Buffer[] = [];
  socket.removeAllListeners("data");
  socket.on("data", (chunk: Buffer) => bytes.push(chunk));
  raw.send(Buffer.concat([sslRequest(), startupMessage({ user: "agent" })]));
  await once(socket, "close");
  const text = Buffer.concat(bytes).toString("latin1");
  assert.match(text, /^E.*FATAL.*08P01/s);
});

test("GSS encryption is declined, options that nobody knows are named", async () => {
  const socket = connect(proxy.port, proxy.host);
  const gss = Buffer.from(sslRequest());
  gss.writeInt32BE(80877104, 4);
  socket.write(gss);
  const [answer] = (await once(socket, "data")) as [Buffer];
  assert.equal(answer.toString(), "N");
  const raw = new RawClient(socket);
  const startup = startupMessage({ user: "agent", "_pq_.future": "on" });
  startup.writeInt32BE(196610, 4);
  raw.send(startup);
  const answers = await raw.ready();
  assert.match(typesOf(answers), /^vRS+KZ$/);
  assert.match(answers[0]?.body.toString("latin1") ?? "", /_pq_\.future/);
  await raw.end();
});

test("GSS encryption asked for before TLS and behind it leaves TLS as it is", async () => {
  const gss = Buffer.from(sslRequest());
  gss.writeInt32BE(80877104, 4);
  const socket = connect(proxy.port, proxy.host);
  for (const [request, expected] of [
    [gss, "N"],
    [sslRequest(), "S"],
  ] as const) {
    socket.write(request);
    const [answer] = (await once(socket, "data")) as [Buffer];
    assert.equal(answer.toString(), expected);
  }
  const secured = connectTls({ socket, ca: proxy.caPem, servername: "localhost" });
  await once(secured, "secureConnect");
  secured.write(gss);
  const [within] = (await once(secured, "data")) as [Buffer];
  assert.equal(within.toString(), "N");
  const raw = new RawClient(secured);
  raw.send(startupMessage({ user: "agent" }));
  assert.equal(statusOf(await raw.ready()), "I");
  await raw.end();
  const endless = connect(proxy.port, proxy.host);
  endless.write(Buffer.concat(Array.from({ length: 6 }, () => gss)));
  const bytes: Buffer[] = [];
  endless.on("data", (chunk: Buffer) => bytes.push(chunk));
  await once(endless, "close");
  assert.match(Buffer.concat(bytes).toString("latin1"), /^N+E.*FATAL.*08P01/s);
});

test("no statement takes another role, whatever the rules allow", async () => {
  const raw = await rawClient(proxy.port);
  for (const text of [
    "SET ROLE pg_read_all_data",
    "SET LOCAL ROLE NONE",
    "SET SESSION AUTHORIZATION postgres",
    "SET LOCAL SESSION AUTHORIZATION DEFAULT",
    "RESET ROLE",
    "RESET SESSION AUTHORIZATION",
    "SET role TO 'postgres'",
    'SET "session_authorization" = postgres',
    "SELECT set_config('role', 'postgres', true)",
    "SELECT pg_catalog.set_config('ROLE', 'postgres', false)",
    "SELECT set_config(lower('ROLE'), 'postgres', false)",
    "UPDATE pg_settings SET setting = 'postgres' WHERE name = 'role'",
    "SELECT 1; SET ROLE postgres",
  ]) {
    raw.send(serialize.query(text));
    assert.deepEqual(errorsOf(await raw.ready()), ["42501"], text);
    raw.send(serialize.parse({ text }), serialize.bind(), serialize.execute(), serialize.sync());
    assert.deepEqual(errorsOf(await raw.ready()).length, 1, text);
  }
  raw.send(serialize.query("SELECT session_user, current_user, current_setting('role')"));
  assert.deepEqual(rowsOf(await raw.ready()), [["postgres", "postgres", "none"]]);
  await raw.end();
});

test("protocol 3.2 is spoken with long cancel keys, anything else negotiated down to what PostgreSQL knows", async () => {
  for (const [asked, spoken, secretBytes] of [
    [0, undefined, 4],
    [1, 0, 4],
    [2, undefined, 32],
    [9999, 2, 32],
  ] as const) {
    const raw = new RawClient(connect(proxy.port, proxy.host));
    const startup = startupMessage({ user: "agent" });
    startup.writeInt32BE(196608 + asked, 4);
    raw.send(startup);
    const answers = await raw.ready();
    const negotiated = answers.find(({ type }) => type === "v")?.body;
    assert.equal(negotiated?.readInt32BE(0), spoken === undefined ? undefined : 196608 + spoken);
    const key = answers.find(({ type }) => type === "K")?.body ?? Buffer.alloc(0);
    assert.equal(key.length, 4 + secretBytes);
    raw.send(serialize.query("SELECT pg_sleep(60)"));
    await eventually(async () => (await running("pg_sleep(60)")) === 1);
    const wrong = Buffer.from(key);
    wrong.writeUInt8(wrong.readUInt8(key.length - 1) ^ 1, key.length - 1);
    for (const sent of [key.subarray(0, 7), wrong, Buffer.concat([key, Buffer.alloc(1)]), key]) {
      const canceller = connect(proxy.port, proxy.host);
      canceller.end(cancelRequest(sent));
      await once(canceller, "close");
    }
    assert.deepEqual(errorsOf(await raw.ready()), ["57014"]);
    await raw.end();
  }
});

test("foreign databases and unknown parameters are refused with a sentence", async () => {
  await assert.rejects(client({ database: "other" }), {
    code: "3D000",
    message: /"postgres", not to "other"/,
  });
  await assert.rejects(client({ options: "-c role=x" }), {
    code: "0A000",
    message: /role at startup/,
  });
});

test("a wrong password, an unknown CA and a dead endpoint are told apart, naming the Connection and no secret", async () => {
  proxy.setLease({ kind: "password", username: "postgres", password: "hunter2" });
  await assert.rejects(client(), (error: pg.DatabaseError) => {
    assert.equal(error.code, "28P01");
    assert.match(error.message, /agents\/orders-db/);
    assert.doesNotMatch(error.message, /hunter2|"postgres"/);
    return true;
  });
  proxy.setLease({ kind: "password", username: server.superuser, password: server.password });
  proxy.setEndpoint({ tls: { mode: "VerifyFull" } });
  await assert.rejects(client(), {
    code: "08001",
    message: /agents\/orders-db: TLS to 127.0.0.1 failed/,
  });
  proxy.setEndpoint({ tls: { mode: "Disable" } });
  await assert.rejects(client(), { code: "28P01" });
  proxy.setEndpoint({ tls: { mode: "VerifyFull", ca: server.caPem ?? "" }, port: 1 });
  await assert.rejects(client(), { code: "08001", message: /ECONNREFUSED/ });
  proxy.setEndpoint({ port: server.port });
});

test("a server that asks for a password in clear text does not get it", async () => {
  const weak = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => socket.write(message(0x52, Buffer.from([0, 0, 0, 3]))));
  });
  weak.listen(0, "127.0.0.1");
  await once(weak, "listening");
  const address = weak.address();
  assert.ok(address !== null && typeof address === "object");
  proxy.setEndpoint({ port: address.port, tls: { mode: "Disable" } });
  await assert.rejects(client(), { code: "28P01", message: /clear text; only SCRAM-SHA-256/ });
  weak.close();
  proxy.setEndpoint({ port: server.port, tls: { mode: "VerifyFull", ca: server.caPem ?? "" } });
});

test("a CancelRequest with our key stops what runs upstream, and the next statement is not hit", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("SELECT pg_sleep(60) /* cancelled */"));
  await eventually(async () => (await running("/* cancelled */")) === 1);
  const { key } = await keyOf();
  // A key that names nobody is ignored.
  await cancel(key);
  assert.equal(await running("/* cancelled */"), 1);
  raw.socket.resetAndDestroy();
  await eventually(async () => (await running("/* cancelled */")) === 0);

  const second = await withKey();
  second.raw.send(serialize.query("SELECT pg_sleep(60) /* second */"));
  await eventually(async () => (await running("/* second */")) === 1);
  await cancel(second.key);
  second.raw.send(serialize.query("SELECT 1"));
  const answers = await second.raw.ready(2);
  assert.deepEqual(errorsOf(answers), ["57014"]);
  assert.deepEqual(rowsOf(answers), [["1"]]);
  await second.raw.end();
});

async function keyOf(): Promise<{ key: Buffer }> {
  const { raw, key } = await withKey();
  await raw.end();
  return { key };
}

async function withKey(): Promise<{ raw: RawClient; key: Buffer }> {
  const socket = connect({ port: proxy.port, host: proxy.host, allowHalfOpen: true });
  const raw = new RawClient(socket);
  raw.send(startupMessage({ user: "agent" }));
  const answers = await raw.ready();
  const key = answers.find(({ type }) => type === "K")?.body;
  assert.ok(key !== undefined);
  return { raw, key };
}

async function cancel(key: Buffer): Promise<void> {
  const request = Buffer.alloc(16);
  request.writeInt32BE(16, 0);
  request.writeInt32BE(80877102, 4);
  key.copy(request, 8);
  const socket = connect(proxy.port, proxy.host);
  const closed = once(socket, "close");
  socket.resume();
  socket.end(request);
  await closed;
}

test("a held statement waits, runs once after approval, and waits again the next time", async () => {
  const db = await client();
  await db.query("CREATE TABLE held (id int)");
  proxy.setRules([
    allow({ statements: ["select"] }),
    hold({ statements: ["insert"], relations: ["public.held"] }, 30),
  ]);
  const waiting = db.query("INSERT INTO held VALUES ($1)", [1]);
  await eventually(() => proxy.requests.length === 1);
  assert.equal(proxy.requests[0]?.detail, '["1"]');
  assert.equal((await db_count()).n, 0);
  proxy.answerRequest("Approved");
  await waiting;
  assert.equal((await db_count()).n, 1);
  await assert.rejects(db.query("INSERT INTO held VALUES ($1)", [1]), {
    code: "42501",
    message: /used already/,
  });
  await db.end();
});

async function db_count(): Promise<{ n: number }> {
  const direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  const { rows } = await direct.query("SELECT count(*)::int AS n FROM held");
  await direct.end();
  return rows[0];
}

test("a hold that nobody answers ends as pending, and a cancel ends it at once", async () => {
  proxy.setRules([hold({ statements: ["insert"] }, 1)]);
  const db = await client();
  await assert.rejects(db.query("INSERT INTO held VALUES (7)"), {
    code: "42501",
    message: /held for a person/,
  });
  await db.end();
  proxy.setRules([hold({ statements: ["insert"] }, 60)]);
  const { raw, key } = await withKey();
  const before = proxy.requests.length;
  raw.send(serialize.query("INSERT INTO held VALUES (8)"));
  await eventually(() => proxy.requests.length > before);
  await cancel(key);
  assert.deepEqual(errorsOf(await raw.ready()), ["57014"]);
  raw.send(serialize.query("SHOW search_path"));
  assert.equal(typesOf(await raw.ready()), "TDCZ");
  await raw.end();
});

test("a client that leaves during a hold ends the hold", async () => {
  proxy.setRules([hold({ statements: ["insert"] }, 60)]);
  const raw = await rawClient(proxy.port);
  const seen = proxy.operations().length;
  const before = proxy.requests.length;
  raw.send(serialize.query("INSERT INTO held VALUES (9)"));
  await eventually(() => proxy.requests.length > before);
  raw.socket.destroy();
  await eventually(() => proxy.operations().length > seen);
  assert.equal(proxy.operations().at(-1)?.body.outcome?.status, "pending");
  await eventually(() => proxy.gate.sessions === 0);
});

test("a result over the row limit ends with an error, the status stays true and the connection lives", async () => {
  proxy.setRules(everything, { limits: { rowsPerResult: 100 } });
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("SELECT generate_series(1, 100000000)"));
  const simple = await raw.ready();
  assert.deepEqual(errorsOf(simple), ["54000"]);
  assert.equal(rowsOf(simple).length, 100);
  raw.send(
    serialize.query("BEGIN"),
    serialize.query("SELECT generate_series(1, 101)"),
    serialize.query("ROLLBACK"),
  );
  const inside = await raw.ready(3);
  assert.deepEqual(errorsOf(inside), ["54000"]);
  assert.equal(statusOf(inside).at(-1), "I");
  raw.send(
    serialize.parse({ text: "SELECT generate_series(1, 100000000)", types: [] }),
    serialize.bind({}),
    serialize.execute({}),
    serialize.sync(),
    serialize.query("SELECT 1"),
  );
  const extended = await raw.ready(2);
  assert.deepEqual(errorsOf(extended), ["54000"]);
  assert.equal(rowsOf(extended).length, 101);
  assert.match(
    field(extended.find(({ type }) => type === "E") ?? assert.fail(), "M") ?? "",
    /limits.rowsPerResult/,
  );
  assert.equal(proxy.operations().at(-2)?.body.outcome?.error, "LimitExceeded");
  await raw.end();
});

test("a write whose result goes over the limit does not commit, nor what follows it in the pipeline", async () => {
  proxy.setRules(everything, { limits: { rowsPerResult: 5 } });
  const raw = await rawClient(proxy.port);
  const insert = (count: number): Buffer =>
    Buffer.concat([
      serialize.parse({
        text: `INSERT INTO held SELECT generate_series(1, ${count}) + 1000 RETURNING id`,
        types: [],
      }),
      serialize.bind({}),
      serialize.execute({}),
    ]);
  raw.send(insert(50), insert(1), serialize.sync());
  const answers = await raw.ready();
  assert.deepEqual(errorsOf(answers), ["54000"]);
  assert.equal(statusOf(answers), "I");
  raw.send(serialize.query("SELECT count(*) FROM held WHERE id > 1000"));
  assert.deepEqual(rowsOf(await raw.ready()), [["0"]]);
  raw.send(
    insert(5),
    insert(2),
    serialize.sync(),
    serialize.query("SELECT count(*) FROM held WHERE id > 1000"),
  );
  const second = await raw.ready(2);
  assert.deepEqual(errorsOf(second), []);
  assert.deepEqual(rowsOf(second).at(-1), ["7"]);
  await raw.end();
});

test("bytesPerResult counts large rows and COPY", async () => {
  proxy.setRules(everything, { limits: { bytesPerResult: 1_000_000 } });
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("SELECT repeat('x', 600000) FROM generate_series(1, 1000)"));
  assert.deepEqual(errorsOf(await raw.ready()), ["54000"]);
  raw.send(
    serialize.query("COPY (SELECT repeat('x', 600000) FROM generate_series(1, 1000)) TO STDOUT"),
  );
  assert.deepEqual(errorsOf(await raw.ready()), ["54000"]);
  raw.send(serialize.query("SELECT 1"));
  assert.equal(typesOf(await raw.ready()), "TDCZ");
  await raw.end();
});

test("when the grant ends, an idle session gets FATAL 57P01 at once and one in a transaction with its next statement", async () => {
  proxy.setRules(everything);
  const idle = await rawClient(proxy.port);
  const busy = await rawClient(proxy.port);
  busy.send(serialize.query("BEGIN"), serialize.query("SELECT 1"));
  await busy.ready(2);
  proxy.end(new ProxyError("GrantEnded", "the grant for agents/orders-db is over"));
  const fatal = await idle.until((answers) => answers.length > 0);
  assert.deepEqual(errorsOf(fatal), ["57P01"]);
  assert.equal(field(fatal[0] ?? assert.fail(), "S"), "FATAL");
  assert.equal(busy.answers.length, 0);
  busy.send(serialize.query("ROLLBACK"));
  assert.match(
    typesOf(await busy.until((answers) => answers.some(({ type }) => type === "E"))),
    /E$/,
  );
  await eventually(() => proxy.gate.sessions === 0);
});

test("a quarantine cuts a session in the middle of a statement and cancels it", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("SELECT pg_sleep(60) /* quarantined */"));
  await eventually(async () => (await running("/* quarantined */")) === 1);
  proxy.end(new ProxyError("Quarantined", "quarantined: incident 7"));
  assert.deepEqual(errorsOf(await raw.until((answers) => answers.length > 0)), ["28000"]);
  await eventually(async () => (await running("/* quarantined */")) === 0);
  await eventually(() => proxy.gate.sessions === 0);
});

test("a client that ends its side first still gets its answers", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port);
  raw.socket.end(serialize.query("SELECT repeat('x', 100000) FROM generate_series(1, 50)"));
  const answers = await raw.ready();
  assert.equal(rowsOf(answers).length, 50);
  await eventually(() => proxy.gate.sessions === 0);
});

test("a client that does not read holds the server back instead of filling memory", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port);
  raw.socket.pause();
  raw.send(serialize.query("SELECT repeat('x', 1000) FROM generate_series(1, 300000)"));
  const before = process.memoryUsage().rss;
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.ok(process.memoryUsage().rss - before < 100 * 1024 * 1024);
  raw.socket.destroy();
  await eventually(() => proxy.gate.sessions === 0);
});

test("a server that goes away is told as such", async () => {
  proxy.setRules(everything);
  const raw = await rawClient(proxy.port);
  const direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
  );
  await direct.end();
  assert.deepEqual(errorsOf(await raw.until((answers) => answers.length > 0)), ["57P01"]);
  await eventually(() => proxy.gate.sessions === 0);
});

test("hostile bytes after startup end the session with a FATAL and nothing else", async () => {
  for (const bytes of [
    Buffer.from([0x51, 0, 0, 0, 1]),
    Buffer.from([0x51, 0x7f, 0xff, 0xff, 0xff]),
    Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    Buffer.from([0x50, 0, 0, 0, 5, 0x41]),
  ]) {
    const raw = await rawClient(proxy.port);
    raw.send(bytes);
    assert.deepEqual(errorsOf(await raw.until((answers) => answers.length > 0)), ["08P01"]);
  }
  await eventually(() => proxy.gate.sessions === 0);
});

test("with recording.detail Full the first rows are kept as the client got them", async () => {
  proxy.setRules(everything, { recording: { detail: "Full", strict: false, retentionDays: 1 } });
  const db = await client();
  await db.query(
    "SELECT id, 'n' || id AS note, NULL AS nothing FROM generate_series(1, $1::int) id",
    [150],
  );
  await db.end();
  const rows = proxy
    .operations()
    .at(-1)
    ?.contents.find(({ part }) => part === "rows");
  assert.equal(rows?.truncated, true);
  const lines = (rows?.text ?? "").trim().split("\n");
  assert.equal(lines.length, 100);
  assert.equal(lines[0], '["1","n1",null]');
});

test("a cancel reaches what runs, also where a statement behind it waits for a look-up", async () => {
  const { raw, key } = await withKey();
  raw.send(
    serialize.query("CREATE TABLE looked_up (id int)"),
    serialize.query("SELECT pg_sleep(60) /* behind */"),
    serialize.query("SELECT count(*) FROM looked_up"),
  );
  await eventually(async () => (await running("/* behind */")) === 1);
  await cancel(key);
  const answers = await raw.ready(3);
  assert.deepEqual(errorsOf(answers), ["57014"]);
  assert.deepEqual(rowsOf(answers).at(-1), ["0"]);
  raw.send(serialize.query("DROP TABLE looked_up"));
  await raw.ready();
  await raw.end();
});

test("a statement right behind the ROLLBACK of a failed change of the schema is decided when that is answered", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.query("BEGIN"),
    serialize.query("CREATE TABLE taken_back (id int)"),
    serialize.query("SELECT 1 / 0"),
    serialize.query("SELECT 1"),
    serialize.query("ROLLBACK"),
    serialize.query("SELECT 'goes on'"),
  );
  const answers = await raw.ready(6);
  assert.deepEqual(errorsOf(answers), ["22012", "25P02"]);
  assert.deepEqual(rowsOf(answers).at(-1), ["goes on"]);
  await raw.end();
});
