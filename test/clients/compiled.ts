// The drivers whose scenes are compiled, Go's pgx and Java's pgjdbc: built once into the cache, run in a process of their own.
import { execFile } from "node:child_process";
import { delimiter } from "node:path";
import { promisify } from "node:util";
import { goProgram, javaClasses, mavenJar } from "./cache.ts";
import { javaDriver } from "./drivers.ts";
import type { Way } from "./room.ts";

const run = promisify(execFile);
const scriptTimeoutMs = 120_000;
/** A short run is over before the second compiler has paid for itself. */
const shortRun = "-XX:TieredStopAtLevel=1";

export type Play = (way: Way, ...scenes: readonly string[]) => Promise<unknown>;

async function printed(program: string, args: readonly string[]): Promise<unknown> {
  const { stdout } = await run(program, args, { timeout: scriptTimeoutMs });
  return JSON.parse(stdout) as unknown;
}

export async function pgx(): Promise<Play> {
  const program = await goProgram("pgx");
  return (way, ...scenes) => printed(program, [JSON.stringify(way), ...scenes]);
}

export async function pgjdbc(): Promise<Play> {
  const jar = await mavenJar(javaDriver);
  const path = [await javaClasses("PgjdbcScenes.java", jar), jar].join(delimiter);
  return ({ host, port, database, user, password, caFile }, ...scenes) =>
    printed("java", [
      shortRun,
      "-cp",
      path,
      "PgjdbcScenes",
      host,
      String(port),
      database,
      user,
      password,
      caFile,
      ...scenes,
    ]);
}
