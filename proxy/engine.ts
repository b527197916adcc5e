// What V8 does otherwise in a proxy, set while it runs: on the command line any of these flags would make Node refuse the compiled form of its own modules
// that it brings along, and compile them anew at each start (35 ms of a processor). The flags that do not are contract/node-flags.ts.
import { setFlagsFromString } from "node:v8";

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
    // The next marking when as much again as was alive has been added, where V8 would have it after a third.
    "--heap-growing-percent=100",
  );
}

function set(...flags: readonly string[]): void {
  for (const flag of flags) setFlagsFromString(flag);
}
