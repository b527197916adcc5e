import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Framer, maxInspectedBytes, WireError } from "./framer.ts";
import type { FrameSink } from "./framer.ts";
import { message } from "./messages.ts";

const copyData = 0x64;

/** Puts messages together again, so that whole and in pieces compare equal. */
class Collector implements FrameSink {
  blocked = false;
  readonly messages: Buffer[] = [];
  #pieces: Buffer[] = [];
  /** Blocks after each message until released, as a held operation does. */
  blocksAfterEach = false;

  readonly oversized: number[] = [];

  oversize(_type: number, total: number): void {
    this.oversized.push(total);
  }

  admits(): boolean {
    return true;
  }

  limit(type: number): number {
    return type === copyData ? 0 : maxInspectedBytes;
  }

  message(_type: number, buffer: Buffer, start: number, end: number): void {
    this.messages.push(Buffer.from(buffer.subarray(start, end)));
    this.blocked = this.blocksAfterEach;
  }

  piece(_type: number, buffer: Buffer, start: number, end: number, last: boolean): void {
    this.#pieces.push(Buffer.from(buffer.subarray(start, end)));
    if (last) this.messages.push(Buffer.concat(this.#pieces.splice(0)));
  }
}

const anyMessages = fc.array(
  fc.tuple(fc.constantFrom(0x51, 0x50, copyData, 0x53), fc.uint8Array({ maxLength: 40 })),
  { minLength: 1, maxLength: 8 },
);

function split(stream: Buffer, cuts: readonly number[]): Buffer[] {
  const points = [...new Set(cuts.map((cut) => cut % (stream.length + 1)))].sort((a, b) => a - b);
  const chunks: Buffer[] = [];
  let from = 0;
  for (const point of [...points, stream.length]) {
    chunks.push(stream.subarray(from, point));
    from = point;
  }
  return chunks;
}

test("every split of a stream gives the same messages", () => {
  fc.assert(
    fc.property(anyMessages, fc.array(fc.nat(), { maxLength: 12 }), (parts, cuts) => {
      const expected = parts.map(([type, body]) => message(type, Buffer.from(body)));
      const sink = new Collector();
      const framer = new Framer(sink);
      for (const chunk of split(Buffer.concat(expected), cuts)) framer.push(chunk);
      assert.deepEqual(sink.messages, expected);
      assert.equal(framer.atBoundary, true);
    }),
  );
});

test("every single split point of one stream gives the same messages", () => {
  const expected = [
    message(0x50, Buffer.from("name\0SELECT 1\0\0\0")),
    message(copyData, Buffer.alloc(20, 1)),
    message(0x53, Buffer.alloc(0)),
  ];
  const stream = Buffer.concat(expected);
  for (let point = 0; point <= stream.length; point++) {
    const sink = new Collector();
    const framer = new Framer(sink);
    framer.push(stream.subarray(0, point));
    framer.push(stream.subarray(point));
    assert.deepEqual(sink.messages, expected, `split at ${point}`);
  }
});

test("a blocked sink gets nothing until it is released, and loses nothing", () => {
  fc.assert(
    fc.property(anyMessages, fc.array(fc.nat(), { maxLength: 6 }), (parts, cuts) => {
      const inspected = parts.map(([, body]) => message(0x51, Buffer.from(body)));
      const sink = new Collector();
      sink.blocksAfterEach = true;
      const framer = new Framer(sink);
      for (const chunk of split(Buffer.concat(inspected), cuts)) framer.push(chunk);
      let seen = 0;
      while (sink.blocked) {
        assert.equal(sink.messages.length, seen + 1);
        seen += 1;
        sink.blocked = false;
        framer.resume();
      }
      assert.deepEqual(sink.messages, inspected);
      assert.equal(framer.waitingBytes, 0);
    }),
  );
});

test("hostile bytes are a WireError or more messages, never anything else", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 20 }), (chunks) => {
      const framer = new Framer(new Collector());
      try {
        for (const chunk of chunks) framer.push(Buffer.from(chunk));
      } catch (error) {
        assert.ok(error instanceof WireError);
      }
    }),
  );
});

test("an inspected message longer than the limit is told before its body is awaited, read past, and what follows is whole", () => {
  const before = message(0x53, Buffer.alloc(0));
  const large = message(0x51, Buffer.alloc(maxInspectedBytes));
  const after = message(0x50, Buffer.from("after"));
  const stream = Buffer.concat([before, large, after]);
  fc.assert(
    fc.property(fc.array(fc.nat(), { minLength: 20, maxLength: 60 }), (cuts) => {
      const sink = new Collector();
      const framer = new Framer(sink);
      framer.push(stream.subarray(0, before.length + 7));
      assert.deepEqual(sink.oversized, [large.length]);
      for (const chunk of split(stream.subarray(before.length + 7), cuts)) framer.push(chunk);
      assert.deepEqual(sink.messages, [before, after]);
      assert.deepEqual(sink.oversized, [large.length]);
      assert.ok(framer.atBoundary);
    }),
    { numRuns: 20 },
  );
});

test("a message that says it is endless is no message", () => {
  const framer = new Framer(new Collector());
  const header = Buffer.from([0x51, 0, 0, 0, 0]);
  header.writeInt32BE(0x7f_ff_ff_ff, 1);
  assert.throws(() => framer.push(header), WireError);
});

test("a large uninspected message is handed over as its bytes come, without gathering them", () => {
  const sink = new Collector();
  const lengths: number[] = [];
  sink.piece = (_type, _buffer, start, end) => void lengths.push(end - start);
  const framer = new Framer(sink);
  const large = message(copyData, Buffer.alloc(1000));
  for (let at = 0; at < large.length; at += 100) framer.push(large.subarray(at, at + 100));
  assert.deepEqual(lengths, [5, 95, 100, 100, 100, 100, 100, 100, 100, 100, 100, 5]);
});

test("a framer is at rest only when no message is being handed over and no bytes wait", () => {
  const seen: boolean[] = [];
  const collector = new Collector();
  const framer = new Framer({
    get blocked() {
      return collector.blocked;
    },
    limit: (type) => collector.limit(type),
    admits: () => true,
    oversize: () => undefined,
    piece: () => undefined,
    message: (type, buffer, start, end) => {
      seen.push(framer.atRest);
      collector.message(type, buffer, start, end);
    },
  });
  assert.equal(framer.atRest, true);
  collector.blocksAfterEach = true;
  const one = message(0x51, Buffer.from("one\0"));
  framer.push(Buffer.concat([one, one]));
  assert.equal(framer.atRest, false);
  collector.blocked = false;
  framer.resume();
  assert.deepEqual(seen, [false, false]);
  assert.equal(framer.atRest, true);
});
