// Client certificates and pinned keys on the leg to an HTTP upstream, against a server that demands them.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { TLSSocket } from "node:tls";
import type { SecureVersion } from "node:tls";

import type { TlsSettings } from "../../contract/control.ts";
import { pinOf } from "../../contract/pins.ts";
import { send, startRoom } from "./http-proxy-fixture.ts";
import type { TestRoom } from "./http-proxy-fixture.ts";
import { startAuthority, type TestAuthority } from "./postgres-certificates.ts";

let authority: TestAuthority;
let foreign: TestAuthority;
let server: Awaited<ReturnType<TestAuthority["server"]>>;
before(async () => {
  authority = await startAuthority();
  foreign = await startAuthority();
  server = await authority.server();
});
after(async () => {
  await authority.close();
  await foreign.close();
});

interface Demanding {
  readonly port: number;
  readonly names: string[];
  readonly resumed: () => number;
}

/** Answers with the name in the certificate it was shown. */
async function demanding(
  t: TestContext,
  version: SecureVersion,
  demands = true,
): Promise<Demanding> {
  const names: string[] = [];
  const origin = createServer(
    {
      cert: server.certificatePem,
      key: server.keyPem,
      ca: authority.caPem,
      requestCert: demands,
      rejectUnauthorized: demands,
      minVersion: version,
      maxVersion: version,
    },
    (request, response) => {
      assert.ok(request.socket instanceof TLSSocket);
      const name = String(request.socket.getPeerX509Certificate()?.subject.replace("CN=", ""));
      names.push(name);
      if (request.headers["x-last"] !== undefined) response.setHeader("connection", "close");
      request.resume();
      request.on("end", () => response.end(name));
    },
  );
  let resumed = 0;
  origin.on("secureConnection", (socket) => {
    if (socket.isSessionReused()) resumed += 1;
  });
  origin.on("tlsClientError", () => {});
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
  t.after(() => {
    origin.closeAllConnections();
    origin.close();
  });
  const address = origin.address();
  assert.ok(address !== null && typeof address === "object");
  return { port: address.port, names, resumed: () => resumed };
}

/** `openssl s_server` that demands a certificate of our CA. */
async function opensslServer(t: TestContext, version: "TLSv1.2" | "TLSv1.3"): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-tls-"));
  const path = (name: string): string => join(directory, name);
  await writeFile(path("server.pem"), `${server.certificatePem}${server.keyPem}`);
  await writeFile(path("ca.pem"), authority.caPem);
  const flags = `s_server -accept 127.0.0.1:0 -cert ${path("server.pem")} -CAfile ${path("ca.pem")} -Verify 1 -verify_return_error -www`;
  const child = spawn("openssl", [
    ...flags.split(" "),
    version === "TLSv1.2" ? "-tls1_2" : "-tls1_3",
  ]);
  t.after(async () => {
    child.kill();
    await rm(directory, { recursive: true, force: true });
  });
  let said = "";
  for await (const chunk of child.stdout) {
    said += String(chunk);
    const port = /^ACCEPT 127\.0\.0\.1:(\d+)/m.exec(said)?.[1];
    if (port === undefined) continue;
    child.stdout.resume();
    return Number(port);
  }
  throw new Error(`openssl s_server ended: ${said}`);
}

function roomWith(t: TestContext, port: number, tls: Partial<TlsSettings>): Promise<TestRoom> {
  const settings: TlsSettings = { mode: "VerifyFull", ca: authority.caPem, ...tls };
  return startRoom(t, [{ upstream: { port, host: "localhost" }, endpoint: { tls: settings } }]);
}

function assertUnwritten(room: TestRoom, key: string, ...further: string[]): void {
  const body = key.split("\n").slice(1, -2).join("");
  for (const text of [JSON.stringify(room.events()), ...further])
    assert.ok(!text.includes(body.slice(0, 20)) && !text.includes("PRIVATE KEY"));
}

for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
  test(`a server that demands a client certificate gets the Connection's, with ${version}, for every kind of body`, async (t) => {
    const clientCertificate = await authority.client("invoice-agent");
    const target = await demanding(t, version);
    const room = await roomWith(t, target.port, { clientCertificate });
    assert.equal((await send(room, {})).text, "invoice-agent");
    const streamed = await send(room, { method: "POST", body: Buffer.alloc(200_000, "x") });
    assert.equal(streamed.text, "invoice-agent");
    assertUnwritten(room, clientCertificate.key);
  });

  test(`without one, and with one of another CA, it is UpstreamTls that says where to mend it, with ${version}`, async (t) => {
    // OpenSSL itself, which says why it ends: Node's servers just close.
    const port = await opensslServer(t, version);
    const stranger = await foreign.client("invoice-agent");
    for (const tls of [{}, { clientCertificate: stranger }]) {
      const room = await roomWith(t, port, tls);
      // While a body is still being written, the reset that follows the alert may come first.
      for (const [body, said] of [
        ["x", /errors\/UpstreamTls.*agents\/target.*endpoint\.tls/],
        [Buffer.alloc(200_000, "x"), /errors\/(UpstreamTls|UpstreamUnreachable)/],
      ] as const) {
        const answer = await send(room, { method: "POST", body });
        assert.equal(answer.status, 502);
        assert.match(answer.text, said);
        assertUnwritten(room, stranger.key, answer.text);
      }
    }
  });
}

test("a renewed client certificate is shown from the next request on", async (t) => {
  const target = await demanding(t, "TLSv1.3");
  const room = await roomWith(t, target.port, { clientCertificate: await authority.client("old") });
  assert.equal((await send(room, {})).text, "old");
  const { live } = room.gate;
  assert.ok(live !== undefined);
  const clientCertificate = await authority.client("new");
  room.gate.live = {
    ...live,
    endpoint: { ...live.endpoint, tls: { ...live.endpoint.tls, clientCertificate } },
  };
  assert.equal((await send(room, {})).text, "new");
});

test("a server whose key is pinned shows it on every connection, where others resume a session", async (t) => {
  const target = await demanding(t, "TLSv1.3", false);
  const pin = pinOf(
    new X509Certificate(server.certificatePem).publicKey.export({ type: "spki", format: "der" }),
  );
  const pins = [`sha256/${"A".repeat(43)}=`, pin];
  for (const [tls, resumed] of [
    [{ pins }, 0],
    [{}, 2],
  ] as const) {
    const room = await roomWith(t, target.port, tls);
    // Each on a connection of its own.
    for (let at = 0; at < 3; at += 1)
      assert.equal((await send(room, { headers: { "x-last": "1" } })).status, 200);
    assert.equal(target.resumed(), resumed);
  }
});

test("a server with another key than the pinned one is told nothing, though its certificate verifies", async (t) => {
  const target = await demanding(t, "TLSv1.3");
  const clientCertificate = await authority.client("certain");
  const room = await roomWith(t, target.port, {
    clientCertificate,
    pins: [`sha256/${"A".repeat(43)}=`],
  });
  for (const body of ["x", Buffer.alloc(200_000, "x")]) {
    const answer = await send(room, { method: "POST", body });
    assert.equal(answer.status, 502);
    assert.match(answer.text, /has the key sha256\/.{43}=, which is not among those pinned/);
    assert.match(answer.text, /agents\/target.*endpoint\.tls\.pins/);
  }
  assert.deepEqual(target.names, []);
});

test("a pinned key does not make up for a certificate that does not verify", async (t) => {
  const target = await demanding(t, "TLSv1.3");
  const pin = pinOf(
    new X509Certificate(server.certificatePem).publicKey.export({ type: "spki", format: "der" }),
  );
  const room = await roomWith(t, target.port, { ca: foreign.caPem, pins: [pin] });
  const answer = await send(room, {});
  assert.equal(answer.status, 502);
  assert.match(answer.text, /errors\/UpstreamTls/);
});
