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
import { connect, rootCertificates } from "node:tls";
import { promisify } from "node:util";

import { listen } from "../../proxy/net/listen.ts";
import type { Listener } from "../../proxy/net/listen.ts";
import { createPodAuthority } from "../../proxy/tls/authority.ts";
import { trustBundle } from "../../proxy/tls/trust.ts";
import type { PodAuthority } from "../../proxy/tls/authority.ts";
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

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "tls-"));
  authority = await createPodAuthority({ names, storage: { directory: join(folder, "ca") } });
  bundle = join(folder, "bundle.pem");
  await writeFile(
    bundle,
    trustBundle({ roots: rootCertificates, extraCAs: [], podCa: authority.certificate }),
  );
  const terminator = createTlsTerminator({ authority });
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
