import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FormMasker, maxPair } from "./mask-form.ts";
import { NotMaskable } from "./stream-json.ts";
import { cutAt, cuts, texts } from "./stream-fixture.ts";
import { createStreamMasker, type Counts } from "./stream.ts";

const masker = createStreamMasker(
  ["email", "credit-card", "us-ssn"].map((detector) => ({
    detector,
    transform: { kind: "redact" as const },
    policy: "agents/p",
  })),
  Buffer.alloc(32),
);

function masked(parts: readonly string[], counts: Counts = {}): string {
  const form = new FormMasker(masker, counts);
  return parts.map((part) => form.push(part)).join("") + form.end();
}

test("names and values are masked as what they decode to, and the rest stays byte for byte", () => {
  const counts: Counts = {};
  const form =
    "a=1&mail=jane%40example.com&Mail=%6aane%40example%2Ecom&note=call+4111+1111+1111+1111+now&x=%7e~*&&=&jane%40example.com=y&flag";
  assert.equal(
    masked([form], counts),
    "a=1&mail=%5Bredacted%5D&Mail=%5Bredacted%5D&note=call+%5Bredacted%5D+now&x=%7e~*&&=&%5Bredacted%5D=y&flag",
  );
  assert.deepEqual(counts, { email: 3, "credit-card": 1 });
});

const fields = fc.array(fc.tuple(texts, texts), { maxLength: 5 });

test("however a form is cut, what goes out decodes to the masked fields, and is the same", () => {
  fc.assert(
    fc.property(fields, cuts, (all, cut) => {
      const form = new URLSearchParams(all).toString();
      const whole = masked([form]);
      assert.equal(masked(cutAt(form, cut)), whole);
      const read = [...new URLSearchParams(form)].flatMap((pair) =>
        pair.map((text) => masker.whole(text, {})),
      );
      assert.deepEqual([...new URLSearchParams(whole)].flat(), read);
    }),
    { numRuns: 500 },
  );
});

test("a form in which nothing is found is the form that came", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("a", "=", "&", "%20", "+", "é", "%C3%A9"), {}),
      (parts) => {
        assert.equal(masked(parts), parts.join(""));
      },
    ),
    { numRuns: 300 },
  );
});

test("what cannot be read as a form is refused, and so is a field without end", () => {
  for (const form of ["a=%", "a=%zz", "%ff=1", "a=b&c=%E2%82"])
    assert.throws(() => masked([form]), NotMaskable, form);
  const form = new FormMasker(masker, {});
  assert.throws(() => {
    for (let at = 0; at < maxPair + 2; at += 1_000) form.push("x".repeat(1_000));
  }, NotMaskable);
});
