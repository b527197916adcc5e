import assert from "node:assert/strict";
import { test } from "node:test";
import { SlabPool, slabBytes } from "./slabs.ts";

test("a piece is used again once nobody holds it, and not before", () => {
  const pool = new SlabPool();
  const first = pool.take(10);
  first.hold();
  first.release();
  assert.notEqual(pool.take(10), first, "one holder is left");
  first.release();
  assert.equal(pool.take(10), first);
});

test("a line longer than a piece has one of its own, which is not kept", () => {
  const pool = new SlabPool();
  const long = pool.take(slabBytes + 1);
  assert.equal(long.bytes.length, slabBytes + 1);
  long.release();
  assert.notEqual(pool.take(slabBytes + 1), long);
});

test("a few unused pieces are kept, not all that a burst needed", () => {
  const pool = new SlabPool();
  const burst = Array.from({ length: 40 }, () => pool.take(1));
  for (const slab of burst) slab.release();
  const kept = Array.from({ length: 40 }, () => pool.take(1)).filter((slab) =>
    burst.includes(slab),
  );
  assert.equal(kept.length, 4);
});

test("a piece that is released once too often says so instead of being written twice at a time", () => {
  const slab = new SlabPool().take(1);
  slab.release();
  assert.throws(() => slab.release(), /released more often/);
});
