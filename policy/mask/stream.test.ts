import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { DetectMask, Transform } from "../bundle.ts";
import { createTextMasker } from "./detect.ts";
import { detectorNames, detectors } from "./detectors.ts";
import { endsPlan, OpenEnds } from "./stream-ends.ts";
import { cutAt, cuts, pieces, texts } from "./stream-fixture.ts";
import { longestHeld } from "./stream-long.ts";
import { createStreamMasker, type Counts, type StreamMasker } from "./stream.ts";

const key = Buffer.alloc(32);
const redact = { kind: "redact" } as const;
const masks = (transform: Transform, ...names: readonly string[]): DetectMask[] =>
  names.map((detector) => ({ detector, transform, policy: "a/b" }));
const unbounded: readonly string[] = ["jwt", "private-key"];

function streamed(masker: StreamMasker, parts: readonly string[], context?: string) {
  const counts: Counts = {};
  const stream = masker.open(counts, context);
  const shown = parts.map((part) => stream.push(part));
  return { text: shown.join("") + stream.end(), counts };
}

describe("what a text may still become", () => {
  for (const name of detectorNames.filter((one) => !unbounded.includes(one)))
    test(`what ${name} finds before the open end stays, whatever follows`, () => {
      fc.assert(
        fc.property(texts, texts, cuts, (text, more, cut) => {
          const ends = new OpenEnds(endsPlan(new Set([name])));
          let open = 0;
          let known = "";
          for (const part of cutAt(text, cut)) {
            const from = known.length;
            known += part;
            open = ends.after(known, from);
          }
          const before = (whole: string) =>
            detectors[name](whole).filter(({ start }) => start < open);
          assert.deepEqual(before(text + more), before(text));
        }),
        { numRuns: 1_000 },
      );
    });

  test("prose is given out word by word, and a word as soon as it has ended", () => {
    const stream = createStreamMasker(masks(redact, ...detectorNames), key).open({});
    const shown = "The answer is short, so it came. "
      .split(/(?<= )/)
      .map((word) => stream.push(word));
    assert.deepEqual(shown, ["The ", "answer ", "is ", "short, ", "so ", "it ", "came. "]);
  });

  test("no more is held back than the longest open finding", () => {
    const sameLength = { kind: "partial", keepFirst: 1, keepLast: 0 } as const;
    const { open } = createStreamMasker(masks(sameLength, ...detectorNames), key);
    for (const [text, most] of [
      ["a".repeat(5_000), 270],
      ["你".repeat(5_000), 64],
      [`a@${"b.".repeat(3_000)}`, 1_300],
      ["4 ".repeat(3_000), 1_200],
      ["DE89 ".repeat(1_000), 270],
      ["aws ".repeat(1_000), 270],
      ["eyJ".repeat(4_000), longestHeld],
    ] as const) {
      const stream = open({});
      let held = 0;
      let worst = 0;
      for (const character of text) {
        held += 1 - stream.push(character).length;
        worst = Math.max(worst, held);
      }
      assert.ok(worst <= most, `${text.slice(0, 20)} held back ${worst}`);
    }
  });
});

describe("a text that comes in pieces", () => {
  const transforms: readonly Transform[] = [
    redact,
    { kind: "nullify" },
    { kind: "hash" },
    { kind: "tokenize" },
    { kind: "partial", keepFirst: 1, keepLast: 4 },
  ];

  test("is masked as it is whole, however it is cut", () => {
    fc.assert(
      fc.property(
        texts,
        cuts,
        fc.subarray([...detectorNames], { minLength: 1 }),
        fc.constantFrom(...transforms),
        (text, cut, names, transform) => {
          const wanted = masks(transform, ...names);
          const whole = createTextMasker(wanted, key).mask(text);
          const masker = createStreamMasker(wanted, key);
          assert.deepEqual(streamed(masker, cutAt(text, cut)), whole);
          const counts: Counts = {};
          assert.equal(masker.whole(text, counts), whole.text);
          assert.deepEqual(counts, whole.counts);
        },
      ),
      { numRuns: 1_500 },
    );
  });

  test("is not misled by what is cut off before it", () => {
    const masker = createStreamMasker(masks(redact, ...detectorNames), key);
    const text = "4111 1111 1111 1111 130 692 544 2001:db8:0:0:0:0:2:1";
    assert.equal(streamed(masker, text.split("")).text, "[redacted] [redacted]");
  });

  test("hides a key whose name was given out before it was whole", () => {
    const masker = createStreamMasker(masks(redact, ...detectorNames), key);
    const name = "aws_secret_access_key=";
    const text = `${name}SyA1234567890123456789012345678901234ghp_é${"x".repeat(70)} y`;
    assert.equal(streamed(masker, text.split("")).text, `${name}[redacted]_é${"x".repeat(70)} y`);
  });

  test("has two detectors with transforms of their own united the same way", () => {
    fc.assert(
      fc.property(texts, cuts, (text, cut) => {
        const wanted = [
          ...masks({ kind: "partial", keepFirst: 2, keepLast: 0 }, "phone", "credit-card", "jwt"),
          ...masks({ kind: "fixed", value: "#" }, "email", "ip", "private-key"),
          ...masks({ kind: "hash" }, "national-id", "cloud-key", "iban", "us-ssn", "aws-key"),
        ];
        const whole = createTextMasker(wanted, key).mask(text);
        assert.deepEqual(streamed(createStreamMasker(wanted, key), cutAt(text, cut)), whole);
      }),
      { numRuns: 1_000 },
    );
  });

  test("shows no value in any of its beginnings", () => {
    const values = [
      "jane@example.com",
      "4111 1111 1111 1111",
      "123-45-6789",
      "AKIAIOSFODNN7EXAMPLE",
    ];
    const masker = createStreamMasker(masks(redact, ...detectorNames), key);
    fc.assert(
      fc.property(fc.constantFrom(...values), pieces, pieces, cuts, (value, before, after, cut) => {
        const { text, counts } = streamed(masker, cutAt(`${before} ${value} ${after}`, cut));
        assert.ok(!text.includes(value), JSON.stringify({ text, counts }));
      }),
      { numRuns: 700 },
    );
  });

  test("patterns of the policy's own find what RE2 finds", () => {
    const patterns = [
      "ORD-[0-9]{4}|x*",
      "(?i)sekret\\w*",
      "\\bab+\\b",
      "^a.*$",
      "(?m)^a[^b]*$",
      "a{2,4}|ab|b(a|ba)c?",
      "a*?b",
      "(a|ab)(c|bcd)(d*)",
      "[^x]x[^x]",
      "é+|😀.",
    ];
    const some = fc.string({
      unit: fc.constantFrom(..."abcdx \nORD-12é😀sekret".split(""), "😀"),
      maxLength: 40,
    });
    fc.assert(
      fc.property(fc.constantFrom(...patterns), some, cuts, (pattern, text, cut) => {
        const wanted = [
          {
            detector: "own",
            pattern,
            transform: { kind: "fixed", value: "#" },
            policy: "a/b",
          } as const,
          ...masks(redact, "email"),
        ];
        const whole = createTextMasker(wanted, key).mask(text);
        assert.deepEqual(streamed(createStreamMasker(wanted, key), cutAt(text, cut)), whole);
      }),
      { numRuns: 1_500 },
    );
  });
});

describe("what goes on for long", () => {
  const keyText = `-----BEGIN PRIVATE KEY-----\n${"MIIE".repeat(9_000)}\n-----END PRIVATE KEY-----`;
  const token = `eyJhbGciOiJIUzI1NiJ9.eyJ${"a".repeat(40_000)}.sig`;
  const wanted = [
    ...masks({ kind: "partial", keepFirst: 3, keepLast: 3 }, "private-key", "jwt"),
    ...masks(redact, "email"),
  ];
  const masker = createStreamMasker(wanted, key);
  const cutting = (text: string, size: number): string[] =>
    text.match(new RegExp(`[^]{1,${size}}`, "g")) ?? [];

  for (const [what, text, expected] of [
    ["a key", `a ${keyText} b`, "a [redacted] b"],
    ["a key without end", `a ${keyText.slice(0, 30_000)}`, "a [redacted]"],
    ["a key that an address touches", `a ${keyText}x@b.io c`, "a [redacted] c"],
    ["a token", `a ${token} b`, "a [redacted] b"],
    ["a token without signature", `a ${token.slice(0, 20_000)} b`, "a [redacted] b"],
    ["two keys", `${keyText}${keyText} b`, "[redacted][redacted] b"],
  ] as const)
    test(`${what} is hidden whole, whatever its transform, however it is cut`, () => {
      for (const size of [1, 7, 1_000, 20_000, 1_000_000])
        assert.equal(streamed(masker, cutting(text, size)).text, expected, `pieces of ${size}`);
    });

  test("a header too long for a token is none", () => {
    const text = `eyJ${"a".repeat(20_000)}.eyJ0.x y`;
    for (const size of [1_000, 1_000_000])
      assert.equal(streamed(masker, cutting(text, size)).text, text);
  });

  test("a match of a pattern has at most 1,024 characters, whole or in pieces", () => {
    const own = createStreamMasker(
      [{ detector: "own", pattern: "ab+", transform: redact, policy: "a/b" }],
      key,
    );
    const text = `a${"b".repeat(2_000)}`;
    const whole = own.whole(text, {});
    assert.equal(whole, `[redacted]${"b".repeat(977)}`);
    for (const size of [1, 100]) assert.equal(streamed(own, cutting(text, size)).text, whole);
  });
});

describe("context", () => {
  test("the name of a member tells what its value is", () => {
    const masker = createStreamMasker(masks(redact, ...detectorNames), key);
    const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    for (const parts of [[secret], secret.split("")]) {
      assert.equal(streamed(masker, parts, "aws_secret_access_key=").text, "[redacted]");
      assert.equal(streamed(masker, parts, "AccountKey=").text, "[redacted]");
      assert.equal(streamed(masker, parts, "note=").text, secret);
    }
    assert.equal(masker.whole(secret, {}, "aws_secret_access_key="), "[redacted]");
    assert.equal(masker.whole("jane@x.io", {}, "mail="), "[redacted]");
  });
});

describe("time", () => {
  test("is linear in the text, whatever its pieces", () => {
    const { open } = createStreamMasker(masks(redact, ...detectorNames), key);
    for (const shape of [
      "a",
      "@",
      "a@",
      "4 ",
      "eyJ",
      "eyJhbGciOiJ.",
      "-----BEGIN ",
      "aws ",
      "DE89 ",
      "1.2.3.4@",
      "你",
    ]) {
      const stream = open({});
      const started = performance.now();
      for (const character of shape.repeat(20_000 / shape.length)) stream.push(character);
      stream.end();
      const elapsed = performance.now() - started;
      // Quadratic work on 100,000 pieces takes minutes.
      assert.ok(elapsed < 10_000, `${shape}: ${elapsed} ms`);
    }
  });
});
