// What V8 does otherwise in a proxy, set while it runs: on the command line any of these flags would make Node refuse the compiled form of its own modules
// that it brings along, and compile them anew at each start (35 ms of a processor). The flags that do not are contract/node-flags.ts.
import { setDefaultHighWaterMark } from "node:stream";
import { setFlagsFromString } from "node:v8";

/** What every stream of this process may have waiting, each of its sides: a connection has several, and there may be a thousand. Node would have 64 KiB. */
const waitingBytes = 16 * 1024;

/** Before the first stream is made. */
export function boundStreams(): void {
  setDefaultHighWaterMark(false, waitingBytes);
}

/**
 * Before the SQL grammar is loaded: V8's optimising compiler takes 600 MiB for its one huge function, and makes it no faster. The later two
 * follow from the first where that stands on a command line.
 */
export function compileWasmOnce(): void {
  set("--liftoff-only", "--no-wasm-tier-up", "--no-wasm-dynamic-tiering");
}

/** Once it serves: a tenth of the processor of a busy proxy, within the same memory. */
export function collectAsServing(): void {
  set(
    // What dies young goes at once also while the old generation is being marked, as in V8 before version 12: else all of it waits for the end of
    // the marking, 13 MiB at full speed.
    "--no-separate-gc-phases",
    // The next marking when half as much again as was alive has been added, where V8 would have it after a third.
    "--heap-growing-percent=50",
    // What is made for one operation is short-lived, but under load enough of it outlives a collection that V8 comes to put it with what lives long,
    // for good: the whole heap is marked again and again then.
    "--no-allocation-site-pretenuring",
  );
}

function set(...flags: readonly string[]): void {
  for (const flag of flags) setFlagsFromString(flag);
}
