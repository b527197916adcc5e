// TLS that is not opened, end to end: real clients, a real TLS server, by address and through CONNECT.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer as createHttps } from "node:https";
import { connect, createServer as createTcp, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { connect as tls } from "node:tls";
import { promisify } from "node:util";

import { ProxyError } from "../../proxy/errors.ts";
import { createForwardProxy } from "../../proxy/http/forward-proxy.ts";
import { createHttpRoom } from "../../proxy/http/room.ts";
import { createDial } from "../../proxy/net/dial.ts";
import { listen } from "../../proxy/net/listen.ts";
import { createResolver } from "../../proxy/net/resolve.ts";
import { createPassthroughRoom } from "../../proxy/passthrough/room.ts";
import { createPodAuthority } from "../../proxy/tls/authority.ts";
import { eventually, raw, testGate } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestGate } from "./http-proxy-fixture.ts";
import { issueServerCertificate } from "./postgres-tls.ts";

const run = promisify(execFile);
const host = "pypi.example";

interface Setup {
  /** Of the listener that stands for the host's address, and of the forward proxy. */
  readonly port: number;
  readonly proxyPort: number;
  readonly ca: string;
  readonly caFile: string;
  readonly gate: TestGate;
  readonly refused: ProxyError[];
  /** Connections that reached the upstream. */
  readonly reached: () => number;
}

async function start(t: TestContext, setup: Partial<ConnectionSetup> = {}): Promise<Setup> {
  const certificate = await issueServerCertificate([host, "other.example"], []);
  let reached = 0;
  const origin = createHttps(
    { key: certificate.keyPem, cert: certificate.certificatePem },
    (request, response) => {
      if (request.url === "/slow") response.write("first");
      else if (request.url === "/large") response.end(Buffer.alloc(300_000, "x"));
      else request.on("data", () => undefined).on("end", () => response.end("sealed"));
    },
  );
  origin.on("connection", () => reached++);
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
  const address = origin.address();
  assert.ok(address !== null && typeof address === "object");
  const gate = testGate({
    name: "pypi",
    protocol: "passthrough",
    upstream: { port: address.port },
    ...setup,
  });
  const refused: ProxyError[] = [];
  const resolver = createResolver({ resolvConf: "/nonexistent", allowLocalhost: true });
  const dial = createDial({ resolver, deny: () => false, allowLoopback: true });
  const onRefused = (error: ProxyError): void => void refused.push(error);
  const room = createPassthroughRoom({ dial, onRefused });
  const http = createHttpRoom({ dial, onRefused });
  const place = { gate, names: [host, "files.example"], port: 443 };
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    onConnection: (socket) => room.accept(socket, place),
  });
  const forward = createForwardProxy({
    authority: await createPodAuthority({ names: [host], storage: "memory" }),
    accept: http.accept.bind(http),
    targetFor: (name, port) =>
      name === host && port === 443
        ? { kind: "tunnel", open: (signal) => room.open(place, name, signal) }
        : undefined,
  });
  const proxy = await listen({
    host: "127.0.0.1",
    port: 0,
    onConnection: (socket) => forward.accept(socket),
  });
  const folder = await mkdtemp(join(tmpdir(), "passthrough-"));
  const caFile = join(folder, "ca.pem");
  await writeFile(caFile, certificate.caPem);
  t.after(async () => {
    await room.close();
    await http.close(0);
    await forward.close();
    await Promise.all([listener.close(0), proxy.close(0)]);
    await resolver.close();
    origin.closeAllConnections();
    origin.close();
    await rm(folder, { recursive: true });
  });
  return {
    port: listener.port,
    proxyPort: proxy.port,
    ca: certificate.caPem,
    caFile,
    gate,
    refused,
    reached: () => reached,
  };
}

const operations = (gate: TestGate) =>
  gate.events.filter(({ type }) => type === "operation").map(({ body }) => body);

/** The agent's own handshake, with the upstream's own certificate. */
async function dialled(setup: Setup, socket: Socket, servername = host) {
  const secure = tls({ socket, servername, ca: setup.ca, checkServerIdentity: () => undefined });
  secure.on("error", () => undefined);
  await once(secure, "secureConnect");
  return secure;
}

/** A reset is an error of the client's; here only the end counts. */
function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

async function tunnel(setup: Setup, target = `${host}:443`): Promise<Socket> {
  const socket = connect(setup.proxyPort, "127.0.0.1");
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  const [answer] = (await once(socket, "data")) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 200 /);
  return socket;
}

test("curl reaches the upstream by address and through CONNECT, and sees the upstream's own certificate", async (t) => {
  const setup = await start(t);
  const common = ["-sS", "--cacert", setup.caFile];
  const direct = ["--noproxy", "*", "--resolve", `${host}:${setup.port}:127.0.0.1`];
  const byAddress = await run("curl", [...common, ...direct, `https://${host}:${setup.port}/`]);
  assert.equal(byAddress.stdout, "sealed");
  const proxied = ["--noproxy", "", "--proxy", `http://127.0.0.1:${setup.proxyPort}`];
  const byConnect = await run("curl", [...common, ...proxied, "-d", "body", `https://${host}/`]);
  assert.equal(byConnect.stdout, "sealed");
  await eventually("both recorded", () => operations(setup.gate).length === 2);
  for (const { operation, decision, outcome, connection, intent } of operations(setup.gate)) {
    assert.equal(connection?.protocol, "passthrough");
    assert.deepEqual(
      [operation?.kind, operation?.summary, operation?.facts],
      ["passthrough", `TLS to ${host}:443`, { host, port: 443 }],
    );
    assert.equal(decision?.verdict, "allow");
    assert.equal(outcome?.status, "ok");
    assert.ok((outcome?.bytesIn ?? 0) > 500 && (outcome?.bytesOut ?? 0) > 500);
    assert.ok(intent !== undefined, "an intent stood before a byte went out");
  }
  const types = setup.gate.events.map(({ type }) => type);
  assert.equal(types.filter((type) => type === "session-start").length, 2);
  assert.equal(types.filter((type) => type === "session-end").length, 2);
  assert.deepEqual(setup.refused, []);
});

test("a ClientHello in single bytes passes, and large answers come whole", async (t) => {
  const setup = await start(t);
  const upstream = connect(setup.port, "127.0.0.1");
  const { duplexPair } = await import("node:stream");
  const [inside, outside] = duplexPair();
  upstream.setNoDelay(true);
  upstream.on("data", (chunk) => outside.write(chunk)).on("close", () => outside.end());
  let slow = true;
  outside.on("data", (chunk: Buffer) => {
    if (!slow) upstream.write(chunk);
    else for (const byte of chunk) upstream.write(Buffer.of(byte));
    slow = false;
  });
  const secure = tls({ socket: inside, servername: host, ca: setup.ca });
  await once(secure, "secureConnect");
  secure.write(`GET /large HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  let bytes = 0;
  secure.on("data", (chunk: Buffer) => (bytes += chunk.length));
  await once(secure, "end");
  assert.ok(bytes > 300_000, `${bytes}`);
  secure.destroy();
  upstream.destroy();
});

const refusals: readonly (readonly [
  what: string,
  servername: string | undefined,
  alert: RegExp,
  code: string,
])[] = [
  ["another name than the Connection's", "evil.example", /unrecognized.name/i, "ConnectionUnknown"],
  ["no name", undefined, /missing.extension/i, "MalformedRequest"],
];

for (const [what, servername, alert, code] of refusals)
  test(`a handshake with ${what} is refused by a TLS alert and never reaches the upstream`, async (t) => {
    const setup = await start(t);
    const socket = connect(setup.port, "127.0.0.1");
    const secure = tls({
      socket,
      ...(servername !== undefined && { servername }),
      rejectUnauthorized: false,
    });
    await assert.rejects(once(secure, "secureConnect"), alert);
    assert.equal(setup.reached(), 0);
    assert.deepEqual(
      setup.refused.map((error) => error.code),
      [code],
    );
  });

test("bytes that are no TLS are refused, recorded, and never reach the upstream", async (t) => {
  const setup = await start(t);
  for (const bytes of [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "SSH-2.0-x\r\n",
    "\x16\x03\x01\x00\x00",
  ])
    assert.equal((await raw(setup.port, Buffer.from(bytes, "latin1"))).charCodeAt(0), 21);
  assert.equal(setup.refused.length, 3);
  assert.equal(setup.reached(), 0);
});

test("a client that leaves before its ClientHello is whole sent nothing wrong", async (t) => {
  const setup = await start(t);
  const socket = connect(setup.port, "127.0.0.1");
  socket.write(Buffer.from([22, 3, 1]));
  await once(socket, "connect");
  socket.end();
  await once(socket.resume(), "close");
  assert.deepEqual(setup.refused, []);
});

test("inside a tunnel another name than the tunnel's is refused, also another of the same Connection", async (t) => {
  const setup = await start(t);
  const socket = await tunnel(setup);
  const secure = tls({ socket, servername: "files.example", rejectUnauthorized: false });
  await assert.rejects(once(secure, "secureConnect"), /unrecognized.name/i);
  assert.equal(setup.reached(), 0);
  await eventually("recorded", () => operations(setup.gate).length === 1);
  assert.equal(operations(setup.gate)[0]?.outcome?.error, "ConnectionUnknown");
});

test("what no rule allows is refused: by 403 with the decision to CONNECT, by an alert by address; recorded once each", async (t) => {
  const rules = [{ name: "other", passthrough: { hosts: ["other.example"] } }];
  const setup = await start(t, { rules });
  const answer = await raw(
    setup.proxyPort,
    `CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}:443\r\n\r\n`,
  );
  assert.match(
    answer,
    /^HTTP\/1\.1 403 [^]*no rule allows TLS to pypi\.example:443[^]*NoMatchingRule/,
  );
  const secure = tls({ socket: connect(setup.port, "127.0.0.1"), servername: host });
  await assert.rejects(once(secure, "secureConnect"), /access.denied/i);
  assert.deepEqual(
    operations(setup.gate).map(({ outcome }) => outcome?.status),
    ["denied", "denied"],
  );
  assert.deepEqual(setup.refused, []);
  assert.equal(setup.reached(), 0);
});

test("a policy that masks is not let through a connection that cannot be looked into", async (t) => {
  const setup = await start(t);
  const live = await setup.gate.grant(AbortSignal.timeout(1_000));
  const bundle = {
    ...live.bundle,
    detectMasks: [{ detector: "email", transform: { kind: "redact" as const }, policy: "a/b" }],
  };
  setup.gate.live = { ...live, bundle, prepared: { ...live.prepared, bundle } };
  const answer = await raw(
    setup.proxyPort,
    `CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}:443\r\n\r\n`,
  );
  assert.match(answer, /^HTTP\/1\.1 403 [^]*MaskNotProvable/);
});

test("a quarantine cuts what is open at once, and says so in the record", async (t) => {
  const setup = await start(t);
  const secure = await dialled(setup, await tunnel(setup));
  secure.write(`GET /slow HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  await once(secure, "data");
  const closed = closing(secure);
  setup.gate.end(new ProxyError("Quarantined", "exfiltration is suspected"));
  await closed;
  await eventually("recorded", () => operations(setup.gate).length === 1);
  const [event] = operations(setup.gate);
  assert.deepEqual([event?.outcome?.status, event?.outcome?.error], ["error", "Quarantined"]);
  assert.ok((event?.outcome?.bytesOut ?? 0) > 0);
});

test("a policy that no longer allows the host ends what is open at its next byte", async (t) => {
  const setup = await start(t);
  const secure = await dialled(setup, await tunnel(setup));
  const live = setup.gate.live;
  assert.ok(live !== undefined);
  const { prepare } = await import("../../policy/decide.ts");
  const bundle = { ...live.bundle, rules: [] };
  setup.gate.live = { ...live, bundle, prepared: prepare(bundle) };
  const closed = closing(secure);
  secure.write("GET / HTTP/1.1\r\n");
  await closed;
  await eventually("recorded", () => operations(setup.gate).length === 1);
  assert.equal(operations(setup.gate)[0]?.outcome?.error, "Denied");
});

for (const [what, limits, path] of [
  ["idle longer than its limit", { idleTimeoutSeconds: 1 }, "/slow"],
  ["larger than its limit", { bytesPerResult: 100_000 }, "/large"],
] as const)
  test(`a connection ${what} is cut`, async (t) => {
    const setup = await start(t, { limits });
    const secure = await dialled(setup, connect(setup.port, "127.0.0.1"));
    secure.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    secure.resume();
    await closing(secure);
    await eventually("recorded", () => operations(setup.gate).length === 1);
    assert.equal(operations(setup.gate)[0]?.outcome?.error, "LimitExceeded");
  });

test("a client that resets its connection leaves none at the upstream", async (t) => {
  const setup = await start(t);
  const socket = connect(setup.port, "127.0.0.1");
  await dialled(setup, socket);
  socket.resetAndDestroy();
  await eventually("recorded", () => operations(setup.gate).length === 1);
  assert.equal(operations(setup.gate)[0]?.outcome?.status, "ok");
  await eventually("closed", () => setup.gate.events.at(-1)?.type === "session-end");
});

test("an upstream that breaks off leaves the agent with a reset, never with an end", async (t) => {
  const broken = createTcp((socket) => {
    socket.once("data", () => {
      socket.write(Buffer.from([22, 3, 3, 0, 100]));
      socket.resetAndDestroy();
    });
  });
  broken.listen(0, "127.0.0.1");
  await once(broken, "listening");
  t.after(() => broken.close());
  const address = broken.address();
  assert.ok(address !== null && typeof address === "object");
  const setup = await start(t, { upstream: { port: address.port } });
  const secure = tls({ socket: connect(setup.port, "127.0.0.1"), servername: host });
  await assert.rejects(once(secure, "secureConnect"), /ECONNRESET|socket disconnected/);
  await eventually("recorded", () => operations(setup.gate).length === 1);
  const [event] = operations(setup.gate);
  assert.deepEqual([event?.outcome?.status, event?.outcome?.error], ["error", "UpstreamProtocol"]);
});

test("an upstream that cannot be reached is an alert and an event", async (t) => {
  const setup = await start(t, { upstream: { port: 9 } });
  const secure = tls({ socket: connect(setup.port, "127.0.0.1"), servername: host });
  await assert.rejects(once(secure, "secureConnect"), /internal.error/i);
  assert.equal(operations(setup.gate)[0]?.outcome?.error, "UpstreamUnreachable");
});

test("a held connection waits for a person and then passes", async (t) => {
  const setup = await start(t, {
    rules: [
      {
        name: "ask",
        action: "RequireApproval",
        approval: { approvers: [], count: 1, holdSeconds: 5, validForSeconds: 60 },
      },
    ],
  });
  setup.gate.decide = () => "Approved";
  const secure = await dialled(setup, await tunnel(setup));
  secure.destroy();
  assert.equal(setup.gate.requests[0]?.summary, `TLS to ${host}:443`);
});
