// A stage: a process that has loaded what takes long to load, and plays what it is asked for, one line each way for every play.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export interface Stage {
  /** What it answers to one line; rejects when it ends before, or takes longer than a play may. */
  ask(line: string): Promise<string>;
}

/** The longest play takes seconds of an idle machine, and minutes of one that does ten things at a time. */
const playTimeoutMs = 300_000;

/**
 * The program reads `number TAB text` lines and answers each with one that begins alike. Nobody has to close it: it ends as its input
 * does, with this process.
 */
export function openStage(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Stage {
  const child = spawn(program, args, {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  const waiting = new Map<string, (answer: string | Error) => void>();
  let ended: Error | undefined;
  const end = (error: Error): void => {
    ended = error;
    for (const done of waiting.values()) done(error);
  };
  child.once("error", end);
  child.once("close", () => end(new Error(`${program} ${args.join(" ")} ended before the play`)));
  child.stdin.on("error", () => undefined);
  createInterface({ input: child.stdout }).on("line", (line) => {
    const at = line.indexOf("\t");
    waiting.get(line.slice(0, at))?.(line.slice(at + 1));
  });
  child.unref();
  for (const stream of [child.stdin, child.stdout])
    if ("unref" in stream && typeof stream.unref === "function") stream.unref();
  let count = 0;
  return {
    ask: (text) =>
      new Promise((resolve, reject) => {
        if (ended !== undefined) {
          reject(ended);
          return;
        }
        count += 1;
        const id = String(count);
        const done = (answer: string | Error): void => {
          clearTimeout(timer);
          waiting.delete(id);
          if (answer instanceof Error) reject(answer);
          else resolve(answer);
        };
        // It also keeps this process alive while it waits: the child does not.
        const timer = setTimeout(() => {
          done(new Error(`${program} ${args.join(" ")} did not play in ${playTimeoutMs} ms`));
          child.kill("SIGKILL");
        }, playTimeoutMs);
        waiting.set(id, done);
        child.stdin.write(`${id}\t${text}\n`);
      }),
  };
}
