// `make fuzz-http`: random requests for so many seconds from a seed, to the proxy and to other servers; what must not be is printed.
//
//   FUZZ_SECONDS=600 FUZZ_SEED=7 make fuzz-http
import { fuzz } from "./fuzz.ts";
import { startWorld } from "./world.ts";

const seconds = Number(process.env["FUZZ_SECONDS"] ?? 60);
const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 2 ** 31);
const lanes = 16;
/** Far more than a second can play. */
const casesPerSecond = 2_000;

const world = await startWorld(lanes);
try {
  const found = await fuzz(world, { seed, runs: seconds * casesPerSecond, seconds });
  const names = world.readers.map(({ name }) => name).join(", ");
  process.stdout.write(
    `seed ${seed}: ${found.played} cases against ${names}; on ${found.differing} they differ; ${found.arrived} requests arrived\n`,
  );
  for (const failure of found.failures) process.stdout.write(`${failure}\n`);
  if (found.failures.length > 0) process.exitCode = 1;
} finally {
  await world.close();
}
