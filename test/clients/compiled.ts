// The drivers whose scenes are compiled, Go's pgx and Java's pgjdbc: built once into the cache, run in a process of their own; Java's, which takes a second to load, plays one way after the other.
import { execFile } from "node:child_process";
import { delimiter } from "node:path";
import { promisify } from "node:util";
import { goProgram, javaClasses, mavenJar } from "./cache.ts";
import { javaDriver } from "./drivers.ts";
import type { Way } from "./room.ts";
import { openStage } from "./stage.ts";

const run = promisify(execFile);
const scriptTimeoutMs = 120_000;
/** A short run is over before the second compiler has paid for itself. */
const shortRun = "-XX:TieredStopAtLevel=1";
/** The heap is small: threads to collect it would only have to be started. */
const oneThread = "-XX:+UseSerialGC";

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
  const stage = openStage("java", [shortRun, oneThread, "-cp", path, "PgjdbcScenes"]);
  return async ({ host, port, database, user, password, caFile }, ...scenes) =>
    JSON.parse(
      await stage.ask([host, String(port), database, user, password, caFile, ...scenes].join("\t")),
    ) as unknown;
}
