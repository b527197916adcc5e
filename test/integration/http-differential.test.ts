// Random requests to the proxy and to other servers: where any two of those read different requests, none reaches the origin, and what does reach it
// they all read alike.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { reasonWithoutGo, skipped } from "../clients/toolchains.ts";
import { fuzz } from "../fuzz-http/fuzz.ts";
import { reasonWithoutNginx } from "../http-readers/readers.ts";
import { startWorld } from "../fuzz-http/world.ts";
import type { World } from "../fuzz-http/world.ts";

/** The same search on every machine; `make fuzz-http` searches longer. */
const seed = 5;
const runs = 1_500;
/** Where a machine is so slow that the runs are not done by then, they end there. */
const seconds = 30;
const lanes = 8;

const options = skipped(reasonWithoutGo() ?? (await reasonWithoutNginx()));
let world: World | undefined;

before(async () => {
  if (options.skip === false) world = await startWorld(lanes);
});

after(async () => {
  await world?.close();
});

test(
  "no request that Node, Go and nginx read differently reaches the origin, and what does they read alike",
  options,
  async () => {
    assert.ok(world !== undefined);
    const found = await fuzz(world, { seed, runs, seconds });
    assert.deepEqual(found.failures, []);
    assert.ok(found.played > 100, `${found.played} cases`);
    assert.ok(found.differing > found.played / 20, `they differ on ${found.differing} alone`);
    assert.ok(found.arrived > found.played / 20, `${found.arrived} arrived`);
  },
);
