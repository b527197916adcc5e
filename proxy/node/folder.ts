// Looks into a folder whenever something changes there.
import { watch, type FSWatcher } from "node:fs";

export interface FolderWatch {
  close(): void;
}

/**
 * The kernel tells of changes at once (inotify(7)). It loses some when too many come, and refuses to tell of any where the node has used up its watches (other
 * agents take many): so the folder is looked into every so often as well, and that alone has to be enough.
 */
export function watchFolder(
  directory: string,
  everyMs: number,
  look: () => void,
  onError: (error: unknown) => void,
  start: typeof watch = watch,
): FolderWatch {
  const timer = setInterval(look, everyMs);
  let watcher: FSWatcher | undefined;
  try {
    watcher = start(directory, look);
    watcher.on("error", onError);
  } catch (error) {
    onError(error);
  }
  return {
    close() {
      clearInterval(timer);
      watcher?.close();
    },
  };
}
