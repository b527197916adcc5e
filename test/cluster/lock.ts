/** Lets one `up` or `down` work at a time: two of them would tear down each other's cluster. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import type { ClusterConfig } from "./config.ts";
import type { Report } from "./command.ts";

/** A cold build of everything on a busy machine, which another run may be in the middle of. */
const WAIT_SECONDS = 30 * 60;

/**
 * Holds the lock by a `flock` process that lives as long as our end of its pipe, so a killed run leaves no lock behind.
 * Where there is no flock(1), as on macOS, it says so and works without.
 */
export async function withLock<T>(
  config: ClusterConfig,
  report: Report,
  work: () => Promise<T>,
): Promise<T> {
  await mkdir(config.cache, { recursive: true });
  const file = path.join(config.cache, "lock");
  const holder = spawn(
    "flock",
    ["--wait", String(WAIT_SECONDS), file, "sh", "-c", "echo held; cat"],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  if (holder.pid === undefined) {
    // What spawn could not start is told by an event, which is an exception where nobody listens.
    await once(holder, "error");
    report(
      "no flock on the PATH: let no other `make cluster` or `make cluster-down` run meanwhile",
    );
    return await work();
  }
  const exited = once(holder, "exit");
  const notice = setTimeout(() => report("waiting for another run of up or down"), 1_000);
  await Promise.race([once(holder.stdout, "data"), exited]);
  clearTimeout(notice);
  if (holder.exitCode !== null)
    throw new Error(`could not get the lock ${file} within ${WAIT_SECONDS} s`);
  try {
    return await work();
  } finally {
    holder.stdin.end();
    await exited;
  }
}
