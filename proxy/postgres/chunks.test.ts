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

test("what is forgotten gives its room to what comes next, and what is not forgotten keeps its own", () => {
  const chunks = new Chunks();
  const first = chunks.keep(Buffer.from("first"));
  const second = chunks.keep(Buffer.from("second"));
  assert.deepEqual([first.toString(), second.toString()], ["first", "second"]);
  chunks.forget();
  const third = chunks.keep(Buffer.from("third"));
  assert.equal(third.buffer, first.buffer);
  assert.equal(third.byteOffset, first.byteOffset);
  assert.deepEqual([third.toString(), chunks.keep(Buffer.from("4")).toString()], ["third", "4"]);
  assert.equal(third.toString(), "third");
  chunks.forget();
  assert.equal(chunks.keep(Buffer.from("short")).toString(), "short");
  chunks.forget();
  assert.equal(chunks.keep(Buffer.from("longer than that")).toString(), "longer than that");
});
