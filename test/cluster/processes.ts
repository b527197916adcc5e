/** Starts the cluster's programs in the background, knows them again by pid file, and stops exactly those. */
import { spawn } from "node:child_process";
import { mkdir, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { Fatal, until } from "./command.ts";

/** etcd and the API server close their stores within this; what has not ended by then is killed. */
const STOP_GRACE_MS = 10_000;

/** A killed process is gone at once, unless the kernel is busy with its memory. */
const KILL_GRACE_MS = 10_000;

const LAST_LOG_CHARACTERS = 2_000;

export interface Program {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  readonly readyWithinMs: number;
  readonly isReady: () => Promise<boolean>;
}

export interface Folders {
  readonly run: string;
  readonly logs: string;
}

/** Starts a program and comes back when it is ready; a program that ends before that is an error with its last words. */
export async function start(program: Program, folders: Folders): Promise<void> {
  await mkdir(folders.run, { recursive: true });
  await mkdir(folders.logs, { recursive: true });
  const logFile = path.join(folders.logs, `${program.name}.log`);
  const log = await open(logFile, "w");
  const child = spawn(program.file, program.args, {
    detached: true,
    stdio: ["ignore", log.fd, log.fd],
    cwd: "/",
  });
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(`ended with ${code ?? signal}`));
  });
  let failure: string | undefined;
  void ended.then((why) => (failure = why));
  await log.close();
  const ticks = child.pid === undefined ? undefined : await startTicks(child.pid);
  if (child.pid !== undefined && ticks !== undefined) {
    await writeFile(path.join(folders.run, `${program.name}.pid`), `${child.pid} ${ticks}\n`);
  }
  await until(`${program.name} to be ready (log: ${logFile})`, program.readyWithinMs, async () => {
    if (failure === undefined) return await program.isReady();
    const said = (await readFile(logFile, "utf8")).slice(-LAST_LOG_CHARACTERS);
    throw new Fatal(`${program.name} ${failure}; the end of ${logFile}:\n${said}`);
  });
  child.unref();
}

/** The pid of a started program that is still the one that was started; a pid used again by another program does not count. */
export async function runningPid(name: string, run: string): Promise<number | undefined> {
  let text: string;
  try {
    text = await readFile(path.join(run, `${name}.pid`), "utf8");
  } catch {
    return undefined; // never started, or stopped
  }
  const [pid, ticks] = text.trim().split(" ");
  return (await startTicks(Number(pid))) === ticks ? Number(pid) : undefined;
}

export async function stop(name: string, run: string): Promise<void> {
  const pid = await runningPid(name, run);
  if (pid !== undefined) await end(pid);
  await rm(path.join(run, `${name}.pid`), { force: true });
}

/** Asks a process to end, then makes it. */
export async function end(pid: number, graceMs: number = STOP_GRACE_MS): Promise<void> {
  const ticks = await startTicks(pid);
  if (ticks === undefined) return;
  const isGone = async (): Promise<boolean> => (await startTicks(pid)) !== ticks;
  if (graceMs > 0) {
    signal(pid, "SIGTERM");
    try {
      await until(`process ${pid} to end`, graceMs, isGone);
      return;
    } catch {
      // It had its time.
    }
  }
  signal(pid, "SIGKILL");
  await until(`process ${pid} to be gone after SIGKILL`, KILL_GRACE_MS, isGone);
}

export async function pids(): Promise<number[]> {
  return (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
}

/** The arguments of a process, none if it is gone or belongs to the kernel. */
export async function argumentsOf(pid: number): Promise<string[]> {
  try {
    return (await readFile(`/proc/${pid}/cmdline`, "utf8"))
      .split("\0")
      .filter((argument) => argument !== "");
  } catch {
    return [];
  }
}

/** When the process started, in clock ticks since boot: with the pid it names one process for ever. A dead one has none. */
async function startTicks(pid: number): Promise<string | undefined> {
  let stat: string;
  try {
    stat = await readFile(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // proc(5): field 2 is the name in brackets and may hold anything, so count after it; 3 is the state, 22 the start time.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" ? undefined : fields[19];
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended between the look and the signal.
  }
}
