import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readRowDescription } from "./decode.ts";
import { backend, message } from "./messages.ts";
import { PlanMemo } from "./plan-memo.ts";

function describedAs(
  fields: readonly { readonly name: string; readonly numbers: number[] }[],
): Buffer {
  const parts: Buffer[] = [Buffer.from([0, fields.length])];
  for (const { name, numbers } of fields) {
    const rest = Buffer.alloc(18);
    const [table = 0, attribute = 0, type = 0, format = 0] = numbers;
    rest.writeUInt32BE(table, 0);
    rest.writeInt16BE(attribute, 4);
    rest.writeUInt32BE(type, 6);
    rest.writeInt16BE(format, 16);
    parts.push(Buffer.from(`${name}\0`), rest);
  }
  return message(backend.rowDescription, Buffer.concat(parts));
}

const anyDescription = fc
  .array(
    fc.record({
      name: fc.constantFrom("a", "b", "long name"),
      numbers: fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3), fc.nat(1)).map((numbers) => [...numbers]),
    }),
    { maxLength: 3 },
  )
  .map(describedAs);

test("fields are those of the very bytes, whatever came before for the same text", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({ text: fc.constantFrom("one", "two"), bytes: anyDescription, at: fc.nat(9) }),
      ),
      (steps) => {
        const memo = new PlanMemo();
        for (const { text, bytes, at } of steps) {
          const buffer = Buffer.concat([Buffer.alloc(at, 1), bytes, Buffer.alloc(3, 1)]);
          const end = at + bytes.length;
          const fields = memo.fields(text, buffer, at, end);
          assert.deepEqual(fields, readRowDescription(buffer, at, end));
          assert.equal(memo.fields(text, buffer, at, end), fields);
        }
      },
    ),
  );
});

test("a plan is found for the fields it was made for and for no others", () => {
  const memo = new PlanMemo();
  const [one, other] = [1, 2].map((table) => describedAs([{ name: "a", numbers: [table, 1] }]));
  assert.ok(one !== undefined && other !== undefined);
  const plan = { cells: [], columns: ["a.b.c"] };
  const fields = memo.fields("t", one, 0, one.length);
  assert.equal(memo.find("t", fields), undefined);
  memo.keep("t", fields, plan);
  assert.deepEqual(memo.find("t", memo.fields("t", one, 0, one.length)), { of: plan });
  assert.equal(memo.find("t", memo.fields("t", other, 0, other.length)), undefined);
  assert.equal(memo.find("t", fields), undefined, "the table was another meanwhile");
  memo.keep("t", fields, plan);
  assert.equal(memo.find("t", memo.fields("t", other, 0, other.length)), undefined);
});
