// Runs a script of Node's drivers in a process of its own and reads the JSON it prints.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Way } from "./room.ts";

const run = promisify(execFile);
const scriptTimeoutMs = 120_000;

/** @param packages folder whose `node_modules` holds the drivers */
export async function playNode(
  script: string,
  packages: string,
  way: Way,
  ...scenes: readonly string[]
): Promise<unknown> {
  const { stdout } = await run(
    process.execPath,
    [join(import.meta.dirname, script), JSON.stringify(way), packages, ...scenes],
    { timeout: scriptTimeoutMs },
  );
  return JSON.parse(stdout) as unknown;
}
