import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { canonicalJson, maxJsonDepth, NotCanonical } from "../../contract/canonical.ts";
import { canonicalParsed } from "./canonical.ts";

/** What either writer makes of it, or that it refuses. */
function outcome(write: (value: object) => string, value: object): string {
  try {
    return write(value);
  } catch (error) {
    assert.ok(error instanceof NotCanonical);
    return "refused";
  }
}

function parsed(text: string): object {
  return Object(JSON.parse(text)) as object;
}

test("whatever JSON was parsed, its canonical form is the one that the proxy's writer finds", () => {
  const name = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("__proto__", "toJSON", "constructor", "9", "10", "", "\ud83d", "\\ud83d", "é"),
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.jsonValue(),
      name,
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.array(tie("value"), { maxLength: 4 }),
      fc.array(fc.tuple(name, tie("value")), { maxLength: 6 }).map((members) => {
        // By text: assignment would lose `__proto__`.
        const written = members.map(
          ([key, member]) => `${JSON.stringify(key)}:${JSON.stringify(member) ?? "null"}`,
        );
        return JSON.parse(`{${written.join(",")}}`) as unknown;
      }),
    ),
  }));
  fc.assert(
    fc.property(value, (any) => {
      const object = parsed(JSON.stringify({ any }));
      assert.equal(outcome(canonicalParsed, object), outcome(canonicalJson, object));
    }),
    { numRuns: 1_000 },
  );
});

test("members out of order, numbers that JSON can write in several ways and half surrogates are no exception", () => {
  for (const text of [
    '{"b":1,"a":2}',
    '{"a":{"d":[{"z":1,"y":2}],"c":0}}',
    '{"10":1,"9":2}',
    '{"a":1e3,"b":-0,"c":1.50,"d":"\\u0041"}',
    '{"a":1,"a":2}',
    '{"a":"\\ud83d"}',
    '{"a":"\\\\ud83d"}',
    '{"\\udc00":1}',
    `${"[".repeat(maxJsonDepth + 1)}${"]".repeat(maxJsonDepth + 1)}`,
    `${"[".repeat(maxJsonDepth)}${"]".repeat(maxJsonDepth)}`,
  ])
    assert.equal(
      outcome(canonicalParsed, parsed(text)),
      outcome(canonicalJson, parsed(text)),
      text,
    );
});
