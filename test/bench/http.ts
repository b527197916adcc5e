// Small JSON requests through the proxy on one core, beside undici forwarding without policy and nginx where it is installed:
// requests a second, and processor time a request, which says the same on a machine that others use too.
//
//   node test/bench/http.ts [seconds]
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

import type { TargetKind } from "./http-target.ts";
import type { LoadOrder, LoadResult } from "./http-load.ts";
import { planPort } from "./ports.ts";
import { markdown, median } from "./table.ts";
import type { Row } from "./table.ts";

const run = promisify(execFile);
const connections = 50;
const rounds = 3;
const warmSeconds = 2;
const floor = 12_000;
const goal = 25_000;
/** sysconf(_SC_CLK_TCK) on every Linux that Node runs on. */
const ticksPerSecond = 100;

interface Target {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

interface Measured {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuUs: number;
}

export async function http(seconds = 4): Promise<Row[]> {
  const pinned = await run("taskset", ["--version"]).then(
    () => true,
    () => false,
  );
  const folder = await mkdtemp(join(tmpdir(), "bench-http-"));
  const generator = nodeOn(pinned ? 1 : undefined, "http-load.ts", []);
  const [originPort] = (await once(generator, "message")) as [number];
  const targets: Target[] = [];
  try {
    targets.push(
      await nodeTarget("chaperone", originPort, pinned),
      await nodeTarget("undici", originPort, pinned),
    );
    const nginx = await nginxTarget(originPort, pinned, folder);
    if (nginx !== undefined) targets.push(nginx);
    const results = new Map<string, Measured[]>(targets.map(({ name }) => [name, []]));
    for (const target of targets) await measure(generator, target, warmSeconds);
    // Turn by turn, so that a disturbance meets all of them.
    for (let round = 0; round < rounds; round++) {
      for (const target of targets)
        results.get(target.name)?.push(await measure(generator, target, seconds));
    }
    return rows(results);
  } finally {
    for (const target of targets) await target.stop();
    generator.kill();
    await rm(folder, { recursive: true, force: true });
  }
}

function rows(results: ReadonlyMap<string, readonly Measured[]>): Row[] {
  const mid = (name: string, field: keyof Measured): number =>
    median((results.get(name) ?? []).map((one) => one[field]));
  const ours = mid("chaperone", "perSecond");
  const peers = [...results.keys()].filter((name) => name !== "chaperone");
  const against = (field: "perSecond" | "cpuUs"): string =>
    peers
      .map(
        (name) =>
          `${(mid("chaperone", field) / mid(name, field)).toFixed(2)} × ${name} (${Math.round(mid(name, field)).toLocaleString("en")})`,
      )
      .join(", ");
  return [
    {
      what: `HTTP, 1 kB JSON POST, ${connections} connections, one core, two rules, intent and event on disk`,
      measured: `${Math.round(ours).toLocaleString("en")} requests/s, p50 ${mid("chaperone", "p50Ms").toFixed(1)} ms, p99 ${mid("chaperone", "p99Ms").toFixed(1)} ms`,
      ratio: against("perSecond"),
      floor: `${floor.toLocaleString("en")}/s`,
      goal: `${goal.toLocaleString("en")}/s`,
      verdict: ours >= floor ? "met" : "missed",
    },
    {
      what: "processor time of one such request",
      measured: `${mid("chaperone", "cpuUs").toFixed(1)} µs`,
      ratio: against("cpuUs"),
      floor: "",
      goal: "",
      verdict: "no floor",
    },
  ];
}

async function measure(
  generator: ChildProcess,
  target: Target,
  seconds: number,
): Promise<Measured> {
  const order: LoadOrder = { port: target.port, seconds, connections };
  const before = await processorMs(target.pid);
  generator.send(order);
  const [result] = (await once(generator, "message")) as [LoadResult];
  const spentMs = (await processorMs(target.pid)) - before;
  if (result.failures > 0 || result.requests === 0)
    throw new Error(`${target.name}: ${result.failures} of ${result.requests} requests failed`);
  return {
    perSecond: result.requests / result.seconds,
    p50Ms: result.p50Ms,
    p99Ms: result.p99Ms,
    cpuUs: (spentMs * 1_000) / result.requests,
  };
}

async function nodeTarget(name: TargetKind, originPort: number, pinned: boolean): Promise<Target> {
  const child = nodeOn(pinned ? 0 : undefined, "http-target.ts", [name, String(originPort)]);
  const [port] = (await once(child, "message")) as [number];
  return { name, port, pid: child.pid ?? 0, stop: () => end(child, "SIGTERM") };
}

/** One worker, keep-alive on both sides, no log: the least a proxy has to do. */
async function nginxTarget(
  originPort: number,
  pinned: boolean,
  folder: string,
): Promise<Target | undefined> {
  const program = await run("nginx", ["-v"]).then(
    () => "nginx",
    () => undefined,
  );
  if (program === undefined) return undefined;
  const port = await planPort();
  const file = join(folder, "nginx.conf");
  await writeFile(
    file,
    `master_process off; daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  upstream origin { server 127.0.0.1:${originPort}; keepalive 128; keepalive_requests 100000000; }
  server { listen 127.0.0.1:${port}; location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization "Bearer real"; } }
}`,
  );
  const [command, first] = pinned ? ["taskset", ["-c", "0", program]] : [program, []];
  const child = spawn(command, [...first, "-c", file, "-p", folder], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  await untilListening(port);
  return { name: "nginx", port, pid: child.pid ?? 0, stop: () => end(child, "SIGQUIT") };
}

function nodeOn(core: number | undefined, file: string, args: readonly string[]): ChildProcess {
  const script = [join(import.meta.dirname, file), ...args];
  const command =
    core === undefined
      ? [process.execPath, ...script]
      : ["taskset", "-c", String(core), process.execPath, ...script];
  const [program = "", ...rest] = command;
  return spawn(program, rest, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill(signal);
  await gone;
}

async function untilListening(port: number): Promise<void> {
  const { connect } = await import("node:net");
  for (let attempt = 0; attempt < 100; attempt++) {
    const socket = connect(port, "127.0.0.1");
    const up = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "error").then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing listens on port ${port}`);
}

/** User and system time of a process so far (proc(5), fields 14 and 15 of stat). */
async function processorMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / ticksPerSecond;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.stdout.write(markdown(await http(Number(process.argv[2] ?? 4))));
}
