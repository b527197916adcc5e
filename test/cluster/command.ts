/** Runs a program to its end, waits for conditions, and tells the person at the terminal how far things are. */
import { execFile } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";

/** The longest output read here is a `kubectl get -o json` of a small cluster. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/** Enough of a failed program's last words to see why, without drowning the message. */
const MAX_ERROR_CHARACTERS = 4_000;

/** Enough of its arguments to know which call it was. */
const MAX_SHOWN_CHARACTERS = 300;

/** Every program used here answers within this, builds excepted, which say their own limit. */
const DEFAULT_TIMEOUT_MS = 60_000;

/** Short enough not to be felt, long enough to leave two cores to the work waited for. */
const POLL_MS = 200;

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
  readonly timeoutMs?: number;
}

/** Standard output of a program that ended well; anything else is an error carrying its last words. */
export function command(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      args,
      {
        cwd: options.cwd,
        env: { ...process.env, ...options.env },
        timeout: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
        maxBuffer: MAX_OUTPUT_BYTES,
      },
      (error, stdout, stderr) => {
        if (error === null) {
          resolve(stdout);
          return;
        }
        if (error.code === "ENOENT") {
          reject(new NotInstalled(`${program} is not on the PATH`));
          return;
        }
        const why = error.killed
          ? "took too long and was stopped"
          : `ended with ${String(error.code ?? error.signal)}`;
        const said = `${stdout}\n${stderr}`.trim().slice(-MAX_ERROR_CHARACTERS);
        reject(
          new Error(`${program} ${args.join(" ").slice(0, MAX_SHOWN_CHARACTERS)} ${why}:\n${said}`),
        );
      },
    );
    // A program that ends before it has read its input closes the pipe; its exit code is what counts.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(options.input ?? "");
  });
}

/** The program is not there at all. */
export class NotInstalled extends Error {}

/** True when the program ends well; used to ask, never to hide a failure. */
export async function succeeds(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<boolean> {
  try {
    await command(program, args, options);
    return true;
  } catch {
    return false;
  }
}

/** Asks until the answer is yes; the error names what was waited for and the last failure. */
export async function until(
  what: string,
  timeoutMs: number,
  ask: () => Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      if (await ask()) return;
    } catch (error) {
      if (error instanceof Fatal) throw error;
      last = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs / 1000} s for ${what}`, { cause: last });
    }
    await delay(POLL_MS);
  }
}

/** Thrown by a question asked in `until` when no later answer can be better. */
export class Fatal extends Error {}

export type Report = (line: string) => void;

/** Prints each line with the seconds since the start. */
export function reporter(out: NodeJS.WritableStream): Report {
  const begun = performance.now();
  return (line) => {
    out.write(`${seconds(begun).padStart(7)}  ${line}\n`);
  };
}

/** Runs one step and reports how long it took. */
export async function step<T>(report: Report, name: string, work: () => Promise<T>): Promise<T> {
  const begun = performance.now();
  const result = await work();
  report(`${name} (${seconds(begun)})`);
  return result;
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}

/** Runs a program of this folder: what fails is told with its causes and without stack traces, and the exit code is 1. */
export async function main(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
      process.stderr.write(`${cause.message}\n`);
    process.exitCode = 1;
  }
}
