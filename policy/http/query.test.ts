import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { readQuery, spellQuery } from "./query.ts";

const spelled: [raw: string, sent?: string][] = [
  [""],
  ["a=1&b=2&c"],
  ["a==&=b&&"],
  ["wsdl"],
  ["redirect=https%3A%2F%2Fx.example%2F&other=https://y.example/?z"],
  ["a=1+2", "a=1%202"],
  ["a=%7e%41%2b", "a=~A%2B"],
  ["a=%c3%a9", "a=%C3%A9"],
  ['a=["x"]{}|^`\\<>', "a=%5B%22x%22%5D%7B%7D%7C%5E%60%5C%3C%3E"],
  ["a=%&b=%z", "a=%&b=%z"],
];
for (const [raw, sent = raw] of spelled)
  test(`?${raw} is sent as ?${sent}`, () => assert.equal(spellQuery(raw), sent));

test("what is sent has the parameters that were decided on, for forms and for URLs alike", () => {
  const piece = fc.constantFrom(
    "a",
    "=",
    "&",
    "+",
    "%20",
    "%2b",
    "%26",
    "%3D",
    "%61",
    "[",
    "~",
    "'",
    "%C3%A9",
    "/",
    "?",
    ":",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      const raw = pieces.join("");
      const read = readQuery(raw);
      const sent = spellQuery(raw);
      assert.deepEqual(readQuery(sent), read);
      assert.equal(spellQuery(sent), sent);
      if (!("value" in read)) return;
      const pairs = Object.entries(read.value).flatMap(([name, values]) =>
        values.map((value) => `${name}=${value}`),
      );
      const standard = [...new URL(`http://h/?${sent}`).searchParams].map(
        ([name, value]) => `${name}=${value}`,
      );
      assert.deepEqual(pairs.toSorted(), standard.toSorted());
      // A reader that does not know of forms finds the same, since no plus sign is left.
      const literal = sent
        .split("&")
        .filter((pair) => pair !== "")
        .map((pair) => {
          const [name = "", ...value] = pair.split("=");
          return `${decodeURIComponent(name)}=${decodeURIComponent(value.join("="))}`;
        });
      assert.deepEqual(literal.toSorted(), pairs.toSorted());
    }),
    { numRuns: 3000 },
  );
});
