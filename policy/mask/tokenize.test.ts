import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createTokenize } from "./tokenize.ts";

const key = Buffer.alloc(32, 7);
const tokenize = createTokenize(key);

test("a token has the length and the classes of its value, and the rest of it", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme-ascii", maxLength: 100 }), (value) => {
      const classes = (text: string) =>
        text.replace(/\d/g, "9").replace(/[a-z]/g, "a").replace(/[A-Z]/g, "A");
      assert.equal(classes(tokenize(value)), classes(value));
      assert.equal(tokenize(value), tokenize(value));
    }),
  );
});

test("values of one pattern never share a token: every number of three digits has its own", () => {
  const tokens = new Set<string>();
  for (let number = 0; number < 1000; number++)
    tokens.add(tokenize(`A-${String(number).padStart(3, "0")}`));
  assert.equal(tokens.size, 1000);
});

test("another key gives other tokens, and a token tells nothing of its neighbours", () => {
  const other = createTokenize(Buffer.alloc(32, 8));
  const ssn = "123-45-6789";
  assert.match(tokenize(ssn), /^\d{3}-\d\d-\d{4}$/);
  assert.notEqual(tokenize(ssn), other(ssn));
  assert.notEqual(tokenize(ssn).slice(0, 6), tokenize("123-45-6780").slice(0, 6));
});

test("letters and digits of other scripts do not stay, nor does a long text", () => {
  assert.match(tokenize("Ωλ-٣"), /^[A-Z][a-z]-\d$/);
  assert.equal(tokenize("Zoë").length, 3);
  assert.doesNotMatch(tokenize("naïve Straße"), /[ïß]/);
  const long = "The quick brown fox jumps over the lazy dog. ".repeat(5);
  const token = tokenize(long);
  assert.equal(token.length, long.length);
  assert.doesNotMatch(token, /quick|brown|jumps/);
  assert.notEqual(token.slice(0, 20), tokenize(`${long}x`).slice(0, 20));
});
