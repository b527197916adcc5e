import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MinuteCount, RateWindow } from "./limits.ts";

test("admits the limit at once and then refuses until time passes", () => {
  const window = new RateWindow(60_000);
  const taken = Array.from({ length: 8 }, () => window.take(1000, 5));
  assert.deepEqual(taken, [true, true, true, true, true, false, false, false]);
  assert.equal(
    window.take(1000 + 30_000, 5),
    false,
    "half a minute later the first five still count",
  );
  assert.equal(window.take(1000 + 121_000, 5), true, "two minutes later none does");
});

test("never admits more than twice the limit in any window, and about the limit over many", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 200 }),
      fc.integer({ min: 1, max: 20 }),
      (steps, limit) => {
        const window = new RateWindow(60_000);
        const admitted: number[] = [];
        let now = 1_000_000;
        for (const step of steps) {
          now += step;
          if (window.take(now, limit)) admitted.push(now);
        }
        for (const start of admitted)
          assert.ok(
            admitted.filter((at) => at >= start && at < start + 60_000).length <= 2 * limit,
          );
      },
    ),
  );
});

test("a minute's limit is free again when the minute of UTC ends, which is what a refusal says", () => {
  const count = new MinuteCount();
  const now = Date.parse("2026-11-30T10:00:50Z");
  assert.deepEqual(
    Array.from({ length: 3 }, () => count.take(now, 2)),
    [true, true, false],
  );
  assert.equal(count.waitMs(now), 10_000);
  assert.equal(count.take(now + 9_999, 2), false);
  assert.equal(count.take(now + 10_000, 2), true);
});
