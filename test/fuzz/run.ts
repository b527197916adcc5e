// `make fuzz`: random cases for so many seconds from a seed; a failing one is shrunk and printed as an entry for test/fuzz/corpus.
//
//   FUZZ_SECONDS=600 FUZZ_SEED=7 FUZZ_MODE=hostile make fuzz
import { fuzz } from "./fuzz.ts";
import type { Mode } from "./judge.ts";
import { startWorld } from "./world.ts";

const seconds = Number(process.env["FUZZ_SECONDS"] ?? 60);
const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 2 ** 31);
const modes: readonly Mode[] = ["valid", "hostile", "denied"];
const chosen = modes.filter((mode) => (process.env["FUZZ_MODE"] ?? mode) === mode);

const world = await startWorld();
let failed = false;
try {
  for (const mode of chosen) {
    const found = await fuzz(world, mode, { seed, seconds: seconds / chosen.length });
    process.stdout.write(`${found.summary}\n`);
    failed ||= found.failed;
  }
} finally {
  await world.close();
}
if (failed) process.exitCode = 1;
