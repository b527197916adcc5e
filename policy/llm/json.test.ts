import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { maxDepth, maxNumberLength, parseStrict } from "./json.ts";
import { withMembers } from "./members.ts";

const value = (text: string): unknown => {
  const read = parseStrict(text);
  return "value" in read ? read.value : read;
};

describe("strict JSON", () => {
  test("is read as JSON.parse reads it", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 5 }), fc.nat({ max: 3 }), (text, indent) => {
        const pretty = JSON.stringify(JSON.parse(text), undefined, indent);
        assert.deepEqual(parseStrict(pretty), { value: JSON.parse(pretty), text: pretty });
      }),
      { numRuns: 1000 },
    );
  });

  test("has no name twice, wherever it stands and however it is escaped", () => {
    const escaped = (name: string): string =>
      `"${Array.from(name)
        .map((one) => one.codePointAt(0)?.toString(16).padStart(4, "0"))
        .map((hex) => `\\u${hex}`)
        .join("")}"`;
    fc.assert(
      fc.property(
        fc.json(),
        fc.json(),
        fc.stringMatching(/^[a-z]{0,9}$/),
        fc.boolean(),
        fc.boolean(),
        (before, after, name, nested, hides) => {
          const second = hides ? escaped(name) : JSON.stringify(name);
          const object = `{${JSON.stringify(name)}:${before}, ${second} :${after}}`;
          assert.ok("problem" in parseStrict(nested ? `[{"a":${object}}]` : object));
        },
      ),
    );
  });

  test("may name the same in different objects", () => {
    assert.deepEqual(value('[{"a":1},{"a":{"a":["a","a"]}}]'), [
      { a: 1 },
      { a: { a: ["a", "a"] } },
    ]);
  });

  test("is read up to the bound of its depth, and far beyond it refused without being parsed", () => {
    assert.ok("value" in parseStrict("[".repeat(maxDepth) + "]".repeat(maxDepth)));
    for (const deep of ['{"a":'.repeat(100_000), "[".repeat(100_000)])
      assert.deepEqual(parseStrict(deep), {
        problem: `the body is nested deeper than ${maxDepth} levels`,
      });
  });

  test("has no number that only some readers can hold or would take long over", () => {
    const problem = `the body has a number of more than ${maxNumberLength} characters`;
    for (const number of [
      "1".repeat(1_000_000),
      `1e${"9".repeat(1_000)}`,
      `-0.${"0".repeat(200)}1`,
    ])
      assert.deepEqual(parseStrict(`{"max_tokens":${number}}`), { problem });
    assert.deepEqual(value(`[${"1".repeat(maxNumberLength)}]`), [
      Number("1".repeat(maxNumberLength)),
    ]);
  });

  test("spells whole characters: half a surrogate pair becomes U+FFFD for everyone", () => {
    const half = parseStrict(
      String.raw`{"a":"x\ud83dy","b":"\uDE00","c":"\ud83d\ude00","d":"\\ud83d","e":"\ud83d\ud83d\ude00"}`,
    );
    assert.deepEqual(half, {
      value: { a: "x\ufffdy", b: "\ufffd", c: "😀", d: String.raw`\ud83d`, e: "\ufffd😀" },
      text: String.raw`{"a":"x\ufffdy","b":"\ufffd","c":"\ud83d\ude00","d":"\\ud83d","e":"\ufffd\ud83d\ude00"}`,
    });
    assert.ok("problem" in parseStrict(String.raw`{"\ud83d":1,"\ude00":2}`), "equal names now");
    fc.assert(
      fc.property(
        fc.string({ unit: fc.integer({ max: 0xffff }).map((code) => String.fromCharCode(code)) }),
        (text) => {
          assert.equal(value(JSON.stringify(text)), text.toWellFormed());
        },
      ),
    );
  });

  for (const [what, body] of [
    ["a byte order mark", "\ufeff{}"],
    ["NaN", '{"a":NaN}'],
    ["Infinity", '{"a":-Infinity}'],
    ["a comment", '{"a":1}//'],
    ["a comma too much", '{"a":1,}'],
    ["single quotes", "{'a':1}"],
    ["a name without quotes", "{a:1}"],
    ["a leading zero", '{"a":01}'],
    ["data behind it", '{"a":1}{"a":2}'],
    ["a NUL behind it", '{"a":1}\0'],
    ["a raw line end in a string", '{"a":"\n"}'],
    ["an escape that is none", String.raw`{"\x61":1}`],
    ["nothing", ""],
    ["a string without an end", String.raw`"\\\"`],
  ] as const)
    test(`has not ${what}`, () => {
      assert.deepEqual(parseStrict(body), { problem: "the body is no JSON" });
    });

  test("has no NUL in a name, where readers in C end it", () => {
    assert.deepEqual(parseStrict(String.raw`{"model\u0000":1}`), {
      problem: "the body has a name with a NUL in it",
    });
  });

  test("is UTF-8", () => {
    for (const bytes of [
      Uint8Array.of(0x22, 0xff, 0x22),
      Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22),
      Uint8Array.of(0x22, 0xc0, 0xa2, 0x22),
    ])
      assert.deepEqual(parseStrict(bytes), { problem: "the body is no UTF-8" });
    assert.deepEqual(parseStrict(Buffer.from("[1]", "utf16le")), {
      problem: "the body is no JSON",
    });
  });
});

describe("members that are set", () => {
  test("leave the rest of the text as it is", () => {
    const text =
      ' {"seed": 12345678901234567890 , "model":"a" ,"x":{"model":1,"y":["}",{}]},"n":1.0}';
    assert.equal(
      withMembers(text, { model: "b", max_tokens: 4 }),
      ' {"max_tokens":4,"seed": 12345678901234567890 , "model":"b","x":{"model":1,"y":["}",{}]},"n":1.0}',
    );
    assert.equal(withMembers("{ }", { a: 1 }), '{"a":1 }');
    assert.equal(withMembers('{"a":null}', { a: 1 }), '{"a":1}');
  });

  test("are what a reader finds, with everything else", () => {
    const object = fc.dictionary(fc.string(), fc.jsonValue());
    fc.assert(
      fc.property(object, object, fc.nat({ max: 2 }), (before, set, indent) => {
        const text = JSON.stringify(before, undefined, indent);
        assert.deepEqual(
          JSON.parse(withMembers(text, set)),
          JSON.parse(JSON.stringify({ ...before, ...set })),
        );
      }),
    );
  });
});
