// Runs a client as in a container of its own: with one way's environment, and one way's /etc/hosts in a mount namespace.
import { execFile, execFileSync } from "node:child_process";
import { join } from "node:path";
import { writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import type { HttpRoom, Way } from "./room.ts";

const run = promisify(execFile);
/** The longest list takes two seconds of an idle machine, and minutes of one that does ten things at a time. */
const clientTimeoutMs = 180_000;
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

export interface Container {
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
  readonly hostsFile: string;
}

/** @param env what a client is given besides what the way says */
export async function containerOf(
  room: HttpRoom,
  way: Way,
  env: Readonly<Record<string, string>> = {},
): Promise<Container> {
  const hostsFile = join(room.directory, `hosts.${way.name}`);
  await writeFile(hostsFile, ["127.0.0.1 localhost", ...way.hosts, ""].join("\n"));
  return { name: way.name, env: { ...way.env, ...env }, hostsFile };
}

export async function runClient(
  room: HttpRoom,
  { env, hostsFile }: Container,
  command: readonly string[],
): Promise<string> {
  const inside = ["-m", "sh", "-c", enter, "sh", hostsFile, ...command];
  const { stdout } = await run("unshare", inside, {
    env: { ...env },
    cwd: room.directory,
    timeout: clientTimeoutMs,
    maxBuffer: maxOutputBytes,
  });
  return stdout;
}
