// The plugin as files of the node: the script that the runtime starts, and the one program that it consists of (busybox, from Debian's busybox-static).
import type { Stats } from "node:fs";
import { chmod, copyFile, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { pluginType } from "./conflist.ts";

/** A shebang line is cut off at 127 bytes by older kernels, and at the first space. */
const pathPattern = /^\/[A-Za-z0-9._/-]{1,90}$/;
/** A busybox that is called anything else takes its name for that of a program in it. */
const busyboxName = "busybox-chaperone";

export interface PluginPlaces {
  /** The runtime's folder of plugins, as the agent sees it. */
  readonly directory: string;
  /** The same, and the mailbox, as the node names them. */
  readonly nodeDirectory: string;
  readonly nodeMailbox: string;
  /** A static busybox. */
  readonly busybox: string;
}

/** How long a plugin waits for the agent. */
const patienceSeconds = 30;

/** @throws Error when a place cannot stand in a script's first line */
export function pluginScript(
  source: string,
  { nodeDirectory, nodeMailbox }: Pick<PluginPlaces, "nodeDirectory" | "nodeMailbox">,
  patience: number = patienceSeconds,
): string {
  for (const path of [nodeDirectory, nodeMailbox])
    if (!pathPattern.test(path))
      throw new Error(`${path} is not a path of letters, digits, dots, dashes and slashes`);
  return source
    .replaceAll("@BUSYBOX@", join(nodeDirectory, busyboxName))
    .replaceAll("@MAILBOX@", nodeMailbox)
    .replaceAll("@PATIENCE@", String(patience));
}

/** How the program was last seen: while that is the same it is not read, for it is two megabytes and looked at every few seconds. */
export interface Seen {
  program: string | undefined;
}

/** Installs both where they are missing or other than ours: the program first, each as a whole. @returns whether anything was written */
export async function installPlugin(places: PluginPlaces, seen: Seen): Promise<boolean> {
  const source = await readFile(join(import.meta.dirname, "plugin.sh"), "utf8");
  const script = pluginScript(source, places);
  const isNew = await putProgram(places, seen);
  const file = join(places.directory, pluginType);
  const isCurrent =
    (await readFile(file, "utf8").catch(() => undefined)) === script && (await isExecutable(file));
  if (!isCurrent)
    await put(file, async (fresh) => {
      await writeFile(fresh, script);
    });
  return isNew || !isCurrent;
}

async function putProgram({ directory, busybox }: PluginPlaces, seen: Seen): Promise<boolean> {
  const file = join(directory, busyboxName);
  const [wanted, present] = await Promise.all([stat(busybox), stat(file).catch(() => undefined)]);
  if (present !== undefined && keyOf(present) === seen.program) return false;
  const isSame =
    present?.size === wanted.size &&
    (await isExecutable(file)) &&
    (await readFile(file)).equals(await readFile(busybox));
  if (!isSame) await put(file, (fresh) => copyFile(busybox, fresh));
  seen.program = keyOf(await stat(file));
  return !isSame;
}

function keyOf({ ino, size, mtimeMs, mode }: Stats): string {
  return `${ino} ${size} ${mtimeMs} ${mode}`;
}

async function isExecutable(file: string): Promise<boolean> {
  return ((await stat(file)).mode & 0o777) === 0o755;
}

async function put(file: string, write: (fresh: string) => Promise<void>): Promise<void> {
  const fresh = `${file}.new`;
  await write(fresh);
  await chmod(fresh, 0o755);
  await rename(fresh, file);
}
