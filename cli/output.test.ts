import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { age, plain, table } from "./output.ts";

test("recorded text never reaches the terminal as a control sequence", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      // oxlint-disable-next-line no-control-regex -- exactly these are meant
      assert.doesNotMatch(plain(text), /[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/);
    }),
  );
  assert.equal(plain("a\u001b[31mb"), "a\ufffd[31mb");
});

test("a table aligns its columns and ends no line with blanks", () => {
  assert.equal(
    table(
      ["A", "LONG"],
      [
        ["xx", "y"],
        ["z", ""],
      ],
    ),
    "A   LONG\nxx  y\nz\n",
  );
});

test("ages are short", () => {
  const now = Date.parse("2026-11-20T10:00:00Z");
  assert.deepEqual(
    [
      "2026-11-20T09:59:30Z",
      "2026-11-20T09:30:00Z",
      "2026-11-20T02:00:00Z",
      "2026-11-10T10:00:00Z",
    ].map((time) => age(time, now)),
    ["30s", "30m", "8h", "10d"],
  );
});
