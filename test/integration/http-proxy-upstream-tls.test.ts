// The leg to the upstream over TLS: chain and name are verified for every endpoint, whatever the certificate says.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:https";
import { createServer as createTcpServer } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { authorityCertificate, leafCertificate } from "../../proxy/tls/certificate.ts";
import { send, startRoom } from "./http-proxy-fixture.ts";

const day = 86_400_000;
const valid = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + day) };
const expired = { notBefore: new Date(Date.now() - 2 * day), notAfter: new Date(Date.now() - day) };

interface Ca {
  readonly key: KeyObject;
  readonly pem: string;
}

function makeCa(names: readonly string[] = ["localhost", "other.example"]): Ca {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  return { key: privateKey, pem: authorityCertificate(privateKey, names, valid) };
}

async function origin(
  t: TestContext,
  ca: Ca,
  name: string,
  validity = valid,
  listens = "127.0.0.1",
): Promise<{ port: number; handshakes: () => number; resumed: () => number }> {
  const leaf = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const cert = leafCertificate(ca.key, leaf.publicKey, name, validity);
  const server = createServer(
    {
      key: leaf.privateKey.export({ type: "pkcs8", format: "pem" }),
      cert,
      ALPNProtocols: ["http/1.1"],
    },
    (request, response) => {
      request.resume();
      response.end(`hello ${request.headers.host}`);
    },
  );
  let handshakes = 0;
  let resumed = 0;
  server.on("secureConnection", (socket) => {
    handshakes++;
    if (socket.isSessionReused()) resumed++;
  });
  server.on("tlsClientError", () => {});
  server.listen(0, listens);
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return { port: address.port, handshakes: () => handshakes, resumed: () => resumed };
}

test("an endpoint with a certificate of its CA and for its name is reached, by name and by address", async (t) => {
  const ca = makeCa();
  for (const host of ["localhost", "127.0.0.1"]) {
    const target = await origin(t, ca, host);
    const room = await startRoom(t, [{ upstream: { port: target.port, host, ca: ca.pem } }]);
    const answer = await send(room, {});
    assert.equal(answer.text, `hello ${host}:${target.port}`);
    await send(room, {});
    assert.equal(target.handshakes(), 1, "the connection is kept");
  }
});

test("an endpoint is the address that its certificate is for, also of IPv6, however either is written", async (t) => {
  const names = ["127.0.0.1", "::1", "127.0.0.2"];
  const ca = makeCa(names);
  for (const [host, name, listens, status] of [
    ["::1", "::1", "::1", 200],
    ["0:0:0:0:0:0:0:1", "::1", "::1", 200],
    ["::1", "127.0.0.1", "::1", 502],
    ["127.0.0.1", "127.0.0.2", "127.0.0.1", 502],
    ["127.0.0.1", "::1", "127.0.0.1", 502],
    ["localhost", "127.0.0.1", "127.0.0.1", 502],
    ["127.0.0.1", "localhost", "127.0.0.1", 502],
  ] as const) {
    const target = await origin(t, ca, name, valid, listens);
    const room = await startRoom(t, [{ upstream: { port: target.port, host, ca: ca.pem } }]);
    assert.equal((await send(room, {})).status, status, `${host} with a certificate for ${name}`);
  }
});

test("a session with an endpoint is not taken up again under another CA", async (t) => {
  const [trusted, other] = [makeCa(), makeCa()];
  const target = await origin(t, trusted, "localhost");
  const { port } = target;
  const room = await startRoom(t, [{ upstream: { port, host: "localhost", ca: trusted.pem } }]);
  for (const [ca, status] of [
    [trusted.pem, 200],
    [other.pem, 502],
    [trusted.pem, 200],
  ] as const) {
    const live = room.gate.live ?? (await room.gate.grant(AbortSignal.timeout(1_000)));
    const endpoint = { ...live.endpoint, tls: { mode: "VerifyFull" as const, ca } };
    room.gate.live = { ...live, endpoint };
    assert.equal((await send(room, {})).status, status);
  }
  assert.equal(target.resumed(), 0);
});

for (const [title, setup] of [
  ["for another name", () => ({ ca: makeCa(), name: "other.example" })],
  ["that is expired", () => ({ ca: makeCa(), name: "localhost", validity: expired })],
  ["of another CA", () => ({ ca: makeCa(), name: "localhost", trusted: makeCa() })],
] as const) {
  test(`a certificate ${title} is refused before a byte of the request is sent`, async (t) => {
    const made: { ca: Ca; name: string; validity?: typeof valid; trusted?: Ca } = setup();
    const target = await origin(t, made.ca, made.name, made.validity);
    const room = await startRoom(t, [
      {
        upstream: { port: target.port, host: "localhost", ca: (made.trusted ?? made.ca).pem },
        lease: { kind: "headers", headers: [{ name: "authorization", value: "Bearer real" }] },
      },
    ]);
    const answer = await send(room, {});
    assert.equal(answer.status, 502);
    assert.match(answer.text, /errors\/UpstreamTls.*endpoint\.tls of the Connection/);
    assert.doesNotMatch(answer.text, /real/);
    assert.equal(room.operations()[0]?.body.outcome?.status, "error");
  });
}

test("an endpoint that does not speak TLS is not spoken to in clear", async (t) => {
  const received: Buffer[] = [];
  const server = createTcpServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      received.push(chunk);
      socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const room = await startRoom(t, [
    { upstream: { port: address.port, host: "localhost", ca: makeCa().pem } },
  ]);
  assert.equal((await send(room, { headers: { "x-secret": "plain" } })).status, 502);
  assert.ok(!Buffer.concat(received).includes("plain"));
});
