import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { SimilarJson } from "./similar-json.ts";

const strings = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.constantFrom("", "a", '"', "\\", "\n", "é你😀", "…0", "‧0", "\u2028", "__proto__", "4800000"),
);
/** Texts of streams: the same but for some places, written in one of several ways, and others among them. */
const events = fc.record({
  frame: fc.constantFrom<(texts: readonly string[], number: number) => unknown>(
    ([a], n) => ({
      id: "x",
      n,
      choices: [{ index: 0, delta: { content: a }, finish_reason: null }],
    }),
    ([a, b]) => ({ type: "delta", delta: a, obfuscation: b }),
    ([a, b], n) => [a, [b, { a, n: -n / 3 }], "…0", "…1", 4_800_000],
    ([a]) => a,
    ([a, b]) => ({ [a ?? ""]: b, b: { [b ?? ""]: 1 } }),
    (_, n) => ({ n, m: n * 1e17, f: n / 7 }),
  ),
  texts: fc.array(strings, { minLength: 2, maxLength: 2 }),
  number: fc.integer({ min: 0, max: 1_000 }),
  written: fc.constantFrom<(value: unknown) => string>(
    (value) => JSON.stringify(value),
    (value) => JSON.stringify(value, null, 1),
    (value) => JSON.stringify(value).replaceAll("a", "\\u0061").replaceAll("…", "\\u2026"),
    (value) => `${JSON.stringify(value).replace("{", '{"delta":"twice","__proto__":"p",')} `,
  ),
});

function outcome(parse: () => unknown): string {
  try {
    return JSON.stringify(parse());
  } catch (error) {
    return error instanceof SyntaxError ? "no JSON" : String(error);
  }
}

describe("JSON texts that say nearly the same", () => {
  test("are read as JSON.parse reads each of them, whatever came before", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(events, fc.array(strings, { minLength: 2, maxLength: 8 })), {
          maxLength: 4,
        }),
        fc.nat(60),
        (runs, damaged) => {
          const reader = new SimilarJson();
          let count = 0;
          for (const [{ frame, texts, number, written }, more] of runs)
            for (const [index, one] of more.entries()) {
              const whole = written(frame([one, texts[index % 2] ?? ""], number + index));
              count += 1;
              const text = count === damaged ? whole.slice(0, -1) : whole;
              assert.equal(
                outcome(() => reader.parse(text)),
                outcome(() => JSON.parse(text)),
                text,
              );
            }
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("are read only where they differ, from the third on", () => {
    const reader = new SimilarJson();
    const text = (content: string, number: number): string =>
      JSON.stringify({ sequence_number: number, choices: [{ delta: { content } }] });
    reader.parse(text("Hello", 9));
    reader.parse(text(",", 10));
    const third = reader.parse(text(" world", 11));
    assert.deepEqual(third, JSON.parse(text(" world", 11)));
    assert.equal(reader.parse(text(".", 12)), third, "another object");
    assert.deepEqual(third, JSON.parse(text(".", 12)));
    assert.deepEqual(reader.parse(text("\n", 13)), JSON.parse(text("\n", 13)));
    assert.throws(() => reader.parse(text(".", 14).slice(0, -1)), SyntaxError);
  });
});
