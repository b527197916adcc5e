// HTTP_PROXY and HTTPS_PROXY as agents use them: curl and Python's requests, to a TLS and a plain connection and to nothing else.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect as tcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { connect as tls } from "node:tls";
import { promisify } from "node:util";

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
  const room = createHttpRoom({
    dial: createDial({ resolver, deny: () => false, allowLoopback: true }),
  });
  const authority = await createPodAuthority({
    names: ["api.example.com", "plain.example.com"],
    storage: "memory",
  });
  const serving = (scheme: "http" | "https", name: string): HttpRoute => ({
    scheme,
    select: (host) => (host === name ? gate : undefined),
  });
  const routes: Record<string, HttpRoute> = {
    "api.example.com:443": serving("https", "api.example.com"),
    "plain.example.com:80": serving("http", "plain.example.com"),
  };
  const proxy = createForwardProxy({
    authority,
    accept: (socket, route) => room.accept(socket, route),
    routeFor: (host, port) => routes[`${host}:${port}`],
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
  return { port: listener.port, ca, gate, seen };
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
  const { port, seen } = await start(t);
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
  assert.match(await raw(port, "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"), /^HTTP\/1\.1 400 /);
  assert.deepEqual(seen, []);
});

test("inside a tunnel no other name is reached than the one it was opened for", async (t) => {
  const { port, ca, seen } = await start(t);
  const socket = tcp(port, "127.0.0.1");
  socket.write("CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n");
  const [established] = (await once(socket, "data")) as [Buffer];
  assert.match(established.toString(), /^HTTP\/1\.1 200 /);
  const { readFile } = await import("node:fs/promises");
  const secure = tls({ socket, servername: "api.example.com", ca: await readFile(ca) });
  await once(secure, "secureConnect");
  secure.write("GET / HTTP/1.1\r\nHost: plain.example.com\r\n\r\n");
  const [answer] = (await once(secure, "data")) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 421 /);
  secure.destroy();
  assert.deepEqual(seen, []);
});
