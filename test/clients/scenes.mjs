// What the scripts of Node's drivers share: the way to the database, packages from the cache, and scenes whose results become one JSON object.
//
// usage of each script: node script.mjs '{"host": ..., "port": ..., ...}' folder-of-packages [scene ...]; without names every scene but `policy` is played.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export const way = JSON.parse(process.argv[2] ?? "{}");
export const require = createRequire(join(process.argv[3] ?? ".", "packages.cjs"));
export const ca = readFileSync(way.caFile, "utf8");

/** @param {unknown} value as JSON would not show it */
function plain(value) {
  if (typeof value === "bigint") return `${value}n`;
  if (Buffer.isBuffer(value)) return `bytes ${value.toString("hex")}`;
  if (value instanceof Date) return `date ${value.getTime()}`;
  if (Array.isArray(value)) return value.map(plain);
  if (value === undefined || (typeof value === "number" && !Number.isFinite(value)))
    return String(value);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item)]));
  return value;
}

/** What is compared of an error. */
export function told(error) {
  return {
    code: error.code,
    message: error.message,
    detail: error.detail,
    constraint: error.constraint ?? error.constraint_name,
  };
}

/** The error of something that must fail. */
export async function failure(promise) {
  try {
    return { unexpected: await promise };
  } catch (error) {
    return told(error);
  }
}

/** Resolves once `count()` sees a statement that sleeps at the server. */
export async function whenSleeping(count) {
  const deadline = Date.now() + 20_000;
  while ((await count(sleepingQuery)) === 0) {
    if (Date.now() > deadline) throw new Error("nothing sleeps at the server");
    await delay(20);
  }
}

const sleepingQuery =
  "SELECT count(*)::int AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()";

/** @param {Record<string, () => Promise<unknown>>} scenes */
export async function play(scenes) {
  const wanted = process.argv.slice(4);
  const names =
    wanted.length > 0 ? wanted : Object.keys(scenes).filter((name) => name !== "policy");
  const results = {};
  for (const name of names) {
    try {
      results[name] = plain(await scenes[name]());
    } catch (error) {
      if (error.code === undefined) throw error;
      results[name] = told(error);
    }
  }
  process.stdout.write(JSON.stringify(results));
}
