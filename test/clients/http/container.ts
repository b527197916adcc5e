// Runs a client as in a container of its own: with one way's environment, and one way's /etc/hosts in a mount namespace.
import { execFile, execFileSync } from "node:child_process";
import { join } from "node:path";
import { writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import type { HttpRoom, Way } from "./room.ts";

const run = promisify(execFile);
const clientTimeoutMs = 60_000;
const maxOutputBytes = 32 * 1024 * 1024;

/** Why nothing of this suite can be tested here; undefined when it can. */
export function reasonWithoutNamespaces(): string | undefined {
  try {
    execFileSync("unshare", ["-m", "mount", "--bind", "/etc/hosts", "/etc/hosts"], {
      stdio: "ignore",
    });
    return undefined;
  } catch {
    return "HTTP clients dial real host names on port 443: that needs Linux, root and unshare (a mount namespace for /etc/hosts)";
  }
}

const enter = 'mount --bind "$1" /etc/hosts && shift && exec "$@"';

/** @param env what it is given besides, or instead of what the way says */
export async function runClient(
  room: HttpRoom,
  way: Way,
  command: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): Promise<string> {
  const hostsFile = join(room.directory, `hosts.${way.name}`);
  await writeFile(hostsFile, ["127.0.0.1 localhost", ...way.hosts, ""].join("\n"));
  const { stdout } = await run("unshare", ["-m", "sh", "-c", enter, "sh", hostsFile, ...command], {
    env: { ...way.env, ...env },
    cwd: room.directory,
    timeout: clientTimeoutMs,
    maxBuffer: maxOutputBytes,
  });
  return stdout;
}
