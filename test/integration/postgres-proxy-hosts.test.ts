// Several hosts of one database, a primary and a streaming standby, chosen as libpq chooses them.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import type { TestContext } from "node:test";
import pg from "pg";
import type { HostAddress, TargetSessionAttrs } from "../../contract/control.ts";
import { errorResponse } from "../../proxy/postgres/messages.ts";
import { allow, everything, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

const host = "127.0.0.1";
/** Nobody listens there: a port under 1024 that a test never takes. */
const dead: HostAddress = { host, port: 1 };

let primary: PostgresServer;
let standby: PostgresServer;
let proxy: Harness;

before(async () => {
  primary = await startPostgres();
  standby = await startPostgres({ standbyOf: primary });
  proxy = await startHarness(primary);
});

beforeEach(() => proxy.setRules(everything));

after(async () => {
  await proxy?.close();
  await standby?.stop();
  await primary?.stop();
});

function use(hosts: readonly HostAddress[], targetSessionAttrs: TargetSessionAttrs = "any"): void {
  const [first = dead, ...fallbacks] = hosts;
  proxy.setEndpoint({ host: first.host, port: first.port, fallbacks, targetSessionAttrs });
}

async function client(): Promise<pg.Client> {
  const db = new pg.Client({
    host: proxy.host,
    port: proxy.port,
    user: "agent",
    database: "postgres",
  });
  db.on("error", () => undefined);
  await db.connect();
  return db;
}

async function portReached(): Promise<number> {
  const db = await client();
  try {
    return (await db.query("SELECT inet_server_port() AS port")).rows[0].port;
  } finally {
    await db.end();
  }
}

async function listening(t: TestContext, serve: (socket: Socket) => void): Promise<HostAddress> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    serve(socket);
  });
  server.listen(0, host);
  await once(server, "listening");
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { host, port: (server.address() as AddressInfo).port };
}

test("the standby streams what the primary writes", async () => {
  const writer = new pg.Client({ connectionString: primary.superuserUrl });
  await writer.connect();
  await writer.query("CREATE TABLE streamed AS SELECT 42 AS answer");
  await writer.end();
  const reader = new pg.Client({ connectionString: standby.superuserUrl });
  await reader.connect();
  const seen =
    "SELECT to_regclass('streamed') IS NOT NULL AS there, pg_is_in_recovery() AS recovering";
  for (;;) {
    const { rows } = await reader.query(seen);
    assert.equal(rows[0].recovering, true);
    if (rows[0].there === true) break;
  }
  await reader.end();
});

test("each of targetSessionAttrs takes the first host that suits, past dead ones", async () => {
  const rows: readonly (readonly [TargetSessionAttrs, readonly HostAddress[], PostgresServer])[] = [
    ["any", [dead, standby, primary], standby],
    ["any", [primary, standby], primary],
    ["read-write", [dead, standby, primary], primary],
    ["primary", [standby, primary], primary],
    ["read-only", [primary, standby], standby],
    ["standby", [primary, dead, standby], standby],
    ["prefer-standby", [primary, standby], standby],
    ["prefer-standby", [dead, primary], primary],
    ["prefer-standby", [primary, dead], primary],
  ];
  for (const [wanted, hosts, reached] of rows) {
    use(hosts, wanted);
    assert.equal(
      await portReached(),
      reached.port,
      `${wanted} of ${hosts.map(({ port }) => port).join()}`,
    );
  }
});

test("a policy that allows only reads does not make a primary look like a standby", async () => {
  proxy.setRules([allow({ statements: ["select"] }), allow({ functions: ["*"] })]);
  use([standby, primary], "read-write");
  assert.equal(await portReached(), primary.port);
  use([primary, standby], "read-only");
  assert.equal(await portReached(), standby.port);
});

test("a primary whose default is read-only is none for read-write", async () => {
  const direct = new pg.Client({ connectionString: primary.superuserUrl });
  await direct.connect();
  await direct.query("ALTER ROLE postgres SET default_transaction_read_only = on");
  try {
    use([primary], "read-only");
    assert.equal(await portReached(), primary.port);
    use([primary], "read-write");
    await assert.rejects(client(), {
      message: /a primary that is read-only, and targetSessionAttrs is read-write/,
    });
  } finally {
    await direct.query("SET default_transaction_read_only = off");
    await direct.query("ALTER ROLE postgres RESET default_transaction_read_only");
    await direct.end();
  }
});

test("when no host can be used, the error names each and why", async () => {
  use([dead, standby], "read-write");
  await assert.rejects(client(), {
    code: "08001",
    message: `connection agents/orders-db: no host can be used: 127.0.0.1:1 (ECONNREFUSED); 127.0.0.1:${standby.port} (a standby, and targetSessionAttrs is read-write)`,
  });
});

test("a server that is starting and one that says nothing are passed by", async (t) => {
  const starting = await listening(t, (socket) => {
    socket.once("data", () =>
      socket.end(errorResponse({ severity: "FATAL", sqlstate: "57P03", message: "starting up" })),
    );
  });
  const silent = await listening(t, () => undefined);
  use([starting, silent, primary]);
  assert.equal(await portReached(), primary.port);
});

test("a host that refuses the credential ends the search, as in libpq", async (t) => {
  const refusing = await listening(t, (socket) => {
    socket.once("data", () =>
      socket.end(errorResponse({ severity: "FATAL", sqlstate: "28P01", message: "no" })),
    );
  });
  use([dead, refusing, primary]);
  await assert.rejects(client(), {
    code: "28P01",
    message: /refused the credential .*tried before: 127\.0\.0\.1:1 \(ECONNREFUSED\)/,
  });
});

test("servers before 14, which do not report what they are, are asked", async (t) => {
  const quiet = ({ port }: PostgresServer) =>
    listening(t, (socket) => {
      const upstream = connect({ host, port });
      upstream.on("error", () => undefined);
      socket.pipe(upstream);
      upstream.on("data", (chunk: Buffer) =>
        socket.write(
          Buffer.from(
            chunk.toString("latin1").replace("in_hot_standby", "in_hot_standbx"),
            "latin1",
          ),
        ),
      );
      upstream.on("end", () => socket.end());
    });
  use([await quiet(standby), await quiet(primary)], "primary");
  assert.equal(await portReached(), primary.port);
  use([await quiet(primary), await quiet(standby)], "standby");
  assert.equal(await portReached(), standby.port);
});

test("a cancel goes to the host that the session is on", async () => {
  use([primary, standby], "standby");
  const db = await client();
  const { rows } = await db.query("SELECT pg_backend_pid() AS pid");
  const sleeping = db.query("SELECT pg_sleep(60)");
  const failed = assert.rejects(sleeping, { code: "57014" });
  const direct = new pg.Client({ connectionString: standby.superuserUrl });
  await direct.connect();
  const active = "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
  while ((await direct.query(active, [rows[0].pid])).rowCount === 0);
  await direct.end();
  const { processID, secretKey } = db as unknown as { processID: number; secretKey: number };
  const socket = connect({ host: proxy.host, port: proxy.port });
  await once(socket, "connect");
  const request = Buffer.alloc(16);
  request.writeInt32BE(16, 0);
  request.writeInt32BE(80877102, 4);
  request.writeInt32BE(processID, 8);
  request.writeInt32BE(secretKey, 12);
  socket.end(request);
  await failed;
  await db.end();
});

test("each host is verified under its own name", async () => {
  const secured = await startPostgres({ tls: true, dnsNames: ["db.example"] });
  const harness = await startHarness(secured);
  try {
    const { port } = secured;
    // An address written in another way is another name: it resolves to the server, and the certificate does not know it.
    harness.setEndpoint({ host: "127.0.0.1", port: 1, fallbacks: [{ host: "localhost", port }] });
    const db = new pg.Client({
      host: harness.host,
      port: harness.port,
      user: "agent",
      database: "postgres",
    });
    await db.connect();
    await db.end();
    const alias = "0x7f000001";
    harness.setEndpoint({ host: "127.0.0.1", port: 1, fallbacks: [{ host: alias, port }] });
    const other = new pg.Client({
      host: harness.host,
      port: harness.port,
      user: "agent",
      database: "postgres",
    });
    await assert.rejects(other.connect(), {
      code: "08001",
      message: /TLS to 0x7f000001 failed \(ERR_TLS_CERT_ALTNAME_INVALID\)/,
    });
  } finally {
    await harness.close();
    await secured.stop();
  }
});
