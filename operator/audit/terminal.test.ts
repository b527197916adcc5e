import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { cells, clip, escapeLine, escapeLines, pad, paint, wrap } from "./terminal.ts";

const hostile = fc.string({
  unit: fc.oneof(
    fc.constantFrom(
      "\u001b[2J",
      "\u009b31m",
      "\r",
      "\n",
      "\t",
      "\b",
      "\u202e",
      "\u2066",
      "\u200b",
      "\u2028",
      "\u0000",
      "\u007f",
      "\ud800",
      "\u{e0041}",
      "漢",
      "é",
      "😀",
      " ",
    ),
    fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
  ),
});

test("no escaped text holds a character that a terminal could obey or hide", () => {
  fc.assert(
    fc.property(hostile, (text) => {
      for (const line of [escapeLine(text), ...escapeLines(text)]) {
        assert.doesNotMatch(line, /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Bidi_Control}]/u);
        assert.doesNotMatch(line.replaceAll("\u200d", ""), /\p{Cf}/u);
      }
    }),
    { numRuns: 500 },
  );
});

test("controls show as the escapes that people know", () => {
  assert.equal(
    escapeLine("a\u001b[31m\r\n\t\u009b\u202e\u{e0041}\u0000"),
    "a\\x1b[31m\\r\\n\\t\\x9b\\u202e\\u{e0041}\\x00",
  );
  assert.deepEqual(escapeLines("one\r\ntwo\n\tthree\rx"), ["one", "two", "    three\\rx"]);
});

test("ordinary text in any script is left as it is", () => {
  for (const text of ["SELECT 'Grüße' -- ok", "漢字 かな 한글", "مرحبا", "🧑‍🚀 done"])
    assert.equal(escapeLine(text), text);
});

test("cells are counted as terminals draw them", () => {
  const table: [string, number][] = [
    ["abc", 3],
    ["漢字", 4],
    ["e\u0301", 1],
    ["😀", 2],
    ["한글", 4],
    ["", 0],
  ];
  for (const [text, expected] of table) assert.equal(cells(text), expected, text);
});

test("wrapping keeps every character and no line is wider than asked, however narrow", () => {
  fc.assert(
    fc.property(hostile, fc.integer({ min: 2, max: 40 }), (text, width) => {
      const line = escapeLine(text);
      const lines = wrap(line, width);
      assert.equal(lines.join("").replaceAll(" ", ""), line.replaceAll(" ", ""));
      for (const one of lines) assert.ok(cells(one) <= width, `${cells(one)} > ${width}: ${one}`);
    }),
    { numRuns: 300 },
  );
});

test("clipping and padding give exactly the width", () => {
  assert.equal(clip("abcdef", 4), "abc…");
  assert.equal(clip("漢字漢字", 5), "漢字…");
  assert.equal(clip("abc", 3), "abc");
  assert.equal(pad("漢", 4), "漢  ");
});

test("colour appears only when it is asked for", () => {
  assert.equal(paint("allow", "green", true), "\u001b[32mallow\u001b[0m");
  assert.equal(paint("allow", "green", false), "allow");
});
