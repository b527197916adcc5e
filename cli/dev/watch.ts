// Notices changed manifests and quarantines of the state directory by looking at them: watchers of the operating system lose
// files that are replaced by renaming, which is how editors, git and mounted ConfigMaps write.
import { readdirSync, statSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { listManifestFiles } from "../../crds/manifest-files.ts";
import type { Quarantine } from "../../crds/types.gen.ts";
import { QuarantineFiles } from "./quarantine-files.ts";

/** Editors write in bursts: a change counts once two looks see the same. Both, and what follows, fit well into a second. */
const manifestPollMs = 150;
/** Looking at thousands of manifests may take this share of the time at most. */
const maxLookingShare = 0.25;
/** A quarantine must bite within a second. */
const quarantinePollMs = 200;

/** What the manifests look like from outside; changes when any of them does. Never rejects. */
export async function manifestFingerprint(paths: readonly string[]): Promise<string> {
  try {
    const files = (await Promise.all(paths.map(listManifestFiles))).flat();
    const lines: string[] = [];
    for (const file of files) {
      const { ino, size, mtimeMs, ctimeMs } = await stat(file);
      lines.push(`${file} ${ino} ${size} ${mtimeMs} ${ctimeMs}`);
    }
    return lines.join("\n");
  } catch (error) {
    // A path that cannot be read is a change as well; reading the manifests says what is wrong with it.
    return String(error);
  }
}

/**
 * Calls `changed` after each burst, one call at a time.
 *
 * @param loaded fingerprint of what is in force, taken before it was read
 */
export function watchManifests(
  paths: readonly string[],
  loaded: string,
  changed: () => Promise<void>,
): () => Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  let wake: () => void = () => undefined;
  let stopped = false;
  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      timer = setTimeout(resolve, ms).unref();
    });
  const follow = async (): Promise<void> => {
    let inForce = loaded;
    let before = loaded;
    while (!stopped) {
      const started = performance.now();
      const now = await manifestFingerprint(paths);
      const tookMs = performance.now() - started;
      if (now !== inForce && now === before && !stopped) {
        inForce = now;
        await changed();
      }
      before = now;
      await pause(Math.max(manifestPollMs, tookMs / maxLookingShare));
    }
  };
  const following = follow();
  return async () => {
    stopped = true;
    clearTimeout(timer);
    wake();
    await following;
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
