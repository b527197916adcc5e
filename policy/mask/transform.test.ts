import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Transform } from "../bundle.ts";
import { createTransform } from "./transform.ts";

const key = Buffer.alloc(32, 7);
const apply = (transform: Transform, value: string | null): string | null =>
  createTransform(transform, key)(value);

describe("a transform of one value", () => {
  const cases: [string, Transform, string | null, string | null][] = [
    ["redact hides everything", { kind: "redact" }, "123-45-6789", "[redacted]"],
    ["nullify leaves nothing", { kind: "nullify" }, "x", null],
    ["tokenize keeps what a value looks like", { kind: "tokenize" }, "--/ .", "--/ ."],
    ["tokenize leaves NULL", { kind: "tokenize" }, null, null],
    ["fixed says what the policy says", { kind: "fixed", value: "n/a" }, "x", "n/a"],
    [
      "partial keeps the end",
      { kind: "partial", keepFirst: 0, keepLast: 4 },
      "123456789",
      "*****6789",
    ],
    [
      "partial keeps both ends",
      { kind: "partial", keepFirst: 2, keepLast: 2 },
      "abcdefg",
      "ab***fg",
    ],
    [
      "partial hides a value no longer than what it would keep",
      { kind: "partial", keepFirst: 2, keepLast: 2 },
      "abcd",
      "****",
    ],
    ["partial hides a shorter value", { kind: "partial", keepFirst: 0, keepLast: 4 }, "ab", "**"],
    [
      "partial counts code points, not halves of them",
      { kind: "partial", keepFirst: 1, keepLast: 1 },
      "🙂ab🙃",
      "🙂**🙃",
    ],
    ["partial of nothing is nothing", { kind: "partial", keepFirst: 1, keepLast: 1 }, "", ""],
    ["truncateDate to the year", { kind: "truncateDate", to: "year" }, "1984-05-17", "1984-01-01"],
    [
      "truncateDate to the month",
      { kind: "truncateDate", to: "month" },
      "1984-05-17 10:11:12.5+02",
      "1984-05-01",
    ],
    [
      "truncateDate to the day",
      { kind: "truncateDate", to: "day" },
      "1984-05-17T10:11:12Z",
      "1984-05-17",
    ],
    [
      "truncateDate hides what it cannot read",
      { kind: "truncateDate", to: "year" },
      "17.05.1984",
      "[redacted]",
    ],
    [
      "truncateDate hides dates before Christ",
      { kind: "truncateDate", to: "year" },
      "0044-03-15 BC",
      "[redacted]",
    ],
    ["NULL stays NULL", { kind: "redact" }, null, null],
    ["NULL stays NULL under fixed", { kind: "fixed", value: "x" }, null, null],
  ];
  for (const [title, transform, value, expected] of cases)
    test(title, () => assert.equal(apply(transform, value), expected));

  test("hash is stable under one key, differs under another, and shows nothing of the value", () => {
    const one = apply({ kind: "hash" }, "123-45-6789");
    assert.match(one ?? "", /^[0-9a-f]{32}$/);
    assert.equal(apply({ kind: "hash" }, "123-45-6789"), one);
    assert.notEqual(createTransform({ kind: "hash" }, Buffer.alloc(32, 8))("123-45-6789"), one);
  });

  test("partial never shows more than it says", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary" }),
        fc.nat(6),
        fc.nat(6),
        (value, keepFirst, keepLast) => {
          const masked = Array.from(apply({ kind: "partial", keepFirst, keepLast }, value) ?? "");
          const original = Array.from(value);
          assert.equal(masked.length, original.length);
          for (const [index, character] of masked.entries()) {
            const kept =
              original.length > keepFirst + keepLast &&
              (index < keepFirst || index >= original.length - keepLast);
            assert.equal(character, kept ? original[index] : "*");
          }
        },
      ),
    );
  });
});
