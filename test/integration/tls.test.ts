// The pod's TLS against the clients agents really use: OpenSSL, curl, Python's ssl and requests, Node.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createSecureServer } from "node:http2";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { connect as tcp } from "node:net";
import { connect, rootCertificates } from "node:tls";
import type { TLSSocket } from "node:tls";
import { promisify } from "node:util";

import { listen } from "../../proxy/net/listen.ts";
import type { Listener } from "../../proxy/net/listen.ts";
import { createPodAuthority } from "../../proxy/tls/authority.ts";
import { trustBundle } from "../../proxy/tls/trust.ts";
import type { PodAuthority } from "../../proxy/tls/authority.ts";
import { ProxyError } from "../../proxy/errors.ts";
import { authorityCertificate, leafCertificate } from "../../proxy/tls/certificate.ts";
import { createTlsTerminator } from "../../proxy/tls/terminate.ts";

const run = promisify(execFile);
const names = ["api.openai.com", "orders-db", "orders-db.agents.svc.cluster.local"];
const web = createSecureServer({ allowHTTP1: true }, (_request, response) => {
  response.end("inside");
});
let folder = "";
let bundle = "";
let authority: PodAuthority;
let listener: Listener;
const failures: unknown[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "tls-"));
  authority = await createPodAuthority({ names, storage: { directory: join(folder, "ca") } });
  bundle = join(folder, "bundle.pem");
  await writeFile(
    bundle,
    trustBundle({ roots: rootCertificates, extraCAs: [], podCa: authority.certificate }),
  );
  const terminator = createTlsTerminator({
    authority,
    onFailure: (error) => failures.push(error),
  });
  listener = await listen({
    host: "127.0.0.1",
    port: 0,
    onConnection: (socket) =>
      terminator.accept(socket, (secure) => web.emit("secureConnection", secure)),
  });
});

after(async () => {
  await listener.close(0);
  await rm(folder, { recursive: true });
});

for (const name of names) {
  test(`curl reaches https://${name} and believes it`, async () => {
    const { stdout } = await run("curl", [
      "-sS",
      "--cacert",
      bundle,
      "--noproxy",
      "*",
      "--resolve",
      `${name}:${listener.port}:127.0.0.1`,
      `https://${name}:${listener.port}/`,
    ]);
    assert.equal(stdout, "inside");
  });
}

test("curl reaches the address itself, without a name", async () => {
  const { stdout } = await run("curl", [
    "-sS",
    "--cacert",
    bundle,
    "--noproxy",
    "*",
    `https://127.0.0.1:${listener.port}/`,
  ]);
  assert.equal(stdout, "inside");
});

test("a name that no Connection has ends the handshake", async () => {
  const target = `https://example.com:${listener.port}/`;
  await assert.rejects(
    run("curl", [
      "-sSk",
      "--noproxy",
      "*",
      "--resolve",
      `example.com:${listener.port}:127.0.0.1`,
      target,
    ]),
    /curl: \((35|56)\)/,
  );
});

test("Python's ssl reaches it with the strict checks of Python 3.13, through urllib and requests", async () => {
  const script = `
import http.client, os, socket, ssl, sys
bundle, port = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context(cafile=bundle)
context.verify_flags |= ssl.VERIFY_X509_STRICT
for name in ("api.openai.com", "orders-db"):
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname=name) as wrapped:
        wrapped.sendall(b"GET / HTTP/1.1\\r\\nHost: " + name.encode() + b"\\r\\nConnection: close\\r\\n\\r\\n")
        data = b""
        while chunk := wrapped.recv(4096): data += chunk
        assert data.endswith(b"inside"), data
import requests
real = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: real("127.0.0.1", *rest, **more)
session = requests.Session()
session.trust_env = False
print(session.get(f"https://api.openai.com:{port}/", verify=bundle).text)
`;
  const { stdout } = await run("python3", ["-c", script, bundle, String(listener.port)]);
  assert.equal(stdout, "inside\n");
});

test("Node reaches it, and ALPN settles on what the client likes best of h2 and http/1.1", async () => {
  for (const [offered, chosen] of [
    [["h2", "http/1.1"], "h2"],
    [["http/1.1", "h2"], "http/1.1"],
    [["spdy/3.1", "h2"], "h2"],
  ] as const) {
    const socket = connect({
      host: "127.0.0.1",
      port: listener.port,
      servername: "api.openai.com",
      ca: authority.certificate,
      ALPNProtocols: [...offered],
    });
    socket.on("error", () => {});
    await once(socket, "secureConnect");
    assert.equal(socket.alpnProtocol, chosen);
    socket.destroy();
  }
  const outgoing = request({
    host: "127.0.0.1",
    port: listener.port,
    servername: "api.openai.com",
    ca: authority.certificate,
    headers: { host: "api.openai.com" },
    agent: false,
  });
  outgoing.end();
  const [response] = (await once(outgoing, "response")) as [NodeJS.ReadableStream];
  assert.equal(String(await once(response, "data")), "inside");
});

test("a client that speaks neither is told so by an alert", async () => {
  const socket = connect({
    host: "127.0.0.1",
    port: listener.port,
    servername: "api.openai.com",
    ca: authority.certificate,
    ALPNProtocols: ["spdy/3.1"],
  });
  const [error] = (await once(socket, "error")) as [Error & { code?: string }];
  assert.match(String(error.code ?? error.message), /NO_APPLICATION_PROTOCOL/);
});

test("openssl verifies a leaf for a name of the pod and refuses one for any other, because of the constraint", async () => {
  const ca = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const leaf = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const validity = {
    notBefore: new Date(Date.now() - 1_000),
    notAfter: new Date(Date.now() + 86_400_000),
  };
  const caFile = join(folder, "constrained.pem");
  await writeFile(caFile, authorityCertificate(ca.privateKey, ["api.openai.com"], validity));
  const verify = async (name: string): Promise<string> => {
    const file = join(folder, "leaf.pem");
    await writeFile(file, leafCertificate(ca.privateKey, leaf.publicKey, name, validity));
    return (
      await run("openssl", [
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        caFile,
        file,
      ])
    ).stdout;
  };
  assert.match(await verify("api.openai.com"), /: OK/);
  assert.match(await verify("127.0.64.2"), /: OK/);
  assert.match(await verify("::1"), /: OK/);
  for (const foreign of ["example.com", "openai.com", "api.openai.com.evil.example", "10.0.0.1"]) {
    await assert.rejects(
      verify(foreign),
      (error: { stderr?: string }) => /permitted subtree violation/.test(error.stderr ?? ""),
      foreign,
    );
  }
});

test("a client that opens a connection and says nothing does not stop others", async () => {
  const silent = connect({
    host: "127.0.0.1",
    port: listener.port,
    servername: "api.openai.com",
    ca: authority.certificate,
  });
  await once(silent, "secureConnect");
  const { stdout } = await run("curl", [
    "-sS",
    "--cacert",
    bundle,
    "--noproxy",
    "*",
    "--resolve",
    `orders-db:${listener.port}:127.0.0.1`,
    `https://orders-db:${listener.port}/`,
  ]);
  assert.equal(stdout, "inside");
  silent.destroy();
});

/** A connection that was taken after all those before it, and served. */
async function served(): Promise<TLSSocket> {
  const socket = connect({
    port: listener.port,
    host: "127.0.0.1",
    servername: names[0],
    ca: authority.certificate,
    ALPNProtocols: ["http/1.1"],
  });
  socket.write("GET / HTTP/1.1\r\nHost: api.openai.com\r\n\r\n");
  await once(socket, "data");
  return socket;
}

test("a handshake that does not end is cut after ten seconds and told, also one that goes on byte by byte", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  // A ClientHello of 512 bytes, of which some come.
  const begun = Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);
  const sockets = [tcp(listener.port, "127.0.0.1"), tcp(listener.port, "127.0.0.1")];
  const [silent, slow] = sockets;
  assert.ok(silent !== undefined && slow !== undefined);
  const closed = sockets.map((socket) => once(socket.on("error", () => {}).resume(), "close"));
  const turns = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  };
  slow.write(begun);
  // Who is served was taken after both of them.
  const other = await served();
  t.after(() => other.destroy());
  failures.length = 0;
  for (let second = 0; second < 9; second += 1) {
    slow.write(Buffer.alloc(1));
    await turns();
    t.mock.timers.tick(1_000);
  }
  assert.ok(failures.length < 1, String(failures));
  t.mock.timers.tick(1_000);
  await Promise.all(closed);
  assert.equal(failures.length, 2);
  for (const error of failures) {
    assert.ok(error instanceof ProxyError && error.code === "MalformedRequest", String(error));
    assert.match(error.message, /TLS handshake did not end within 10000 ms/);
  }
});

test("a client that does not believe the pod's CA has sent nothing wrong: that is for the log alone", async () => {
  failures.length = 0;
  const target = `https://api.openai.com:${listener.port}/`;
  const resolve = `api.openai.com:${listener.port}:127.0.0.1`;
  await assert.rejects(
    run("curl", ["-sS", "--noproxy", "*", "--resolve", resolve, target]),
    /curl: \(60\)/,
  );
  while (failures.length === 0) await new Promise((resolve_) => setTimeout(resolve_, 5));
  assert.ok(!(failures[0] instanceof ProxyError), String(failures[0]));
  assert.match(String(failures[0]), /alert unknown ca/i);
});

test("a client that leaves within its handshake is let go at once, and has sent nothing wrong", async () => {
  const hello = Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);
  for (const sent of [Buffer.alloc(0), hello]) {
    failures.length = 0;
    const socket = tcp({ port: listener.port, host: "127.0.0.1", allowHalfOpen: true });
    socket.resume().end(sent);
    // Not after the ten seconds that a handshake may take: it would be told so then.
    await once(socket, "close");
    assert.match(failures.map(String).join(), /^Error: the client left within its handshake$/);
  }
});

test("a client that closes as soon as its own part of the handshake is done leaves nothing waiting", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  failures.length = 0;
  for (const protocol of ["h2", "http/1.1"]) {
    const socket = connect({
      port: listener.port,
      host: "127.0.0.1",
      servername: names[0],
      ca: authority.certificate,
      ALPNProtocols: [protocol],
    });
    await once(socket, "secureConnect");
    socket.destroy();
    await once(socket, "close");
  }
  (await served()).destroy();
  t.mock.timers.tick(10_000);
  assert.ok(
    failures.every((error) => !(error instanceof ProxyError)),
    String(failures),
  );
});
