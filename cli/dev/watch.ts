// Notices changed manifests and quarantines of the state directory. Editors write in bursts, so a change counts once it is quiet.
import { readdirSync, statSync, watch, type FSWatcher } from "node:fs";
import { join } from "node:path";
import type { Quarantine } from "../../crds/types.gen.ts";
import { QuarantineFiles } from "./quarantine-files.ts";

const quietMs = 150;
/** A quarantine must bite within a second, whatever the filesystem tells or keeps from its watchers. */
const quarantinePollMs = 200;

/** Calls `changed` after each burst, one call at a time. */
export function watchManifests(paths: readonly string[], changed: () => Promise<void>): () => void {
  let timer: NodeJS.Timeout | undefined;
  let running = Promise.resolve();
  const touch = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      running = running.then(changed);
    }, quietMs);
    timer.unref();
  };
  const watchers: FSWatcher[] = paths.map((path) => {
    const watcher = watch(
      path,
      { recursive: statSync(path).isDirectory(), persistent: false },
      touch,
    );
    watcher.on("error", touch);
    return watcher;
  });
  return () => {
    clearTimeout(timer);
    for (const watcher of watchers) watcher.close();
  };
}

/** `chaperone quarantine` writes files; this reads them when the set changes. */
export function watchQuarantines(
  directory: string,
  changed: (list: readonly Quarantine[]) => void,
): () => void {
  let before = fingerprint(directory);
  const timer = setInterval(() => {
    const now = fingerprint(directory);
    if (now === before) return;
    before = now;
    changed(new QuarantineFiles(directory).list());
  }, quarantinePollMs);
  timer.unref();
  return () => clearInterval(timer);
}

function fingerprint(directory: string): string {
  return readdirSync(directory)
    .filter((file) => file.endsWith(".json"))
    .map(
      (file) =>
        `${file} ${statSync(join(directory, file), { throwIfNoEntry: false })?.mtimeMs ?? 0}`,
    )
    .sort()
    .join("\n");
}
