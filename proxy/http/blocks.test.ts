import assert from "node:assert/strict";
import { test } from "node:test";

import { Blocks } from "./blocks.ts";

test("bytes come out in the order in which they were added, cut in whatever way", () => {
  const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, at) => at % 251));
  for (const cut of [1, 7, 256, 1_000, 16_384, 20_000, 70_000]) {
    const blocks = new Blocks();
    for (let at = 0; at < bytes.length; at += cut) blocks.add(bytes.subarray(at, at + cut));
    assert.equal(blocks.length, bytes.length);
    assert.ok(blocks.whole().equals(bytes), `in pieces of ${cut}`);
  }
  assert.equal(new Blocks().whole().length, 0);
});

test("what a caller does with its piece afterwards changes nothing, and what is added later stands behind it", () => {
  const blocks = new Blocks();
  const piece = Buffer.from("first ");
  blocks.add(piece);
  piece.fill("x");
  const whole = blocks.whole();
  blocks.add(Buffer.from("second"));
  assert.equal(whole.toString(), "first ");
  assert.equal(blocks.whole().toString(), "first second");
});
