// HTTP_PROXY and HTTPS_PROXY as agents use them: curl and Python's requests, to a TLS and a plain connection and to nothing else.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect as tcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { connect as tls } from "node:tls";
import { promisify } from "node:util";

import type { ProxyError } from "../../proxy/errors.ts";
import { createForwardProxy } from "../../proxy/http/forward-proxy.ts";
import { createHttpRoom } from "../../proxy/http/room.ts";
import type { HttpRoute } from "../../proxy/http/room.ts";
import { createDial } from "../../proxy/net/dial.ts";
import { listen } from "../../proxy/net/listen.ts";
import { createResolver } from "../../proxy/net/resolve.ts";
import { createPodAuthority } from "../../proxy/tls/authority.ts";
import { raw, testGate } from "./http-proxy-fixture.ts";
import type { TestGate } from "./http-proxy-fixture.ts";

const run = promisify(execFile);

interface Setup {
  readonly port: number;
  readonly ca: string;
  readonly gate: TestGate;
  readonly seen: string[];
  readonly refused: ProxyError[];
}

async function start(t: TestContext): Promise<Setup> {
  const seen: string[] = [];
  const origin = createServer((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.authorization}`);
    request.resume();
    response.end("from the origin");
  });
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
  const address = origin.address();
  assert.ok(address !== null && typeof address === "object");
  const gate = testGate({
    upstream: { port: address.port },
    lease: { kind: "headers", headers: [{ name: "authorization", value: "Bearer real" }] },
  });
  const resolver = createResolver({ resolvConf: "/nonexistent", allowLocalhost: true });
  const refused: ProxyError[] = [];
  const room = createHttpRoom({
    dial: createDial({ resolver, deny: () => false, allowLoopback: true }),
    onRefused: (error) => refused.push(error),
  });
  const authority = await createPodAuthority({
    names: ["api.example.com", "plain.example.com", "other.example.com"],
    storage: "memory",
  });
  const serving = (scheme: "http" | "https", name: string): HttpRoute => ({
    scheme,
    select: (host) => (host === name ? gate : undefined),
  });
  const routes: Record<string, HttpRoute> = {
    "api.example.com:443": serving("https", "api.example.com"),
    "plain.example.com:80": serving("http", "plain.example.com"),
    "other.example.com:443": serving("https", "other.example.com"),
  };
  const proxy = createForwardProxy({
    authority,
    accept: (socket, route) => room.accept(socket, route),
    targetFor: (host, port) => {
      const route = routes[`${host}:${port}`];
      if (route !== undefined) return { kind: "http", route };
      return `${host}:${port}` === "db.example.com:5432"
        ? { kind: "tunnel", open: () => ({ take: (socket) => socket.pipe(socket) }) }
        : undefined;
    },
  });
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    onConnection: (socket) => proxy.accept(socket),
  });
  const folder = await mkdtemp(join(tmpdir(), "forward-"));
  const ca = join(folder, "ca.pem");
  await writeFile(ca, authority.certificate);
  t.after(async () => {
    await room.close(0);
    await proxy.close();
    await listener.close(0);
    await resolver.close();
    origin.closeAllConnections();
    origin.close();
    await rm(folder, { recursive: true });
  });
  return { port: listener.port, ca, gate, seen, refused };
}

test("curl reaches a TLS connection through CONNECT and a plain one by its absolute URL", async (t) => {
  const { port, ca, seen, gate } = await start(t);
  const proxy = ["-sS", "--noproxy", "", "--proxy", `http://127.0.0.1:${port}`, "--cacert", ca];
  assert.equal(
    (await run("curl", [...proxy, "https://api.example.com/v1/orders"])).stdout,
    "from the origin",
  );
  assert.equal(
    (await run("curl", [...proxy, "http://plain.example.com/v1/orders"])).stdout,
    "from the origin",
  );
  assert.equal(
    (await run("curl", [...proxy, "--proxytunnel", "http://plain.example.com/tunnel"])).stdout,
    "from the origin",
  );
  assert.deepEqual(seen, [
    "GET /v1/orders Bearer real",
    "GET /v1/orders Bearer real",
    "GET /tunnel Bearer real",
  ]);
  assert.equal(gate.events.filter(({ type }) => type === "operation").length, 3);
});

test("Python's requests honours HTTPS_PROXY and the bundle of the pod", async (t) => {
  const { port, ca } = await start(t);
  const proxy = `http://127.0.0.1:${port}`;
  const script =
    'import requests; print(requests.post("https://api.example.com/x", json={"a": 1}).text, requests.get("http://plain.example.com/y").text)';
  const { stdout } = await run("python3", ["-c", script], {
    env: {
      ...process.env,
      HTTPS_PROXY: proxy,
      HTTP_PROXY: proxy,
      REQUESTS_CA_BUNDLE: ca,
      NO_PROXY: "",
    },
  });
  assert.equal(stdout, "from the origin from the origin\n");
});

test("a host that no Connection names is refused with the Connection that would be needed", async (t) => {
  const { port, seen, refused } = await start(t);
  const tunnel = await raw(port, "CONNECT github.com:443 HTTP/1.1\r\nHost: github.com:443\r\n\r\n");
  assert.match(
    tunnel,
    /^HTTP\/1\.1 403 [^]*no Connection names github\.com:443[^]*endpoint\.url https:\/\/github\.com /,
  );
  const plain = await raw(
    port,
    "GET http://internal.example:8080/ HTTP/1.1\r\nHost: internal.example:8080\r\n\r\n",
  );
  assert.match(plain, /^HTTP\/1\.1 403 [^]*endpoint\.url http:\/\/internal\.example:8080 /);
  assert.match(await raw(port, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"), /^HTTP\/1\.1 403 /);
  assert.match(tunnel, /content-type: application\/problem\+json/);
  for (const target of ["169.254.169.254:80", "[fd00::1]:443", "10.96.0.1:443", "2130706433:443"])
    assert.match(
      await raw(port, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`),
      /^HTTP\/1\.1 403 [^]*HostUnknown/,
    );
  assert.deepEqual(seen, []);
  assert.deepEqual(
    refused.map(({ code, target }) => [code, target?.scheme, target?.host, target?.port]),
    [
      ["HostUnknown", "https", "github.com", 443],
      ["HostUnknown", "http", "internal.example", 8080],
      ["HostUnknown", "http", "127.0.0.1", 80],
      ["HostUnknown", "http", "169.254.169.254", 80],
      ["HostUnknown", "https", "[fd00::1]", 443],
      ["HostUnknown", "https", "10.96.0.1", 443],
      ["HostUnknown", "https", "2130706433", 443],
    ],
  );
});

const misshapen: readonly (readonly [what: string, head: string])[] = [
  ["no authority", "CONNECT / HTTP/1.1\r\nHost: a"],
  ["no port", "CONNECT api.example.com HTTP/1.1\r\nHost: api.example.com"],
  ["port 0", "CONNECT api.example.com:0 HTTP/1.1\r\nHost: api.example.com:0"],
  ["a port beyond 65535", "CONNECT api.example.com:65979 HTTP/1.1\r\nHost: api.example.com:65979"],
  ["userinfo", "CONNECT u@api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443"],
  ["a URL", "CONNECT https://api.example.com:443/ HTTP/1.1\r\nHost: api.example.com:443"],
  ["a path", "CONNECT api.example.com:443/x HTTP/1.1\r\nHost: api.example.com:443"],
  ["another Host", "CONNECT api.example.com:443 HTTP/1.1\r\nHost: plain.example.com:443"],
  ["another port in Host", "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:80"],
  ["two Hosts", "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\nHost: a"],
  [
    "a length",
    "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 5",
  ],
  [
    "chunks",
    "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked",
  ],
  [
    "a host of 300 letters",
    `CONNECT ${"a".repeat(300)}:443 HTTP/1.1\r\nHost: ${"a".repeat(300)}:443`,
  ],
];

test("a CONNECT that can be read in two ways opens nothing", async (t) => {
  const { port, seen } = await start(t);
  for (const [what, head] of misshapen)
    assert.match(await raw(port, `${head}\r\n\r\n`), /^HTTP\/1\.1 400 /, what);
  assert.deepEqual(seen, []);
});

test("a CONNECT of HTTP/1.0 without Host, as Python before 3.12 sends it, is served", async (t) => {
  const { port } = await start(t);
  assert.match(await raw(port, "CONNECT API.example.com:443 HTTP/1.0\r\n\r\n"), /^HTTP\/1\.1 200 /);
});

test("a tunnel to a PostgreSQL connection is its room's, bytes sent along with CONNECT included", async (t) => {
  const { port } = await start(t);
  const answer = await raw(
    port,
    "CONNECT db.example.com:5432 HTTP/1.1\r\nHost: db.example.com:5432\r\n\r\nearly bytes",
  );
  assert.equal(answer, "HTTP/1.1 200 OK\r\n\r\nearly bytes");
});

test("an absolute URL of a connection that is reached by TLS is not served in the clear", async (t) => {
  const { port, seen } = await start(t);
  for (const url of ["http://api.example.com:443/", "https://api.example.com:443/"])
    assert.match(
      await raw(port, `GET ${url} HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n`),
      /^HTTP\/1\.1 421 /,
    );
  const secure = "https://plain.example.com:80/";
  assert.match(
    await raw(port, `GET ${secure} HTTP/1.1\r\nHost: plain.example.com:80\r\n\r\n`),
    /^HTTP\/1\.1 400 [^]*scheme/,
  );
  assert.deepEqual(seen, []);
});

for (const [what, servername, host] of [
  ["of another known name in the handshake", "other.example.com", "other.example.com"],
  ["for another host than the handshake's", "api.example.com", "other.example.com"],
  ["for the tunnel's host after a handshake with another", "other.example.com", "api.example.com"],
] as const)
  test(`inside a tunnel a request ${what} is misdirected`, async (t) => {
    const { port, ca, seen } = await start(t);
    const socket = tcp(port, "127.0.0.1");
    socket.write("CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n");
    await once(socket, "data");
    const secure = tls({ socket, servername, ca: await readFile(ca) });
    await once(secure, "secureConnect");
    secure.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    const [answer] = (await once(secure, "data")) as [Buffer];
    assert.match(answer.toString(), /^HTTP\/1\.1 421 /);
    secure.destroy();
    assert.deepEqual(seen, []);
  });

test("inside a tunnel a client that names nobody in its handshake sees the certificate of the tunnel's host", async (t) => {
  const { port, ca, seen } = await start(t);
  const socket = tcp(port, "127.0.0.1");
  socket.write("CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n");
  await once(socket, "data");
  const secure = tls({
    socket,
    ca: await readFile(ca),
    checkServerIdentity: (_name, certificate) =>
      certificate.subjectaltname === "DNS:api.example.com" ? undefined : new Error("another"),
  });
  await once(secure, "secureConnect");
  secure.write("GET / HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n");
  const [answer] = (await once(secure, "data")) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 200 /);
  secure.destroy();
  assert.deepEqual(seen, ["GET / Bearer real"]);
});

test("inside a tunnel a name that no Connection has ends the handshake", async (t) => {
  const { port } = await start(t);
  const socket = tcp(port, "127.0.0.1");
  socket.write("CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n");
  await once(socket, "data");
  const secure = tls({ socket, servername: "evil.example.com", rejectUnauthorized: false });
  await assert.rejects(once(secure, "secureConnect"));
});

test("inside a tunnel no other name is reached than the one it was opened for", async (t) => {
  const { port, ca, seen } = await start(t);
  const socket = tcp(port, "127.0.0.1");
  socket.write("CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n");
  const [established] = (await once(socket, "data")) as [Buffer];
  assert.match(established.toString(), /^HTTP\/1\.1 200 /);
  const secure = tls({ socket, servername: "api.example.com", ca: await readFile(ca) });
  await once(secure, "secureConnect");
  secure.write("GET / HTTP/1.1\r\nHost: plain.example.com\r\n\r\n");
  const [answer] = (await once(secure, "data")) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 421 /);
  secure.destroy();
  assert.deepEqual(seen, []);
});
