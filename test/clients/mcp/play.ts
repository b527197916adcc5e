// Plays scenes of a client in a process of its own and reads what it saw.
import { spawn } from "node:child_process";
import { join } from "node:path";
import assert from "node:assert/strict";

export type Scenes = Readonly<Record<string, unknown>>;

/** A client that starts on a loaded machine, and talks to a server that does. */
const patienceMs = 180_000;

export async function play(
  command: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Scenes> {
  const { code, output } = await run(command, env);
  assert.equal(code, 0, `${command.join(" ")} failed`);
  return JSON.parse(output) as Scenes;
}

export function run(
  command: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ readonly code: number | null; readonly output: string }> {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1", ...env },
    timeout: patienceMs,
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString("utf8")));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}

export const script = (name: string): string => join(import.meta.dirname, name);
