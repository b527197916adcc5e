// A new TLS connection and one small request on it, through CONNECT and the pod's own certificate, beside the same straight to the upstream.
//
//   node test/bench/tls.ts
import { once } from "node:events";
import { createServer } from "node:https";
import { readFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { connect as secure, createSecureContext } from "node:tls";
import type { SecureContext } from "node:tls";
import { pathToFileURL } from "node:url";
import { issueServerCertificate } from "../integration/postgres-tls.ts";
import { startChaperone } from "./chaperone.ts";
import type { Chaperone } from "./chaperone.ts";
import { Patience } from "./noise.ts";
import { pinLoad, processorMs } from "./processes.ts";
import { markdown, median, percentile, verdict } from "./table.ts";
import type { Row } from "./table.ts";

const rounds = 3;
/** A Connection has at most 16 hosts; the first of each is dialled beforehand, so that its grant is there. */
const connections = 8;
const hostsOfOne = 16;
const perRound = 100;
const newHostGoalMs = 5;
const addedGoalMs = 1;

function hostName(connection: number, host: number): string {
  return `h${host}.c${connection}.example`;
}

function manifests(port: number, ca: string): string {
  const one = (index: number): string => `
apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: c${index}, namespace: bench}
spec:
  protocol: http
  endpoint: {url: "https://localhost:${port}", tls: {mode: VerifyFull, caSecretRef: {name: ca}}}
  hosts: [${Array.from({ length: hostsOfOne }, (_, host) => hostName(index, host)).join(", ")}]
  credential:
    static: {secretRef: {name: token}, header: {name: Authorization, value: "Bearer \${token}"}}`;
  const names = Array.from({ length: connections }, (_, index) => `{name: c${index}}`).join(", ");
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
---${Array.from({ length: connections }, (_, index) => one(index)).join("\n---")}
---
apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: agent, namespace: bench}
spec:
  targetRefs: [${names}]
  rules:
    - {name: read, action: Allow, http: {methods: [GET]}}
`;
}

interface Way {
  readonly port: number;
  readonly servername: string;
  readonly trust: SecureContext;
  /** The target of CONNECT; undefined goes straight. */
  readonly connect?: string;
}

/** From the first SYN to the last byte of the answer, in milliseconds. */
async function oneRequest(way: Way): Promise<number> {
  const started = performance.now();
  const socket = connect({ host: "127.0.0.1", port: way.port, noDelay: true });
  if (way.connect !== undefined) await tunnel(socket, way.connect);
  const client = secure({ socket, servername: way.servername, secureContext: way.trust });
  const host = way.connect ?? `${way.servername}:${way.port}`;
  client.write(`GET /v1/orders HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  let text = "";
  client.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  await once(client, "end");
  const spent = performance.now() - started;
  client.destroy();
  if (!text.startsWith("HTTP/1.1 200"))
    throw new Error(`${way.servername} answered ${text.slice(0, 200)}`);
  return spent;
}

async function tunnel(socket: Socket, target: string): Promise<void> {
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  const [answer] = (await once(socket, "data")) as [Buffer];
  if (!answer.toString("latin1").startsWith("HTTP/1.1 200"))
    throw new Error(`CONNECT ${target}: ${answer.toString("latin1")}`);
}

async function times(count: number, way: (index: number) => Way): Promise<number[]> {
  const spent: number[] = [];
  for (let index = 0; index < count; index += 1) spent.push(await oneRequest(way(index)));
  return spent;
}

export async function tls({ patience = new Patience() }: { patience?: Patience } = {}): Promise<
  Row[]
> {
  await pinLoad();
  const certificate = await issueServerCertificate(["localhost"], ["127.0.0.1"]);
  const origin = createServer(
    { key: certificate.keyPem, cert: certificate.certificatePem },
    (_request, response) => response.end("x".repeat(1_000)),
  );
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
  const address = origin.address();
  if (address === null || typeof address === "string") throw new Error("the origin has no port");
  const chaperone = await startChaperone(manifests(address.port, certificate.caPem));
  try {
    return rows(await measure(chaperone, address.port, certificate.caPem, patience));
  } finally {
    await chaperone.stop();
    origin.closeAllConnections();
    origin.close();
  }
}

interface Measured {
  readonly direct: number[];
  readonly known: number[];
  readonly fresh: number[];
  /** Of the proxy, for one connection to a known host. */
  readonly processorMs: number[];
}

async function measure(
  chaperone: Chaperone,
  originPort: number,
  originCa: string,
  patience: Patience,
): Promise<Measured> {
  const trust = createSecureContext({ ca: await readFile(chaperone.caFile) });
  const through = (name: string): Way => ({
    port: chaperone.forwardProxyPort,
    servername: name,
    trust,
    connect: `${name}:${originPort}`,
  });
  const straight: Way = {
    port: originPort,
    servername: "localhost",
    trust: createSecureContext({ ca: originCa }),
  };
  const measured: Measured = { direct: [], known: [], fresh: [], processorMs: [] };
  await times(connections, (index) => through(hostName(index, 0)));
  await times(perRound, (index) => through(hostName(index % connections, 0)));
  await times(perRound, () => straight);
  let unseen = 1;
  for (let round = 0; round < rounds; round += 1) {
    const one = await patience.quietly(async () => {
      const direct = await times(perRound, () => straight);
      const before = await processorMs(chaperone.pid);
      const known = await times(perRound, (index) => through(hostName(index % connections, 0)));
      const spent = ((await processorMs(chaperone.pid)) - before) / perRound;
      // Each name once: after that it is a known one. A round that was measured again and again may find none left.
      const host = unseen++;
      const left = host < hostsOfOne ? connections : 0;
      const fresh = await times(left, (index) => through(hostName(index, host)));
      return { direct, known, fresh, processorMs: [spent] };
    });
    for (const kind of ["direct", "known", "fresh", "processorMs"] as const)
      measured[kind].push(...one[kind]);
  }
  return measured;
}

function rows({ direct, known, fresh, processorMs: spent }: Measured): Row[] {
  const ms = (values: readonly number[]): string =>
    `p50 ${median(values).toFixed(2)} ms, p95 ${percentile(values, 0.95).toFixed(2)} ms`;
  const added = median(known) - median(direct);
  const straight = `direct: ${ms(direct)}`;
  return [
    {
      what: "TLS intercepted, a host never seen: CONNECT, certificate made, handshake, 1 kB GET decided and answered",
      measured: ms(fresh),
      ratio: straight,
      floor: "",
      goal: `${newHostGoalMs} ms`,
      verdict: verdict(undefined, median(fresh) < newHostGoalMs),
      why: "a certificate takes a signature and a context to itself; the rest is the handshake, which the direct connection pays as well.",
    },
    {
      what: "the same for a host whose certificate is there",
      measured: `${ms(known)}; ${median(spent).toFixed(2)} ms of the proxy's processor`,
      ratio: `${added.toFixed(2)} ms more than direct (${ms(direct)})`,
      floor: "",
      goal: `${addedGoalMs} ms more`,
      verdict: verdict(undefined, added < addedGoalMs),
      why: "a round trip for CONNECT, a request to the upstream and its event, on top of the one handshake that both have.",
    },
  ];
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  process.stdout.write(markdown(await tls()));
