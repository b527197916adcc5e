// Small JSON requests through the whole proxy on one core, beside undici forwarding without policy, nginx where it is installed, and nothing at all:
// requests a second, and processor time a request, which says the same on a machine that others use too; and what one request alone waits longer.
//
//   node test/bench/http.ts [seconds [POST|GET [alone]]]
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { startChaperone } from "./chaperone.ts";
import type { Chaperone } from "./chaperone.ts";
import type { LoadOrder, LoadResult } from "./http-load.ts";
import { startNginx } from "./nginx.ts";
import { Patience } from "./noise.ts";
import {
  end,
  firstMessage,
  installed,
  nodeFile,
  onProxyCore,
  pinLoad,
  processorMs,
} from "./processes.ts";
import { count, markdown, median, verdict } from "./table.ts";
import type { Row } from "./table.ts";

const connections = 32;
const rounds = 5;
/** Node compiles the last of what is hot after some 20,000 requests. */
const warmSeconds = 6;
/** What a request alone on its connection may take longer than straight to the origin, at the median. */
const addedGoalMs = 0.2;
const floor = 12_000;
const goal = 25_000;
/** Of nginx on the same work, where that is more. */
const goalOfNginx = 0.4;
/** Of undici without any work, for POSTs. */
const goalOfUndici = 1.5;
/** What the store may lag behind before a turn of the next target would be disturbed by it. */
const shipWithinMs = 60_000;

type Method = LoadOrder["method"];

/** The shares are those of profiles and of the difference between the two; they hold on slower and faster machines. */
const whyMissed: Readonly<Record<Method, string>> = {
  POST: "a POST costs what a GET does (forwarding: parsing, deciding, the credential, four system calls; one event on its way to the disk and to the operator), and half as much again for its intent: a second event, and the group commit that it waits for.",
  GET: "forwarding (parsing, deciding, the credential, four system calls) takes two thirds; the event, its way to the disk and to the operator the rest.",
};

interface Target {
  readonly name: string;
  readonly port: number;
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

interface Measured {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuUs: number;
}

function manifests(originPort: number): string {
  return `
apiVersion: v1
kind: Secret
metadata: {name: orders, namespace: bench}
stringData: {token: real}
---
apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: orders, namespace: bench}
spec:
  protocol: http
  endpoint: {url: "http://127.0.0.1:${originPort}"}
  hosts: [orders.example]
  credential:
    static: {secretRef: {name: orders}, header: {name: Authorization, value: "Bearer \${token}"}}
---
apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: agent, namespace: bench}
spec:
  targetRefs: [{group: chaperone.dev, kind: Connection, name: orders}]
  subjects: [{serviceAccounts: [agent]}]
  rules:
    - {name: health, action: Allow, http: {methods: [GET, HEAD], paths: ["/healthz", "/v1/status"]}}
    - {name: customers, action: Allow, http: {methods: [GET], paths: ["/v1/customers/*", "/v1/customers/*/addresses/**"]}}
    - {name: invoices, action: Allow, http: {methods: [GET, POST], paths: ["/v1/invoices/**"]}}
    - {name: small-refunds, action: Allow, http: {methods: [POST], paths: ["/v1/refunds"]}, when: 'http.query.size() == 0'}
    - {name: search, action: Allow, http: {methods: [GET], paths: ["/v1/search"]}, when: '"q" in http.query'}
    - {name: reports, action: Allow, http: {methods: [GET], paths: ["/v1/reports/*.csv"]}}
    - {name: orders, action: Allow, http: {methods: [GET, POST], paths: ["/v1/orders", "/v1/orders/**"]}}
    - {name: no-admin, action: Deny, http: {paths: ["/v1/admin/**"]}}
    - {name: no-deletes, action: Deny, http: {methods: [DELETE]}}
    - {name: no-exports, action: Deny, http: {methods: [POST], paths: ["/v1/exports/**"]}}
`;
}

export interface HttpBench {
  readonly seconds?: number;
  readonly methods?: readonly Method[];
  /** Without its peers, to look at it closely: BENCH_NODE_ARGS="--cpu-prof" goes to the proxy. */
  readonly alone?: boolean;
  readonly patience?: Patience;
}

export async function http({
  seconds = 2,
  methods = ["POST", "GET"],
  alone = false,
  patience = new Patience(),
}: HttpBench = {}): Promise<Row[]> {
  await pinLoad();
  const folder = await mkdtemp(join(tmpdir(), "chaperone-bench-http-"));
  const [, file = ""] = nodeFile("http-load.ts");
  const generator = fork(file, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const targets: Target[] = [];
  try {
    const originPort = await firstMessage<number>(generator, "the load generator");
    const chaperone = await startChaperone(manifests(originPort));
    targets.push({
      name: "chaperone",
      port: chaperone.port("bench/orders"),
      pid: chaperone.pid,
      stop: () => chaperone.stop(),
    });
    if (!alone) {
      targets.push(await undiciTarget(originPort));
      if (await installed("nginx"))
        targets.push({ name: "nginx", ...(await startNginx(originPort, folder)) });
      targets.push({ name: "direct", port: 0, pid: undefined, stop: async () => {} });
    }
    const found: Row[] = [];
    const shared = { generator, targets, chaperone, seconds, patience };
    for (const method of methods)
      found.push(...rows(method, await compare({ ...shared, method, connections })));
    for (const method of alone ? [] : methods)
      found.push(latencyRow(method, await compare({ ...shared, method, connections: 1 })));
    return found;
  } finally {
    for (const target of targets) await target.stop();
    await end(generator);
    await rm(folder, { recursive: true, force: true });
  }
}

interface Comparison {
  readonly generator: ChildProcess;
  readonly targets: readonly Target[];
  readonly chaperone: Chaperone;
  readonly method: Method;
  readonly connections: number;
  readonly seconds: number;
  readonly patience: Patience;
}

/** Turn by turn, so that a disturbance meets all of them. */
async function compare(of: Comparison): Promise<Map<string, Measured[]>> {
  const { targets, chaperone, seconds, patience } = of;
  const results = new Map<string, Measured[]>(targets.map(({ name }) => [name, []]));
  for (const target of targets) await measure(of, target, warmSeconds);
  for (let round = 0; round < rounds; round += 1) {
    for (const target of targets) {
      const measured = await patience.quietly(async () => {
        if (!(await chaperone.shipped(shipWithinMs)))
          throw new Error(`the store lacks events ${shipWithinMs} ms after the last request`);
        return measureDecided(chaperone, target, () => measure(of, target, seconds));
      });
      results.get(target.name)?.push(measured);
    }
  }
  return results;
}

/** What is not decided is not measured. */
async function measureDecided(
  chaperone: Chaperone,
  { name }: Target,
  once: () => Promise<Measured>,
): Promise<Measured> {
  const before = await chaperone.allowed();
  const measured = await once();
  const decided = (await chaperone.allowed()) - before;
  if (name === "chaperone" && decided < measured.requests)
    throw new Error(`${measured.requests} requests were answered and ${decided} decided`);
  return measured;
}

async function measure(
  { generator, method, connections }: Comparison,
  target: Target,
  seconds: number,
): Promise<Measured> {
  const order: LoadOrder = { method, port: target.port, seconds, connections };
  const spent = async (): Promise<number> =>
    target.pid === undefined ? Number.NaN : processorMs(target.pid);
  const before = await spent();
  generator.send(order);
  const result = await firstMessage<LoadResult>(generator, "the load generator");
  const spentMs = (await spent()) - before;
  if (result.failures > 0 || result.requests === 0)
    throw new Error(`${target.name}: ${result.failures} of ${result.requests} requests failed`);
  return {
    requests: result.requests,
    perSecond: result.requests / result.seconds,
    p50Ms: result.p50Ms,
    p99Ms: result.p99Ms,
    cpuUs: (spentMs * 1_000) / result.requests,
  };
}

function rows(method: Method, results: ReadonlyMap<string, readonly Measured[]>): Row[] {
  const least = method === "POST" ? floor : undefined;
  const mid = (name: string, field: keyof Measured): number =>
    median((results.get(name) ?? []).map((one) => one[field]));
  const ours = mid("chaperone", "perSecond");
  const nginx = mid("nginx", "perSecond");
  const rate = Number.isNaN(nginx) ? goal : Math.max(goal, goalOfNginx * nginx);
  const undici = method === "POST" ? goalOfUndici * mid("undici", "perSecond") : 0;
  const wanted = Number.isNaN(undici) ? rate : Math.max(rate, undici);
  const peers = [...results.keys()].filter((name) => name !== "chaperone");
  const against = (field: "perSecond" | "cpuUs", unit: string): string =>
    peers
      .filter((name) => !Number.isNaN(mid(name, field)))
      .map(
        (name) =>
          `${(mid("chaperone", field) / mid(name, field)).toFixed(2)} of ${name} (${count(mid(name, field))}${unit})`,
      )
      .join(", ");
  const what =
    method === "POST"
      ? "HTTP, 1 kB JSON POST: strict, its intent is on the disk before it is forwarded"
      : "HTTP, GET of 1 kB JSON: recorded when it is answered";
  return [
    {
      what: `${what}; ${connections} connections, ten rules`,
      measured: `${count(ours)}/s, p50 ${mid("chaperone", "p50Ms").toFixed(1)} ms, p99 ${mid("chaperone", "p99Ms").toFixed(1)} ms`,
      ratio: against("perSecond", "/s"),
      floor: least === undefined ? "" : `${count(least)}/s`,
      goal: `${count(wanted)}/s`,
      verdict: verdict(least === undefined ? undefined : ours >= least, ours >= wanted),
      why: whyMissed[method],
    },
    {
      what: `processor time of one such ${method}`,
      measured: `${mid("chaperone", "cpuUs").toFixed(1)} µs`,
      ratio: against("cpuUs", " µs"),
      floor: "",
      goal: "",
      verdict: "no floor",
    },
  ];
}

function latencyRow(method: Method, results: ReadonlyMap<string, readonly Measured[]>): Row {
  const p50 = (name: string): number => median((results.get(name) ?? []).map(({ p50Ms }) => p50Ms));
  const added = (name: string): number => p50(name) - p50("direct");
  const peers = [...results.keys()].filter((name) => name !== "chaperone" && name !== "direct");
  const strict = method === "POST" ? ", its intent on the disk before it is forwarded" : "";
  return {
    what: `latency added to a ${method} of 1 kB at one connection, median${strict}`,
    measured: `${added("chaperone").toFixed(2)} ms`,
    ratio: [
      ...peers.map((name) => `${name} adds ${added(name).toFixed(2)} ms`),
      `direct ${p50("direct").toFixed(2)} ms`,
    ].join(", "),
    floor: "",
    goal: `${addedGoalMs} ms`,
    verdict: verdict(undefined, added("chaperone") <= addedGoalMs),
    why:
      method === "POST"
        ? "nearly all of it is the wait for the disk, which no proxy that promises a durable intent can leave out."
        : "a busy machine shows here first: compare with what the peers add in the same run.",
  };
}

async function undiciTarget(originPort: number): Promise<Target> {
  const child = onProxyCore(nodeFile("http-undici.ts", [String(originPort)]), "ipc");
  const port = await firstMessage<number>(child, "undici");
  return { name: "undici", port, pid: child.pid, stop: () => end(child) };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [seconds = "2", method, alone] = process.argv.slice(2);
  const methods = (["POST", "GET"] as const).filter(
    (one) => method === undefined || one === method,
  );
  const found = await http({ seconds: Number(seconds), methods, alone: alone === "alone" });
  process.stdout.write(markdown(found));
}
