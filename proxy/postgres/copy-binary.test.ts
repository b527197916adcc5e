import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { maskBinaryCopyRow } from "./copy-binary.ts";
import { headerBytes, WireError } from "./framer.ts";
import type { RowPlan } from "./masking.ts";
import { backend, message } from "./messages.ts";

const header = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", "latin1");
const trailer = Buffer.of(0xff, 0xff);

function rowOf(fields: readonly (Buffer | null)[]): Buffer {
  const count = Buffer.alloc(2);
  count.writeInt16BE(fields.length);
  const parts = fields.flatMap((field) => {
    const length = Buffer.alloc(4);
    length.writeInt32BE(field?.length ?? -1);
    return field === null ? [length] : [length, field];
  });
  return Buffer.concat([count, ...parts]);
}

function masked(cells: RowPlan["cells"], body: Buffer, first: boolean): Buffer {
  const data = message(backend.copyData, body);
  // Among other bytes of its chunk.
  const chunk = Buffer.concat([Buffer.from("before"), data, Buffer.from("behind")]);
  const out = maskBinaryCopyRow(cells, {
    buffer: chunk,
    start: 6,
    end: 6 + data.length,
    first,
  });
  assert.equal(out[0], backend.copyData);
  assert.equal(out.readInt32BE(1), out.length - 1);
  return out.subarray(headerBytes);
}

const reversed = (buffer: Buffer, start: number, end: number): Buffer =>
  Buffer.from(buffer.subarray(start, end)).reverse();
const cellOf = {
  open: undefined,
  reversed,
  nulled: () => null,
  kept: () => undefined,
  constant: { bytes: Buffer.from("same") },
  constantNull: { bytes: null },
} as const;
type Kind = keyof typeof cellOf;

function expected(kind: Kind, field: Buffer | null): Buffer | null {
  if (kind === "constant") return Buffer.from("same");
  if (kind === "constantNull") return null;
  if (field === null || kind === "open" || kind === "kept") return field;
  return kind === "nulled" ? null : Buffer.from(field).reverse();
}

const field = fc.option(fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)));
const kinds: readonly Kind[] = ["open", "reversed", "nulled", "kept", "constant", "constantNull"];

test("each field of a binary row becomes what its mask makes of it, with the header before the first row and the trailer behind the last", () => {
  const column = fc.tuple(fc.constantFrom(...kinds), field);
  fc.assert(
    fc.property(fc.array(column, { maxLength: 8 }), fc.boolean(), (columns, first) => {
      const cells = columns.map(([kind]) => cellOf[kind]);
      const before = first ? [header] : [];
      const row = rowOf(columns.map(([, value]) => value));
      const shown = rowOf(columns.map(([kind, value]) => expected(kind, value)));
      assert.deepEqual(
        masked(cells, Buffer.concat([...before, row]), first),
        Buffer.concat([...before, shown]),
      );
      const end = Buffer.concat([...before, trailer]);
      assert.deepEqual(masked(cells, end, first), end);
    }),
  );
  assert.deepEqual(masked([undefined], header, true), header);
});

test("a message that is not laid out like one row to its last byte shows nothing", () => {
  const whole = rowOf([Buffer.from("123-45-6789"), null]);
  const cells = [reversed, undefined];
  for (let length = 0; length < whole.length; length++)
    assert.throws(() => masked(cells, whole.subarray(0, length), false), WireError);
  for (const body of [
    Buffer.concat([whole, whole]),
    Buffer.concat([whole, trailer]),
    Buffer.concat([trailer, whole]),
    Buffer.concat([header, whole]),
    rowOf([Buffer.from("123-45-6789")]),
    rowOf([null, null, null]),
    Buffer.from([0, 2, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff]),
    Buffer.from([0, 2, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
  ])
    assert.throws(() => masked(cells, body, false), WireError);
  const withOids = Buffer.from(header);
  withOids[12] = 1;
  for (const begin of [withOids, header.subarray(0, 18), Buffer.alloc(19), Buffer.alloc(0)])
    assert.throws(() => masked(cells, Buffer.concat([begin, whole]), true), WireError);
});
