import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { partialBytes, partialText } from "./partial.ts";

test("bytes and text keep the same ends and hide the same middle, whatever the characters", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string({ unit: "grapheme" }),
    fc.string(),
  );
  const kept = fc.integer({ min: 0, max: 8 });
  fc.assert(
    fc.property(text, kept, kept, (value, first, last) => {
      const whole = value.toWellFormed();
      const bytes = partialBytes(Buffer.from(whole, "utf8"), first, last);
      assert.equal(bytes.toString("utf8"), partialText(whole, first, last));
    }),
    { numRuns: 1_500 },
  );
});

test("a value that is no longer than what would be kept is hidden whole", () => {
  assert.equal(partialText("4711", 2, 2), "****");
  assert.equal(partialBytes(Buffer.from("é7"), 1, 1).toString(), "**");
  assert.equal(partialText("47116", 2, 2), "47*16");
});
