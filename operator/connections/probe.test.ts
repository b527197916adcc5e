import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { createServer as createTlsServer, TLSSocket } from "node:tls";
import { pinOf } from "../../contract/pins.ts";
import { startAuthority } from "../../test/integration/postgres-certificates.ts";
import { newAuthority, newServing } from "../pki/authority.ts";
import type { ConnectionTarget } from "./endpoint.ts";
import { forbiddenAddresses } from "./forbidden.ts";
import { probe, type ProbeOptions, type ProbeResult } from "./probe.ts";

const authority = newAuthority(Date.now());
const serving = newServing(authority, ["db.example"], Date.now());

async function listening(t: TestContext, server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

function tried(
  target: Partial<ConnectionTarget>,
  ca?: string,
  more: ProbeOptions["tls"] = {},
): Promise<ProbeResult> {
  const tls = { ...(ca === undefined ? {} : { ca }), ...more };
  return probe(
    {
      host: "db.example",
      port: 1,
      tls: true,
      basePath: "",
      fallbacks: [],
      scheme: "postgres",
      ...target,
    },
    {
      forbidden: { reason: () => undefined },
      resolve: async () => ["127.0.0.1"],
      tls,
      signal: AbortSignal.timeout(5_000),
    },
  );
}

/** Answers the first bytes it hears with these, and goes on with TLS when they are an S. */
function postgresThatSays(answer: string): Server {
  return createServer((socket: Socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => {
      socket.write(answer);
      if (answer === "S")
        new TLSSocket(socket, { isServer: true, ...serving }).on("error", () => undefined);
      if (answer === "") socket.end();
    });
  });
}

test("a PostgreSQL whose certificate is right is reachable", async (t) => {
  const port = await listening(t, postgresThatSays("S"));
  const { reason, message } = await tried({ port }, authority.certificate);
  assert.equal(reason, "Reachable", message);
});

test("a certificate of an unknown authority, or for another name, is not trusted", async (t) => {
  const port = await listening(t, postgresThatSays("S"));
  assert.equal((await tried({ port })).reason, "TlsUntrusted");
  assert.equal(
    (await tried({ port, host: "other.example" }, authority.certificate)).reason,
    "TlsUntrusted",
  );
});

test("a PostgreSQL without TLS is refused where TLS is asked for, and fine where it is not", async (t) => {
  const port = await listening(t, postgresThatSays("N"));
  assert.equal((await tried({ port })).reason, "TlsRefused");
  assert.equal((await tried({ port, tls: false })).reason, "Reachable");
});

test("one of several hosts is enough, and what the others lack is said", async (t) => {
  const port = await listening(t, postgresThatSays("S"));
  const fallbacks = [{ host: "db.example", port }];
  const { reason, message } = await tried({ port: 1, fallbacks }, authority.certificate);
  assert.equal(reason, "Reachable");
  assert.match(message, /^db.example:1 .*ECONNREFUSED.*; db.example:\d+ answered at 127.0.0.1/);
  assert.equal(
    (await tried({ port: 1, fallbacks: [{ host: "db.example", port: 2 }] })).reason,
    "ConnectFailed",
  );
});

for (const answer of ["H", "", "SQLSQL"]) {
  test(`a server that answers an SSLRequest with ${JSON.stringify(answer)} is no PostgreSQL`, async (t) => {
    const port = await listening(t, postgresThatSays(answer));
    assert.equal((await tried({ port, tls: false })).reason, "ProtocolMismatch");
  });
}

test("an https server is proven, a plain http server only has to listen", async (t) => {
  const port = await listening(t, createTlsServer({ ...serving }));
  assert.equal((await tried({ port, scheme: "https" }, authority.certificate)).reason, "Reachable");
  const plain = await listening(
    t,
    createServer((socket) => socket.destroy()),
  );
  assert.equal((await tried({ port: plain, scheme: "http", tls: false })).reason, "Reachable");
  assert.equal((await tried({ port: plain, scheme: "https" })).reason, "TlsFailed");
});

test("a closed port and a name without address are told apart", async () => {
  assert.equal((await tried({ port: 1, scheme: "http", tls: false })).reason, "ConnectFailed");
  const { reason } = await probe(
    { host: "nowhere.example", port: 1, tls: true, basePath: "", fallbacks: [], scheme: "https" },
    {
      forbidden: { reason: () => undefined },
      resolve: async () => {
        throw Object.assign(new Error("no"), { code: "ENOTFOUND" });
      },
      tls: {},
      signal: AbortSignal.timeout(5_000),
    },
  );
  assert.equal(reason, "NameNotResolved");
});

for (const [address, why] of [
  ["127.0.0.1", "loopback"],
  ["127.8.9.1", "loopback"],
  ["::1", "loopback"],
  ["::ffff:127.0.0.1", "loopback"],
  ["169.254.169.254", "link-local"],
  ["fe80::1", "link-local"],
  ["0.0.0.0", "no address of a host"],
  ["10.96.0.1", "the API server"],
  ["::ffff:10.96.0.1", "the API server"],
] satisfies [string, string][]) {
  test(`${address} is never dialled, also when only one of a name's addresses is it`, async () => {
    const forbidden = forbiddenAddresses(new Map([["10.96.0.1", "the API server"]]));
    for (const resolved of [[address], ["192.0.2.1", address]]) {
      const { reason, message } = await probe(
        {
          host: "sneaky.example",
          port: 9,
          tls: false,
          basePath: "",
          fallbacks: [],
          scheme: "http",
        },
        {
          forbidden,
          resolve: async () => resolved,
          tls: {},
          signal: AbortSignal.timeout(5_000),
        },
      );
      assert.equal(reason, "AddressForbidden");
      assert.match(message, new RegExp(why));
    }
  });
}

test("private addresses of a cluster are dialled", () => {
  const forbidden = forbiddenAddresses(new Map());
  for (const address of ["10.0.0.1", "192.168.1.1", "172.16.0.1", "fd00::1"])
    assert.equal(forbidden.reason(address), undefined);
});

test("a server that demands a client certificate is reachable with it, and said to lack it without", async (t) => {
  const authorityOfClients = await startAuthority();
  t.after(() => authorityOfClients.close());
  const clientCertificate = await authorityOfClients.client("certain");
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    const server = createTlsServer({
      ...serving,
      ca: authorityOfClients.caPem,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: version,
      maxVersion: version,
    });
    server.on("tlsClientError", () => undefined);
    server.on("secureConnection", (socket) => socket.on("error", () => undefined));
    const port = await listening(t, server);
    const target = { port, scheme: "https" } as const;
    const shown = await tried(target, authority.certificate, { clientCertificate });
    assert.equal(shown.reason, "Reachable", shown.message);
    const without = await tried(target, authority.certificate);
    assert.equal(without.reason, "TlsFailed", version);
  }
});

test("a server without a pinned key is not to be trusted", async (t) => {
  const port = await listening(t, createTlsServer(serving));
  const { publicKey } = new X509Certificate(serving.cert);
  const pin = pinOf(publicKey.export({ type: "spki", format: "der" }));
  const target = { port, scheme: "https" } as const;
  const right = await tried(target, authority.certificate, { pins: [pin] });
  assert.equal(right.reason, "Reachable", right.message);
  const wrong = await tried(target, authority.certificate, {
    pins: [`sha256/${"A".repeat(43)}=`],
  });
  assert.equal(wrong.reason, "TlsUntrusted");
  assert.match(wrong.message, /endpoint\.tls\.pins/);
});
