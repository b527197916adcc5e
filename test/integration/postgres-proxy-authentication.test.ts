// How the proxy and real servers prove themselves to each other: client certificates, channel binding, and the weak ways that are refused.
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { connect as connectTls, createSecureContext, TLSSocket } from "node:tls";
import pg from "pg";
import { pinOf } from "../../contract/pins.ts";
import { errorResponse, message, sslRequest } from "../../proxy/postgres/messages.ts";
import { signatures, startAuthority } from "./postgres-certificates.ts";
import type { TestAuthority } from "./postgres-certificates.ts";
import { startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";
import type { ServerCertificate } from "./postgres-tls.ts";

let authority: TestAuthority;
let serverCertificate: ServerCertificate;
let server: PostgresServer;
let proxy: Harness;

before(async () => {
  authority = await startAuthority();
  serverCertificate = await authority.server();
  server = await startPostgres({
    tls: true,
    certificate: serverCertificate,
    clientCaPem: authority.caPem,
    hba: [
      "hostssl all certain 127.0.0.1/32 cert",
      "hostssl all twofold 127.0.0.1/32 scram-sha-256 clientcert=verify-full",
      "hostssl all old 127.0.0.1/32 md5",
      "hostssl all plain 127.0.0.1/32 password",
      "hostssl all all 127.0.0.1/32 scram-sha-256",
      "hostnossl all old 127.0.0.1/32 md5",
      "hostnossl all plain 127.0.0.1/32 password",
    ],
  });
  proxy = await startHarness(server);
  const direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query(`
    CREATE ROLE certain LOGIN;
    CREATE ROLE twofold LOGIN PASSWORD 'pencil';
    CREATE ROLE plain LOGIN PASSWORD 'pencil';
    SET password_encryption = md5;
    CREATE ROLE old LOGIN PASSWORD 'pencil';
  `);
  await direct.end();
});

after(async () => {
  await proxy?.close();
  await server?.stop();
  await authority?.close();
});

async function userThrough(harness: Harness): Promise<string> {
  const { host, port } = harness;
  const db = new pg.Client({ host, port, user: "agent", database: "postgres" });
  db.on("error", () => undefined);
  await db.connect();
  try {
    return (await db.query("SELECT session_user AS who")).rows[0].who;
  } finally {
    await db.end();
  }
}

function prove(username: string | undefined, changes: Parameters<Harness["setEndpoint"]>[0]): void {
  proxy.setLease(
    username === undefined ? { kind: "none" } : { kind: "password", username, password: "pencil" },
  );
  proxy.setEndpoint({
    port: server.port,
    tls: { mode: "VerifyFull", ca: authority.caPem },
    dangerouslyAllowAuthentication: [],
    ...changes,
  });
}

test("a client certificate is a credential by itself: its name is the user, not the agent's word", async () => {
  const clientCertificate = await authority.client("certain");
  prove(undefined, { tls: { mode: "VerifyFull", ca: authority.caPem, clientCertificate } });
  assert.equal(await userThrough(proxy), "certain");
});

test("a client certificate stands beside a password where the server wants both", async () => {
  const clientCertificate = await authority.client("twofold");
  prove("twofold", { tls: { mode: "VerifyFull", ca: authority.caPem, clientCertificate } });
  assert.equal(await userThrough(proxy), "twofold");
  prove("twofold", {});
  await assert.rejects(userThrough(proxy), { code: "28P01", message: /refused the credential/ });
  const other = await authority.client("somebody");
  prove("twofold", { tls: { mode: "VerifyFull", ca: authority.caPem, clientCertificate: other } });
  await assert.rejects(userThrough(proxy), { code: "28P01" });
});

test("a client certificate of a foreign CA is refused with a sentence that names the Connection", async (t) => {
  const foreign = await startAuthority();
  t.after(() => foreign.close());
  const clientCertificate = await foreign.client("certain");
  prove("certain", { tls: { mode: "VerifyFull", ca: authority.caPem, clientCertificate } });
  await assert.rejects(userThrough(proxy), {
    code: "08001",
    message: /connection agents\/orders-db: the server ended TLS .*clientCertificateSecretRef/,
  });
});

test("a server whose key is pinned is used, and another is told nothing", async () => {
  const { publicKey } = new X509Certificate(serverCertificate.certificatePem);
  const pin = pinOf(publicKey.export({ type: "spki", format: "der" }));
  const clientCertificate = await authority.client("certain");
  const tls = { mode: "VerifyFull", ca: authority.caPem, clientCertificate } as const;
  prove(undefined, { tls: { ...tls, pins: [pin] } });
  assert.equal(await userThrough(proxy), "certain");
  prove(undefined, { tls: { ...tls, pins: [`sha256/${"A".repeat(43)}=`] } });
  await assert.rejects(userThrough(proxy), {
    code: "08001",
    message: /connection agents\/orders-db: 127.0.0.1 has the key sha256\/.{43}=, which is not/,
  });
});

test("MD5 and clear text are refused unless the Connection dangerously allows that very one", async () => {
  for (const [user, way, other] of [
    ["old", "md5", "cleartext"],
    ["plain", "cleartext", "md5"],
  ] as const) {
    for (const allowed of [[], [other]]) {
      prove(user, { dangerouslyAllowAuthentication: allowed });
      await assert.rejects(userThrough(proxy), {
        code: "28P01",
        message: /only SCRAM-SHA-256 is spoken \(postgres.dangerouslyAllowAuthentication/,
      });
    }
    prove(user, { dangerouslyAllowAuthentication: [way] });
    assert.equal(await userThrough(proxy), user);
  }
});

test("without TLS the password never goes in clear text, whatever the Connection says", async () => {
  const dangerouslyAllowAuthentication = ["md5", "cleartext"] as const;
  prove("plain", { tls: { mode: "Disable" }, dangerouslyAllowAuthentication });
  await assert.rejects(userThrough(proxy), { code: "28P01", message: /in clear text/ });
  prove("old", { tls: { mode: "Disable" }, dangerouslyAllowAuthentication });
  assert.equal(await userThrough(proxy), "old");
});

/** Ends TLS with a certificate of the same CA and hands everything on: what only channel binding notices. */
async function manInTheMiddle(shown: ServerCertificate, target: PostgresServer): Promise<Server> {
  const context = createSecureContext({ cert: shown.certificatePem, key: shown.keyPem });
  const listener = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => {
      socket.write("S");
      const inner = new TLSSocket(socket, { isServer: true, secureContext: context });
      void relay(inner, target);
    });
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  return listener;
}

async function relay(inner: TLSSocket, { host, port }: PostgresServer): Promise<void> {
  inner.on("error", () => undefined);
  inner.pause();
  const socket: Socket = connect({ host, port });
  socket.write(sslRequest());
  await once(socket, "data");
  const outer = connectTls({ socket, rejectUnauthorized: false });
  outer.on("error", () => undefined);
  inner.pipe(outer);
  outer.pipe(inner);
}

async function portOf(t: TestContext, listening: Server): Promise<number> {
  t.after(() => listening.close());
  return (listening.address() as AddressInfo).port;
}

test("SCRAM is bound to the server's certificate: another one of the same CA in between is noticed", async (t) => {
  for (const name of Object.keys(signatures) as (keyof typeof signatures)[]) {
    const ca = await startAuthority(name);
    const certificate = await ca.server();
    const settings = { ssl_min_protocol_version: "TLSv1.2" };
    const target = await startPostgres({ tls: true, certificate, settings });
    const harness = await startHarness(target);
    const middle = await manInTheMiddle(await ca.server(), target);
    t.after(() => middle.close());
    try {
      assert.equal(await userThrough(harness), "postgres", name);
      harness.setEndpoint({ port: await portOf(t, middle) });
      // RFC 5929: a certificate whose signature names no hash cannot be bound to.
      if (name === "Ed25519") assert.equal(await userThrough(harness), "postgres");
      else {
        await assert.rejects(userThrough(harness), { code: /^(28P01|08001)$/ }, name);
        assert.match(target.log(), /SCRAM channel binding check failed/, name);
      }
    } finally {
      await harness.close();
      await target.stop();
      await ca.close();
    }
  }
});

test("a server that offers SCRAM-SHA-256-PLUS alone is answered with it", async (t) => {
  const shown = await authority.server();
  const context = createSecureContext({ cert: shown.certificatePem, key: shown.keyPem });
  let said = "";
  const fake = createServer((socket) => {
    socket.once("data", () => {
      socket.write("S");
      const inner = new TLSSocket(socket, { isServer: true, secureContext: context });
      inner.on("error", () => undefined);
      inner.once("data", () => {
        const code = Buffer.from([0, 0, 0, 10]);
        inner.write(message(0x52, Buffer.concat([code, Buffer.from("SCRAM-SHA-256-PLUS\0\0")])));
        inner.once("data", (answer: Buffer) => {
          said = answer.toString("latin1");
          inner.end(errorResponse({ severity: "FATAL", sqlstate: "28P01", message: "enough" }));
        });
      });
    });
  });
  fake.listen(0, "127.0.0.1");
  await once(fake, "listening");
  prove("twofold", { port: await portOf(t, fake) });
  await assert.rejects(userThrough(proxy), { code: "28P01" });
  assert.match(said, /SCRAM-SHA-256-PLUS\0[^]{4}p=tls-server-end-point,,n=\*,r=/);
});
