// A runtime's folder of CNI configurations: our plugin in the list that the runtime takes, whoever writes that list, and out of all of them again.
import { constants, readFileSync, renameSync } from "node:fs";
import { chown, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { extname, join } from "node:path";

import { chained, listFrom, unchained } from "./conflist.ts";

/** Of a configuration, as libcni tells them. */
const extensions: readonly string[] = [".conf", ".conflist", ".json"];
/** Of the lists that we make where the runtime's own is the configuration of one plugin. */
const madeByUs = "-chaperone.conflist";
/** None of the extensions: the runtime does not see it. */
const fresh = ".chaperone.new";
/** Lists are a few kilobytes; more is no list, and is not held in memory. */
const maxConfigBytes = 1024 * 1024;

export interface ConfDirectory {
  readonly directory: string;
  /** The list to take; undefined: the first one by name, as runtimes do by themselves. */
  readonly file?: string | undefined;
}

export interface Chained {
  readonly file: string;
  readonly isNew: boolean;
}

/** @throws Error saying why the node has no list with our plugin in it; what is there stays as it is */
export async function chainIn({ directory, file }: ConfDirectory): Promise<Chained> {
  const names = await configsIn(directory);
  const others = names.filter((name) => !name.endsWith(madeByUs));
  const source = file ?? others[0];
  if (source === undefined || !others.includes(source)) {
    await removeAll(directory, names, undefined);
    throw new Error(
      `the CNI folder has no ${source ?? "configuration"} yet: the node's own network has to be installed first`,
    );
  }
  const isList = extname(source) === ".conflist";
  const target = isList ? source : `${source.slice(0, -extname(source).length)}${madeByUs}`;
  const before = await readConfig(join(directory, source));
  const edited = isList ? chained(before) : listFrom(before);
  if ("refused" in edited)
    throw new Error(`${source} of the CNI folder is left as it is: ${edited.refused}`);
  const present = isList ? before : await readOwn(join(directory, target));
  const isNew = present !== edited.text;
  if (isNew) await replace(directory, target, { text: edited.text, present, like: source });
  await removeAll(directory, names, target);
  return { file: target, isNew };
}

/** Takes our plugin out of every list. @returns the files that had it */
export async function unchainIn(directory: string): Promise<readonly string[]> {
  const changed: string[] = [];
  const names = await configsIn(directory);
  // First those that are ours as a whole: what they were made from is there beside them.
  for (const name of names.filter((one) => one.endsWith(madeByUs))) {
    await rm(join(directory, name), { force: true });
    changed.push(name);
  }
  for (const name of names.filter((one) => !one.endsWith(madeByUs))) {
    const present = await readConfig(join(directory, name));
    const text = unchained(present);
    if (text === present) continue;
    await replace(directory, name, { text, present, like: name });
    changed.push(name);
  }
  return changed;
}

/** Lists that we made of something that the runtime does not take any more. */
async function removeAll(
  directory: string,
  names: readonly string[],
  but: string | undefined,
): Promise<void> {
  for (const name of names)
    if (name.endsWith(madeByUs) && name !== but) await rm(join(directory, name), { force: true });
}

/** As libcni finds them, in its order. */
async function configsIn(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory() && extensions.includes(extname(entry.name)))
    .map(({ name }) => name)
    .toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** Of a list that we made before; undefined when there is none. */
async function readOwn(file: string): Promise<string | undefined> {
  return await readConfig(file).catch(() => undefined);
}

function textNow(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

async function readConfig(file: string): Promise<string> {
  const { size } = await stat(file);
  if (size > maxConfigBytes) throw new Error(`${file} is larger than ${maxConfigBytes} bytes`);
  return await readFile(file, "utf8");
}

/** Whole or not at all, also when the node loses its power: without a list that can be read it would have no network. */
async function replace(
  directory: string,
  name: string,
  { text, present, like }: { text: string; present: string | undefined; like: string },
): Promise<void> {
  const { mode, uid, gid } = await stat(join(directory, like));
  const temporary = join(directory, `.${name}${fresh}`);
  const { O_CREAT, O_TRUNC, O_WRONLY, O_NOFOLLOW } = constants;
  const handle = await open(temporary, O_CREAT | O_TRUNC | O_WRONLY | O_NOFOLLOW, mode & 0o777);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  // Another owner than root would be told by its mode alone; that the list can be read is what counts.
  await chown(temporary, uid, gid).catch(() => undefined);
  // Somebody else may have written since we read: then theirs counts, and we come again. Looked at and replaced in one breath.
  if (textNow(join(directory, name)) === present) {
    renameSync(temporary, join(directory, name));
    return;
  }
  await rm(temporary, { force: true });
  throw new Error(`${name} of the CNI folder has changed at this moment`);
}
