// Gives back what starting took and serving does not need: garbage and young generation of V8's heap, and the pages of Node's own program file that
// only its start read. Once, when nobody waits for an answer; a proxy is paid for in every pod, and most of them are idle most of the time.
import { readFileSync, readlinkSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import type { Libc } from "./redirect/libc.ts";

/** After it is ready: what the pod asks first comes before this, which takes 50 ms of a processor. */
const firstMs = 1_000;
/** Where somebody is being served then, it is tried again. */
const againMs = 5_000;
/** A proxy that is never idle has no use for it. */
const maxTries = 60;

/** madvise(2): the pages leave the process, and come back from the file when they are touched. */
const madvDontNeed = 4;

export interface StartMemoryOptions {
  readonly isBusy: () => boolean;
  /** Once, with what could not be done, if anything. */
  readonly onDone: (problem?: Error) => void;
  /** The door to libc. May throw. */
  readonly libc: () => Promise<Libc>;
}

/** Returns what calls it off. */
export function releaseStartMemory(options: StartMemoryOptions): () => void {
  let timer: NodeJS.Timeout | undefined;
  let tries = 0;
  const attempt = (): void => {
    tries += 1;
    if (!options.isBusy()) void release(options);
    else if (tries < maxTries) timer = setTimeout(attempt, againMs).unref();
  };
  timer = setTimeout(attempt, firstMs).unref();
  return () => clearTimeout(timer);
}

async function release({ libc, onDone }: StartMemoryOptions): Promise<void> {
  try {
    collectAll();
    dropProgramPages(await libc());
    onDone();
  } catch (error) {
    onDone(error instanceof Error ? error : new Error(String(error)));
  }
}

/** The collection that V8 makes before it would give up: it also gives back the pages of the young generation. */
function collectAll(): void {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  setFlagsFromString("--no-expose-gc");
  if (typeof collect !== "function") throw new Error("V8 has no collection to call");
  Reflect.apply(collect, undefined, [{ type: "major", execution: "sync", flavor: "last-resort" }]);
}

function dropProgramPages(libc: Libc): void {
  const madvise = libc.call("int madvise(uintptr_t addr, size_t length, int advice)");
  const program = readlinkSync("/proc/self/exe");
  for (const { start, end } of cleanRanges(readFileSync("/proc/self/smaps", "latin1"), program))
    if (madvise(start, end - start, madvDontNeed) !== 0)
      throw new Error(`madvise failed with errno ${libc.errno()}`);
}

export interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * Mappings of this file that nobody may write to and nobody ever wrote to: what is in them is in the file. (What the dynamic
 * linker relocated and then made read-only is not.)
 *
 * @param smaps proc(5)
 */
export function cleanRanges(smaps: string, file: string): Range[] {
  const ranges: Range[] = [];
  let range: Range | undefined;
  for (const line of smaps.split("\n")) {
    const [, start, end, mode = "", path] = mappingPattern.exec(line) ?? [];
    if (start !== undefined && end !== undefined) {
      const isRead = path === file && (mode === "r-xp" || mode === "r--p");
      range = isRead
        ? { start: Number.parseInt(start, 16), end: Number.parseInt(end, 16) }
        : undefined;
    } else if (range !== undefined && /^Anonymous:\s+0 kB$/.test(line)) {
      ranges.push(range);
      range = undefined;
    }
  }
  return ranges;
}

const mappingPattern = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+\s+(\S.*)$/;
