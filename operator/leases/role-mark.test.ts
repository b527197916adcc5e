import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { newRoleName, readMark, writeMark } from "./role-mark.ts";

const text = fc.string({ unit: "binary", maxLength: 40 });

test("what a role's comment says is read back as it was written", () => {
  fc.assert(
    fc.property(
      fc.record({
        installation: text,
        connection: text,
        database: text,
        podUid: text,
        namespace: text,
        pod: text,
        serviceAccount: text,
        expiresAt: fc.integer({ min: 0, max: 4_000_000_000_000 }),
      }),
      (mark) => assert.deepEqual(readMark(writeMark(mark)), { ...mark }),
    ),
  );
});

for (const comment of [
  null,
  "",
  "a role of the data team",
  "{",
  "null",
  "[]",
  "{}",
  '{"madeBy":"somebody"}',
  '{"madeBy":"chaperone.dev"}',
  '{"madeBy":"chaperone.dev","expires":"tomorrow"}',
])
  test(`${comment ?? "no comment"} is no mark of ours`, () =>
    assert.equal(readMark(comment), undefined));

test("names of roles are short, plain and never alike", () => {
  const names = Array.from({ length: 100 }, newRoleName);
  assert.equal(new Set(names).size, 100);
  for (const name of names) assert.match(name, /^chaperone_[0-9a-f]{16}$/);
});
