// Gives back what is free inside malloc's heap once the process has grown. A hundred TLS handshakes at a time leave as many holes of 20 KiB and more between
// what stays, which glibc keeps unless it is told otherwise: a tenth of a proxy with a thousand streams.
import type { Logger } from "pino";

import type { Libc } from "./redirect/libc.ts";

const lookEveryMs = 5_000;
/** Less is not worth walking through the heap, which takes some milliseconds. */
const growthBytes = 16 * 1024 * 1024;

export interface FreedMemoryOptions {
  /** Bytes that the process has in memory now. May throw: to ask costs a descriptor, and there may be none left. */
  readonly resident: () => number;
  /** The door to libc. May throw. */
  readonly libc: () => Promise<Libc>;
  /** Once: it is not tried again. */
  readonly onProblem: (problem: Error) => void;
}

/** From now on. Returns what calls it off. */
export function trimWhenGrown(logger: Logger): () => void {
  return trimFreedMemory({
    resident: () => process.memoryUsage.rss(),
    libc: async () => (await import("./redirect/libc.ts")).openLibc(),
    // It goes on as large as it is. Other C libraries than glibc have no such call, and no such heap.
    onProblem: (problem) => logger.info({ event: "freed-memory-kept", error: problem.message }),
  });
}

/** Returns what calls it off. */
export function trimFreedMemory({ resident, libc, onProblem }: FreedMemoryOptions): () => void {
  /** The least since it was last given back. */
  let least = Infinity;
  let trim: (() => void) | undefined;
  const hasGrown = (): boolean => {
    try {
      const now = resident();
      least = Math.min(least, now);
      return now - least >= growthBytes;
    } catch {
      // The next look will tell.
      return false;
    }
  };
  const look = async (): Promise<void> => {
    if (!hasGrown()) return;
    try {
      trim ??= trimmer(await libc());
      trim();
      least = Infinity;
      hasGrown();
    } catch (error) {
      clearInterval(timer);
      onProblem(error instanceof Error ? error : new Error(String(error)));
    }
  };
  hasGrown();
  const timer = setInterval(() => void look(), lookEveryMs).unref();
  return () => clearInterval(timer);
}

/** malloc_trim(3): since glibc 2.8 also of pages in the middle of the heap. */
function trimmer(libc: Libc): () => void {
  const call = libc.call("int malloc_trim(size_t pad)");
  return () => void call(0);
}
