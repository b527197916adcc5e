// Odds and ends of the wire: messages at unexpected times, ends in the middle of things, bytes before TLS.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, mock, test } from "node:test";
import type { TestContext } from "node:test";
import { connect as connectTls } from "node:tls";
import pg from "pg";
import { serialize } from "pg-protocol";
import {
  authenticationOk,
  fieldsMessage,
  message,
  parameterStatus,
  readyForQuery,
  sslRequest,
  startupMessage,
} from "../../proxy/postgres/messages.ts";
import { ownMark } from "../../proxy/postgres/exchange.ts";
import { deny, everything, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient, RawClient, rowsOf, statusOf, typesOf } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let direct: pg.Client;

before(async () => {
  server = await startPostgres();
  proxy = await startHarness(server);
  direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query(`
    CREATE TABLE kept (what text);
    CREATE FUNCTION saying(number int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'number %', number; RETURN number; END $$;
  `);
});

beforeEach(async () => {
  proxy.setRules(everything);
  proxy.setEndpoint({ port: server.port });
  await direct.query("TRUNCATE kept");
});

after(async () => {
  await direct?.end();
  await proxy?.close();
  await server?.stop();
});

function insert(what: string): Buffer[] {
  const text = `INSERT INTO kept VALUES ('${what}')`;
  return [serialize.parse({ text }), serialize.bind(), serialize.execute()];
}

async function kept(): Promise<string[]> {
  const { rows } = await direct.query("SELECT what FROM kept ORDER BY what");
  return rows.map(({ what }) => what);
}

/** Until no session of the proxy is left at the server. */
async function sessionsGone(): Promise<void> {
  const others =
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
  while ((await direct.query(others)).rows[0].n > 0);
}

/** A server that lets everybody in; what it says afterwards is the test's. */
async function fakeServer(t: TestContext, serve: (socket: Socket) => void): Promise<void> {
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    serve(socket);
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  t.after(() => {
    listener.close();
    for (const socket of sockets) socket.destroy();
  });
  proxy.setEndpoint({ port: (listener.address() as AddressInfo).port });
}

test("Terminate in the middle of a pipeline takes the unfinished batch back and keeps the finished one", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(...insert("finished"), serialize.sync(), ...insert("unfinished"), serialize.end());
  await once(raw.socket, "close");
  await sessionsGone();
  assert.deepEqual(await kept(), ["finished"]);
  const flushed = await rawClient(proxy.port);
  flushed.send(...insert("flushed"), serialize.flush());
  await flushed.until((answers) => answers.some(({ type }) => type === "C"));
  flushed.send(serialize.end());
  await once(flushed.socket, "close");
  await sessionsGone();
  assert.deepEqual(await kept(), ["finished"]);
});

test("a client that ends its side in the middle of a pipeline gets the answers it has asked for", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("SELECT pg_sleep(0.2)"), ...insert("sent"), serialize.sync());
  raw.socket.end();
  assert.equal(typesOf(await raw.ready(2)), "TDCZ12CZ");
  await sessionsGone();
  assert.deepEqual(await kept(), ["sent"]);
});

test("Flush without Sync brings the answers, and Sync alone ends the batch", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(serialize.parse({ text: "SELECT 1" }), serialize.flush());
  assert.equal(typesOf(await raw.until((answers) => answers.length === 1)), "1");
  raw.send(serialize.bind(), serialize.flush(), serialize.flush(), serialize.execute());
  raw.send(serialize.flush());
  assert.equal(typesOf(await raw.until((answers) => answers.length === 3)), "2DC");
  raw.send(serialize.sync(), serialize.sync());
  assert.equal(typesOf(await raw.ready(2)), "ZZ");
  await raw.end();
});

test("notices come between rows, notifications to an idle client, settings in a pipeline", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("SELECT saying(n) FROM generate_series(1, 2) AS n"));
  assert.equal(typesOf(await raw.ready()), "TNDNDCZ");
  raw.send(serialize.query("LISTEN news"));
  await raw.ready();
  await direct.query("NOTIFY news, 'now'");
  const [notification] = await raw.until((answers) => answers.length === 1);
  assert.equal(notification?.type, "A");
  raw.send(
    serialize.parse({ text: "SET application_name = 'changed'" }),
    serialize.bind(),
    serialize.execute(),
    ...insert("x"),
    serialize.sync(),
  );
  assert.equal(typesOf(await raw.ready()), "12C12CSZ");
  await raw.end();
});

test("a server may say notices, notifications and settings whenever it likes", async (t) => {
  const asides = [
    fieldsMessage(
      0x4e,
      new Map([
        ["S", "NOTICE"],
        ["V", "NOTICE"],
        ["C", "00000"],
        ["M", "aside"],
      ]),
    ),
    message(0x41, Buffer.from("\0\0\0\x01channel\0payload\0", "latin1")),
    parameterStatus("TimeZone", "UTC"),
  ];
  const all = Buffer.concat(asides);
  await fakeServer(t, (socket) => {
    socket.once("data", () => {
      // Also before the first query, and split at every byte.
      const hello = [
        authenticationOk(),
        all.subarray(0, asides[0]?.length),
        readyForQuery("I"),
        all,
      ];
      for (const byte of Buffer.concat(hello)) socket.write(Buffer.of(byte));
      const answer = (asked: Buffer): void => {
        if (asked.includes(ownMark)) {
          const nothing = message(0x43, Buffer.from("SELECT 0\0"));
          socket.once("data", answer);
          socket.write(Buffer.concat([nothing, readyForQuery("I")]));
          return;
        }
        const row = message(0x44, Buffer.from([0, 1, 0, 0, 0, 1, 0x37]));
        const described = message(
          0x54,
          Buffer.concat([Buffer.from([0, 1]), Buffer.from("n\0"), Buffer.alloc(18)]),
        );
        const done = message(0x43, Buffer.from("SELECT 2\0"));
        for (const part of [described, row, row, done, readyForQuery("I")])
          socket.write(Buffer.concat([all, part]));
        socket.write(all);
      };
      socket.once("data", answer);
    });
  });
  const raw = new RawClient(connect(proxy.port, proxy.host));
  raw.send(startupMessage({ user: "agent" }));
  assert.equal(typesOf(await raw.until((so) => so.length >= 6)), "RNKZNAS");
  raw.send(serialize.query("SELECT 7 AS n UNION ALL SELECT 7"));
  const answers = await raw.until((so) => so.length >= 23);
  assert.equal(typesOf(answers), "NASTNASDNASDNASCNASZNAS");
  raw.socket.destroy();
});

test("bytes of a server before TLS end the connection", async (t) => {
  await fakeServer(t, (socket) => {
    socket.once("data", () => socket.write(Buffer.concat([Buffer.from("S"), authenticationOk()])));
  });
  proxy.setEndpoint({ tls: { mode: "VerifyFull" } });
  t.after(() => proxy.setEndpoint({ tls: { mode: "Disable" } }));
  const raw = new RawClient(connect(proxy.port, proxy.host));
  raw.send(startupMessage({ user: "agent" }));
  assert.deepEqual(errorsOf(await raw.until((answers) => answers.length > 0)), ["08001"]);
});

test("direct TLS without ALPN postgresql is refused, and so is TLS within TLS", async () => {
  const tls = { host: proxy.host, port: proxy.port, ca: proxy.caPem, servername: "localhost" };
  const plain = connectTls(tls);
  plain.on("error", () => undefined);
  const raw = new RawClient(plain);
  raw.send(startupMessage({ user: "agent" }));
  await assert.rejects(raw.ready(), /closed after/);
  const inner = connectTls({ ...tls, ALPNProtocols: ["postgresql"] });
  await once(inner, "secureConnect");
  inner.write(sslRequest());
  const [answer] = (await once(inner, "data")) as [Buffer];
  assert.equal(answer.toString(), "N");
  const again = new RawClient(inner);
  again.send(startupMessage({ user: "agent" }));
  assert.equal(statusOf(await again.ready()), "I");
  await again.end();
});

test("an answer is on its way before its event is written: nobody waits for that", async () => {
  const raw = await rawClient(proxy.port);
  const order: string[] = [];
  const { write } = Socket.prototype;
  const watched = mock.method(Socket.prototype, "write", function (this: Socket, bytes: unknown) {
    if (Buffer.isBuffer(bytes) && bytes.includes("SELECT 3\0")) order.push("answer");
    return write.call(this, bytes instanceof Uint8Array ? bytes : String(bytes));
  });
  const { push } = proxy.events;
  proxy.events.push = (...events) => {
    for (const { body } of events) order.push(`event of ${body.operation?.summary}`);
    return push.apply(proxy.events, events);
  };
  try {
    const parsed = [serialize.parse({ text: "SELECT generate_series(1, 3)" }), serialize.bind()];
    raw.send(...parsed, serialize.execute(), serialize.sync());
    await raw.ready();
    raw.send(serialize.query("SELECT generate_series(1, 3)"));
    await raw.ready();
  } finally {
    watched.mock.restore();
    proxy.events.push = push;
  }
  const event = "event of SELECT generate_series(1, 3)";
  assert.deepEqual(order, ["answer", event, "answer", event]);
  await raw.end();
});

test("the end of a binary COPY is no row: not to a limit, and not in the record", async () => {
  proxy.setRules(everything, { limits: { rowsPerResult: 2 } });
  const raw = await rawClient(proxy.port);
  for (const rows of [0, 1, 2]) {
    raw.send(
      serialize.query(`COPY (SELECT generate_series(1, ${rows})) TO STDOUT (FORMAT binary)`),
    );
    assert.deepEqual(errorsOf(await raw.ready()), []);
    assert.equal(proxy.operations().at(-1)?.body.outcome?.rows, rows);
  }
  raw.send(serialize.query("COPY (SELECT generate_series(1, 3)) TO STDOUT (FORMAT binary)"));
  assert.deepEqual(errorsOf(await raw.ready()), ["54000"]);
  await raw.end();
});

test("a portal that is executed again while its rows still come has each Execute recorded with the rows it gave", async (t) => {
  const harness = await startHarness(server);
  t.after(() => harness.close());
  harness.setRules(everything, {
    recording: { detail: "Full", strict: false, retentionDays: 1 },
  });
  const raw = await rawClient(harness.port);
  t.after(() => raw.end());
  raw.send(
    serialize.parse({ text: "SELECT generate_series(1, 200000)", types: [] }),
    serialize.bind({}),
    serialize.execute({ rows: 150_000 }),
    serialize.execute({}),
    serialize.sync(),
  );
  assert.equal(rowsOf(await raw.ready()).length, 200_000);
  const text = "COPY (SELECT repeat('x', 100) FROM generate_series(1, 50000)) TO STDOUT";
  raw.send(
    serialize.parse({ text, types: [] }),
    serialize.bind({}),
    serialize.execute({}),
    serialize.execute({}),
    serialize.sync(),
  );
  assert.deepEqual(errorsOf(await raw.ready()), ["55000"]);
  const outcomes = harness.operations().map(({ body }) => body.outcome);
  assert.deepEqual(
    outcomes
      .map((outcome) => [outcome?.status, outcome?.rows, outcome?.copied?.bytes].join(" "))
      .toSorted(),
    ["error 0 ", "ok 150000 ", "ok 50000 ", `ok 50000 ${101 * 50_000}`],
  );
});

for (const [what, text] of [
  ["is denied", "TRUNCATE kept"],
  ["fails", "SELECT * FROM nowhere"],
] as const)
  test(`nothing of a batch without Sync commits when what stands behind its Query ${what}`, async (t) => {
    if (server.major < 18) {
      t.skip("before PostgreSQL 18 the Query itself commits what stands before it");
      return;
    }
    proxy.setRules([...everything, deny({ statements: ["truncate"] })]);
    const raw = await rawClient(proxy.port);
    t.after(() => raw.end());
    raw.send(
      serialize.parse({ text: "CREATE TABLE made (a int)", types: [] }),
      serialize.bind({}),
      serialize.execute({}),
      serialize.query("INSERT INTO kept VALUES ('x')"),
    );
    assert.equal(statusOf(await raw.ready()), "T");
    raw.send(
      serialize.parse({ text, types: [] }),
      serialize.bind({}),
      serialize.execute({}),
      serialize.sync(),
    );
    const answers = await raw.ready();
    assert.equal(errorsOf(answers).length, 1);
    assert.equal(statusOf(answers), "I");
    assert.equal((await direct.query("SELECT FROM kept")).rowCount, 0);
    assert.deepEqual((await direct.query("SELECT to_regclass('made') AS made")).rows, [
      { made: null },
    ]);
  });
