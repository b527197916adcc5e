import assert from "node:assert/strict";
import { test } from "node:test";

import { Allowance, FloodWatch } from "./h2-flood.ts";

test("an allowance refills up to its capacity and no further", () => {
  const allowance = new Allowance(10, 5, 0);
  assert.equal(allowance.take(10, 0), 0);
  assert.ok(allowance.take(1, 0) < 0);
  assert.equal(allowance.take(0, 1_000), 4);
  assert.equal(allowance.take(0, 1_000_000), 10);
});

test("a client that asks and reads is never taken for a flood, however much it does", () => {
  const watch = new FloodWatch(0);
  let read = 0;
  for (let second = 1; second <= 60; second += 1) {
    for (let count = 0; count < 2_000; count += 1) {
      // A request of 300 bytes as literals, its body in 4 pieces of a byte each, the window updates for 4 pieces of its answer.
      watch.request([":method", "POST", ":path", "/".padEnd(200, "p"), "x", "y".repeat(60)]);
      for (let piece = 0; piece < 4; piece += 1) watch.piece(1);
      for (let piece = 0; piece < 4; piece += 1) watch.answered();
      read += 9 + 300 + 4 * 10 + 9 + 4 * 26;
    }
    assert.equal(watch.control(second * 1_000), false);
    assert.equal(watch.bytes(read, 0, second * 1_000), false, `second ${second}`);
  }
});

test("bytes that belong to no message end it, unless they may be bodies that wait", () => {
  const flooded = new FloodWatch(0);
  assert.equal(flooded.bytes(200_000, 0, 0), false);
  assert.equal(flooded.bytes(500_000, 0, 1_000), true);
  const waiting = new FloodWatch(0);
  assert.equal(waiting.bytes(1_000_000, 1_048_576, 0), false);
});

test("a burst of control frames or resets is borne, a stream of them is not", () => {
  const watch = new FloodWatch(0);
  const count = (take: () => boolean): number => {
    for (let taken = 0; ; taken += 1) if (take()) return taken;
  };
  assert.equal(
    count(() => watch.control(0)),
    100,
  );
  assert.equal(
    count(() => watch.reset(0)),
    1_100,
  );
});
