// Random sessions against PostgreSQL directly and through the proxy: the same answers, byte for byte where they must be, or a refusal in their place.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { corpus } from "../fuzz/corpus.ts";
import { fuzz } from "../fuzz/fuzz.ts";
import type { Mode } from "../fuzz/judge.ts";
import { startWorld } from "../fuzz/world.ts";
import type { World } from "../fuzz/world.ts";
import { cases } from "./search-length.ts";

/** A fixed seed and a fixed number of cases: the same search on every machine. `make fuzz` searches longer, with other seeds. */
const searches: readonly { mode: Mode; seed: number; runs: number; title: string }[] = [
  {
    mode: "valid",
    seed: 20,
    runs: cases(60),
    title: "any session is answered as by the server itself",
  },
  {
    mode: "hostile",
    seed: 4,
    runs: cases(80),
    title: "what is not the protocol ends alike, or with a sentence of ours, and never hangs",
  },
  {
    mode: "denied",
    seed: 2,
    runs: cases(50),
    title:
      "a denied statement fails like one that the server itself refuses, and takes its transaction with it",
  },
];
/** Where a machine is so slow that the runs are not done by then, something hangs. */
const maxSeconds = cases(120);

let world: World;

before(async () => {
  world = await startWorld();
});

after(async () => {
  await world?.close();
});

for (const { name, mode, fuzzCase, whole } of corpus())
  test(`a session that once differed does not: ${name}`, async () => {
    const verdict = await world.run(fuzzCase, mode);
    if (whole) assert.deepEqual(verdict, { same: true });
  });

for (const { mode, seed, runs, title } of searches)
  test(`${title} (${runs} random ones)`, async () => {
    const found = await fuzz(world, mode, { seed, runs, seconds: maxSeconds });
    assert.equal(found.failed, false, found.summary);
    assert.equal(found.cases, runs, "all of them were played");
    // The search must not end at refusals: most of it is compared to the end.
    if (mode !== "hostile") assert.ok(found.whole > runs / 2, found.summary);
  });
