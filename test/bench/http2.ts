// Resident memory with 1,000 streams open through the proxy: events of a model come on each, over HTTP/2 from the agent, over HTTP/2 or HTTP/1.1 from the upstream.
//
//   node test/bench/http2.ts [seconds]
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect, constants, createSecureServer } from "node:http2";
import type { ClientHttp2Session, Http2SecureServer } from "node:http2";
import { createServer } from "node:https";
import type { Server } from "node:https";
import { connect as dial } from "node:net";
import { connect as secure } from "node:tls";
import { pathToFileURL } from "node:url";
import { issueServerCertificate } from "../integration/postgres-tls.ts";
import { startChaperone } from "./chaperone.ts";
import type { Chaperone } from "./chaperone.ts";
import { anonymousMiB, pause, pinLoad, residentMiB } from "./processes.ts";
import { count, markdown, verdict } from "./table.ts";
import type { Row } from "./table.ts";

const open = 1_000;
const connections = 10;
const eventEveryMs = 1_000;
const event = `data: {"choices":[{"delta":{"content":"${"token ".repeat(10)}"}}]}\n\n`;
const goalMiB = 160;
const openTimeoutMs = 180_000;
/** proxy/start-memory.ts */
const settledAfterMs = 3_000;

type Version = "HTTP/2" | "HTTP/1.1";

function manifests(ports: Readonly<Record<Version, number>>, ca: string): string {
  const one = (name: string, port: number): string => `
apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: ${name}, namespace: bench}
spec:
  protocol: http
  endpoint: {url: "https://localhost:${port}", tls: {mode: VerifyFull, caSecretRef: {name: ca}}}
  hosts: [${name}.example]
  credential:
    static: {secretRef: {name: token}, header: {name: Authorization, value: "Bearer \${token}"}}`;
  return `
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: bench}
stringData: {token: real}
---
apiVersion: v1
kind: Secret
metadata: {name: ca, namespace: bench}
stringData:
  ca.crt: |
    ${ca.trimEnd().replaceAll("\n", "\n    ")}
---${one("two", ports["HTTP/2"])}
---${one("one", ports["HTTP/1.1"])}
---
apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: agent, namespace: bench}
spec:
  targetRefs: [{name: two}, {name: one}]
  rules:
    - {name: ask, action: Allow, http: {methods: [POST]}}
`;
}

interface Sink {
  write(text: string): unknown;
  end(): unknown;
}

/** Every answer open at it gets an event a second. */
class Speaker {
  readonly sinks = new Set<Sink>();
  readonly #timer = setInterval(() => {
    for (const sink of this.sinks) sink.write(event);
  }, eventEveryMs);

  add(sink: Sink): void {
    this.sinks.add(sink);
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const sink of this.sinks) sink.end();
  }
}

async function listening(server: Server | Http2SecureServer): Promise<number> {
  server.listen({ port: 0, host: "127.0.0.1", backlog: 2 * open });
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the origin has no port");
  return address.port;
}

async function client(
  chaperone: Chaperone,
  host: string,
  port: number,
): Promise<ClientHttp2Session> {
  const socket = dial({ host: "127.0.0.1", port: chaperone.forwardProxyPort, noDelay: true });
  socket.write(`CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`);
  await once(socket, "data");
  const ca = await readFile(chaperone.caFile);
  const tunnel = secure({ socket, servername: host, ca, ALPNProtocols: ["h2"] });
  await once(tunnel, "secureConnect");
  const session = connect(`https://${host}:${port}`, { createConnection: () => tunnel });
  session.on("error", () => {});
  await once(session, "remoteSettings");
  return session;
}

async function measure(
  chaperone: Chaperone,
  version: Version,
  host: string,
  port: number,
  speaker: Speaker,
  seconds: number,
): Promise<Row> {
  // As in a pod, whose containers start when the proxy is ready: it has given back by then what only its start needed.
  await pause(settledAfterMs);
  const before = await residentMiB(chaperone.pid);
  const sessions = await Promise.all(
    Array.from({ length: connections }, () => client(chaperone, host, port)),
  );
  let received = 0;
  let broken = 0;
  for (let at = 0; at < open; at += 1) {
    const stream = sessions[at % connections]?.request({ ":method": "POST", ":path": "/v1/chat" });
    stream?.on("error", () => broken++);
    stream?.on("data", (chunk: Buffer) => (received += chunk.length));
    stream?.end('{"stream":true}');
  }
  for (const deadline = Date.now() + openTimeoutMs; speaker.sinks.size < open; await pause(50))
    if (Date.now() > deadline) throw new Error(`${speaker.sinks.size} of ${open} streams are open`);
  await pause(seconds * 1_000);
  const resident = await residentMiB(chaperone.pid);
  const own = await anonymousMiB(chaperone.pid);
  if (broken > 0 || received === 0) throw new Error(`${broken} streams broke off`);
  for (const session of sessions) session.destroy();
  return {
    what: `resident memory with ${count(open)} streams open over ${connections} HTTP/2 connections of the agent, ${version} upstream, an event a second on each`,
    measured: `${resident.toFixed(0)} MiB, ${own.toFixed(0)} MiB of it the process's own`,
    ratio: `${before.toFixed(0)} MiB before`,
    floor: "",
    goal: `${goalMiB} MiB`,
    verdict: verdict(undefined, resident < goalMiB),
    why:
      version === "HTTP/1.1"
        ? "each stream has a TLS connection of its own to the upstream, with OpenSSL's buffers for it."
        : "one connection to the upstream carries them; what is left is Node's streams, two for each.",
  };
}

export async function http2({ seconds = 10 }: { seconds?: number } = {}): Promise<Row[]> {
  await pinLoad();
  const certificate = await issueServerCertificate(["localhost"], ["127.0.0.1"]);
  const keys = { key: certificate.keyPem, cert: certificate.certificatePem };
  const speakers = { "HTTP/2": new Speaker(), "HTTP/1.1": new Speaker() };
  const two = createSecureServer(keys);
  two.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.resume();
    stream.respond({
      [constants.HTTP2_HEADER_STATUS]: 200,
      "content-type": "text/event-stream",
    });
    speakers["HTTP/2"].add(stream);
  });
  const one = createServer(keys, (request, response) => {
    request.resume();
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.flushHeaders();
    speakers["HTTP/1.1"].add(response);
  });
  const ports = { "HTTP/2": await listening(two), "HTTP/1.1": await listening(one) };
  const rows: Row[] = [];
  for (const [version, name] of [
    ["HTTP/2", "two"],
    ["HTTP/1.1", "one"],
  ] as const) {
    const chaperone = await startChaperone(manifests(ports, certificate.caPem));
    try {
      rows.push(
        await measure(
          chaperone,
          version,
          `${name}.example`,
          ports[version],
          speakers[version],
          seconds,
        ),
      );
    } finally {
      await chaperone.stop();
    }
  }
  for (const speaker of Object.values(speakers)) speaker.stop();
  one.closeAllConnections();
  one.close();
  two.close();
  return rows;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.stdout.write(markdown(await http2({ seconds: Number(process.argv[2] ?? 10) })));
  process.exit(0);
}
