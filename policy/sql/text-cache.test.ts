import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { createTextCache } from "./text-cache.ts";

describe("the text cache", () => {
  test("keeps what is asked for and forgets what is not", () => {
    const cache = createTextCache<number>(10, 1_000_000);
    cache.set("kept", 1, 0);
    cache.set("dropped", 2, 0);
    for (let index = 0; index < 50; index += 1) {
      cache.set(`other ${index}`, index, 0);
      assert.equal(cache.get("kept"), 1);
    }
    assert.equal(cache.get("dropped"), undefined);
  });

  test("never holds more entries or bytes than it may, and never a wrong value", () => {
    const text = fc.integer({ min: 0, max: 40 }).map((number) => `q${number}`.padEnd(number, "x"));
    fc.assert(
      fc.property(fc.array(fc.tuple(text, fc.boolean()), { maxLength: 200 }), (steps) => {
        const cache = createTextCache<string>(8, 2000);
        for (const [key, write] of steps) {
          if (write) cache.set(key, `value of ${key}`, 10);
          else assert.ok([undefined, `value of ${key}`].includes(cache.get(key)));
        }
        const held = Array.from({ length: 41 }, (_, number) =>
          `q${number}`.padEnd(number, "x"),
        ).filter((key) => cache.get(key) !== undefined);
        assert.ok(held.length <= 8);
        assert.ok(held.reduce((sum, key) => sum + key.length * 2 + 10, 0) <= 2000);
      }),
    );
  });

  test("does not keep one entry that takes a sixteenth of the whole", () => {
    const cache = createTextCache<number>(10, 1000);
    cache.set("x", 1, 100);
    assert.equal(cache.get("x"), undefined);
  });
});
