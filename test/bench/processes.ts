// Processes of the benchmarks: which core they run on, how much of it they used, and their orderly end.
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { promisify } from "node:util";

export const run = promisify(execFile);

/** The proxy under test, or its rival, has this core to itself; load, upstream and control plane share the other. */
export const proxyCore = 0;
const loadCore = 1;
/** sysconf(_SC_CLK_TCK) on every Linux that Node runs on. */
const ticksPerSecond = 100;
const endTimeoutMs = 15_000;
const listenAttempts = 200;
const listenPauseMs = 25;

export async function installed(program: string): Promise<boolean> {
  return run("which", [program]).then(
    () => true,
    () => false,
  );
}

let pinnable: boolean | undefined;

/** Moves this process, and what it starts without saying otherwise, to the load's core. False where cores cannot be chosen. */
export async function pinLoad(): Promise<boolean> {
  pinnable ??= (await installed("taskset")) && availableParallelism() > 1;
  if (pinnable) await run("taskset", ["-pc", String(loadCore), String(process.pid)]);
  return pinnable;
}

/** Starts a program on the proxy's core. */
export function onProxyCore(
  command: readonly string[],
  stdio: "ipc" | "plain",
  env: NodeJS.ProcessEnv = process.env,
): ChildProcess {
  const [program = "", ...rest] =
    pinnable === true ? ["taskset", "-c", String(proxyCore), ...command] : command;
  return spawn(program, rest, {
    env,
    stdio: ["ignore", "inherit", "inherit", ...(stdio === "ipc" ? (["ipc"] as const) : [])],
  });
}

/**
 * Starts a program on the load's core that gives way to everything else there, all its threads with it (SCHED_IDLE, sched(7)). For
 * what runs on another machine in a cluster.
 */
export async function givingWay(command: readonly string[]): Promise<ChildProcess> {
  const idle = (await installed("chrt")) ? ["chrt", "--idle", "0"] : [];
  const [program = "", ...rest] = [...idle, ...command];
  return spawn(program, rest, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
}

/** What the proxy's image sets (images/Dockerfile). */
export const containerEnv = {
  MALLOC_ARENA_MAX: "1",
  MALLOC_TRIM_THRESHOLD_: "131072",
} as const;

/** What the operator's container starts Node with (images/Dockerfile). */
export const operatorFlags = [
  "--disable-sigusr1",
  "--liftoff-only",
  "--max-old-space-size=768",
] as const;

/**
 * The command line of one of the files beside this one. What runs in a container of ours gets its flags, and besides what
 * `BENCH_NODE_ARGS` says: `--cpu-prof`, for one.
 */
export function nodeFile(
  file: string,
  args: readonly string[] = [],
  flags?: readonly string[],
): string[] {
  const asked = (process.env.BENCH_NODE_ARGS ?? "").split(" ").filter(Boolean);
  const own = flags === undefined ? [] : [...flags, ...asked];
  return [process.execPath, ...own, resolve(import.meta.dirname, file), ...args];
}

/** The first message of a child, or an error that says that it died instead. */
export async function firstMessage<T>(child: ChildProcess, what: string): Promise<T> {
  const settled = new AbortController();
  const { signal } = settled;
  const message = once(child, "message", { signal }) as Promise<[T]>;
  const died = once(child, "exit", { signal }).then(([code]) => {
    throw new Error(`${what} ended with code ${String(code)} before it answered`);
  });
  try {
    const [answer] = await Promise.race([message, died]);
    return answer;
  } finally {
    for (const left of [message, died]) left.catch(() => {});
    settled.abort();
  }
}

export async function end(child: ChildProcess, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill(signal);
  const late = setTimeout(() => child.kill("SIGKILL"), endTimeoutMs);
  await gone;
  clearTimeout(late);
}

export async function untilListening(port: number): Promise<void> {
  for (let attempt = 0; attempt < listenAttempts; attempt += 1) {
    const socket = connect(port, "127.0.0.1");
    const up = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    socket.destroy();
    if (up) return;
    await pause(listenPauseMs);
  }
  throw new Error(`nothing listens on port ${port}`);
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** User and system time of a process so far (proc(5), fields 14 and 15 of stat). */
export async function processorMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / ticksPerSecond;
}

export async function residentMiB(pid: number): Promise<number> {
  return statusMiB(pid, "VmRSS");
}

/** What is the process's own. The rest is pages of Node's program file, which all processes of a machine that run it share. */
export async function anonymousMiB(pid: number): Promise<number> {
  return statusMiB(pid, "RssAnon");
}

/** proc(5), `/proc/PID/status`. */
async function statusMiB(pid: number, field: string): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1] ?? Number.NaN) / 1024;
}
