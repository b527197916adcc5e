// Runs the built `chaperone` as a user would, in a process of its own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

export const program = join(import.meta.dirname, "../../dist/chaperone.mjs");

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function chaperone(args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code: code ?? -1, stdout, stderr };
}

export async function chaperoneJson<T>(args: readonly string[]): Promise<T> {
  const ended = await chaperone(args);
  if (ended.code !== 0) throw new Error(`chaperone ${args.join(" ")}: ${ended.stderr}`);
  return JSON.parse(ended.stdout) as T;
}
