import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { apart, Chunks } from "./chunks.ts";

test("chunks keep their bytes whatever is read behind them", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 700 }), { maxLength: 40 }), (reads) => {
      const chunks = new Chunks();
      // As all connections are read: into one buffer.
      const shared = Buffer.alloc(1024);
      const kept = reads.map((bytes) => {
        shared.set(bytes);
        return chunks.keep(shared.subarray(0, bytes.length));
      });
      assert.deepEqual(
        kept,
        reads.map((bytes) => Buffer.from(bytes)),
      );
    }),
  );
});

test("a chunk that waits keeps no more than its connection's slab in memory, and a long one itself alone", () => {
  const chunks = new Chunks();
  const one = chunks.keep(Buffer.from("x"));
  assert.ok(one.buffer.byteLength <= 4096);
  assert.equal(chunks.keep(Buffer.from("y")).buffer, one.buffer);
  assert.notEqual(new Chunks().keep(Buffer.from("z")).buffer, one.buffer);
  assert.equal(chunks.keep(Buffer.alloc(2000)).buffer.byteLength, 2000);
  assert.equal(apart(Buffer.from("parameters")).buffer.byteLength, 10);
});
