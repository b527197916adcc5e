import assert from "node:assert/strict";
import { test } from "node:test";
import canonicalize from "canonicalize";
import fc from "fast-check";
import { canonicalJson, CanonicalWriter, NotCanonical, sha256, stable } from "./canonical.ts";

const jsonValue = fc.jsonValue({ maxDepth: 4, stringUnit: "grapheme" });

test("canonical JSON is what the canonicalize package says, for every JSON value", () => {
  fc.assert(
    fc.property(jsonValue, (value) => {
      assert.equal(canonicalJson(value), canonicalize(value));
    }),
    { numRuns: 500 },
  );
});

test("a number has the form that ECMAScript gives it, whole, in tenths or neither", () => {
  const numbers = fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.maxSafeNat().map((many) => many / 10),
    fc.nat().map((tenths) => tenths / 10),
    fc.nat(2_000).map((tenths) => tenths * 0.1),
    fc.nat(1_000).map((below) => 100_000_000 - below / 10),
    fc.constantFrom(0, -0, 9, 10, 99, 100, 99_999_999, 100_000_000, 2 ** 31, 2 ** 32, 0.95, 0.05),
  );
  fc.assert(
    fc.property(numbers, (number) => {
      assert.equal(canonicalJson(number), JSON.stringify(number));
    }),
    { numRuns: 3_000 },
  );
});

test("strings of every length and alphabet are written as JSON.stringify writes them", () => {
  const strings = fc.oneof(
    fc.string({ maxLength: 80 }),
    fc.string({ unit: "binary", maxLength: 80 }),
    fc.string({
      unit: fc.constantFrom("a", '"', "\\", "\u007f", "\u0080", "é", "€"),
      maxLength: 60,
    }),
  );
  fc.assert(
    fc.property(strings, (text) => {
      if (text.isWellFormed()) assert.equal(canonicalJson(text), JSON.stringify(text));
      else assert.throws(() => canonicalJson(text), NotCanonical);
    }),
    { numRuns: 1_000 },
  );
});

test("canonical JSON orders members by UTF-16 code unit and writes numbers as RFC 8785 appendix B does", () => {
  assert.equal(
    canonicalJson({
      "\u20ac": 1,
      "\r": 2,
      "\ufb33": 3,
      "1": 4,
      "\ud83d\ude00": 5,
      "\u0080": 6,
      "\u00f6": 7,
    }),
    '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\ud83d\ude00":5,"\ufb33":3}',
  );
  assert.equal(
    canonicalJson([1e21, 333333333.3333333, 1e-27, -0, 4.5, 2e-3]),
    "[1e+21,333333333.3333333,1e-27,0,4.5,0.002]",
  );
});

test("members that are undefined are left out, and the same names in another order are the same text", () => {
  const text = '{"a":1,"b":{"c":2}}';
  assert.equal(canonicalJson({ b: { c: 2, d: undefined }, a: 1, z: undefined }), text);
  assert.equal(canonicalJson({ a: 1, b: { d: undefined, c: 2 } }), text);
  assert.equal(canonicalJson({ a: undefined }), "{}");
  assert.equal(canonicalJson([undefined, {}, []]), "[null,{},[]]");
});

test("canonical JSON refuses what JSON cannot carry instead of writing something else", () => {
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  for (const value of [
    Number.NaN,
    Infinity,
    1n,
    () => 1,
    Symbol("x"),
    "\ud800",
    { "\udc00": 1 },
    cycle,
  ]) {
    assert.throws(() => canonicalJson({ value }), NotCanonical);
    assert.equal(canonicalJson({ after: "it" }), '{"after":"it"}', "and goes on");
  }
});

test("what was said to be stable is written once, and then as it was", () => {
  const part = stable({ b: "é".repeat(40), a: [1, { d: 2, c: 3 }] });
  const whole = { part, again: part };
  const text = canonicalize(whole);
  assert.equal(canonicalJson(whole), text);
  assert.equal(canonicalJson(whole), text);
});

test("more names than are remembered, and texts larger than are kept, are written all the same", () => {
  const out = new CanonicalWriter();
  for (let index = 0; index < 5_000; index += 1) {
    const value = { [`z${index}`]: index, [`a${index}`]: "x".repeat(index % 40), m: { index } };
    out.reset();
    out.value(value);
    assert.equal(out.toString(), canonicalize(value));
  }
  const large = { text: "ä".repeat(400_000), rest: [1, 2, 3] };
  out.reset();
  out.value(large);
  assert.equal(out.toString(), canonicalize(large));
  assert.equal(out.hash(0), sha256(canonicalize(large) ?? ""));
  out.reset();
  out.value({ small: true });
  assert.equal(out.toString(), '{"small":true}');
});
