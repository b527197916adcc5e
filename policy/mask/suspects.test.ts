import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { bitOf } from "./detector-bits.ts";
import { detectorNames, detectors } from "./detectors.ts";
import { namedContext } from "./stream.ts";
import { createLook, createMarker, type Marks } from "./suspects.ts";

/** What findings are made of, whole and in pieces, and what joins them. */
const pieces = fc.constantFrom(
  ..."jane@example.com|@|a@b.io|4111 1111 1111 1111|4111|1111|378282246310005|5555-5555-5555-4444".split(
    "|",
  ),
  ..."DE89 3704 0044 0532 0130 00|DE89|gb82west12345698765432|GB82|123-45-6789|123|45|6789|6789".split(
    "|",
  ),
  ..."(212) 555-2368|212.555.2368|+49 (0)30 123456-78|+1|212|555|2368|+".split("|"),
  ..."192.168.0.1|10.|0.|255|fe80::1ff|::|:|2001:db8:0:0:0:0:2:1|1:2:3:4:5:6:1.2.3.4|ffff".split(
    "|",
  ),
  ..."eyJhbGciOiJIUzI1NiJ9|.eyJzdWIiOiIxMjM0In0|.sig|eyJ|-----BEGIN RSA PRIVATE KEY-----|-----BEGIN |PRIVATE KEY-----".split(
    "|",
  ),
  ..."AKIAIOSFODNN7EXAMPLE|ASIAIOSFODNN7EXAMPLE|AWS secret: |aws_secret_access_key=|wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".split(
    "|",
  ),
  ..."12345678Z|X1234567L|12345678|X|RSSMRA85T10A562S|1 85 05 78 006 084 91|185057800608491|123.456.789-09|44051401359".split(
    "|",
  ),
  ..."86095742719|2341 2341 2346|2341|130 692 544|130|19811218-9876|811218|-9876|AB123456C|AB 12 34 56 C|AB |12|34".split(
    "|",
  ),
  ..."AIza|SyA1234567890123456789012345678901234|ghp_|github_pat_|glpat-|xoxb-|sk-|sk_live_|AccountKey=|abcdefghij0123456789ABCDEFGHIJ0123456789abcd".split(
    "|",
  ),
  ..." |-|.|(|)| (|) |,|x|é|\n|0|7|42".split("|"),
);
const texts = fc.oneof(
  fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join("")),
  fc.array(pieces, { maxLength: 8 }).map((parts) => parts.join(" ")),
  fc.string({
    unit: fc.constantFrom(..."0123456789 -.:()+@AKIeyJwsXZ_=".split("")),
    maxLength: 60,
  }),
  fc.string({ unit: "binary", maxLength: 100 }),
);

describe("a first look", () => {
  const look = createLook(detectorNames);

  test("names every detector that finds something, wherever the text stands in its buffer", () => {
    fc.assert(
      fc.property(texts, pieces, pieces, (text, before, after) => {
        const head = Buffer.from(before);
        const bytes = Buffer.from(text);
        const whole = Buffer.concat([head, bytes, Buffer.from(after)]);
        const seen = look(whole, head.length, head.length + bytes.length);
        const decoded = bytes.toString("utf8");
        for (const name of detectorNames)
          if (detectors[name](decoded).length > 0)
            assert.ok((seen & bitOf(name)) !== 0, `${name} in ${JSON.stringify(decoded)}`);
      }),
      { numRuns: 6_000 },
    );
  });

  test("passes by what texts are made of: words, dates, amounts, ids", () => {
    for (const text of [
      "",
      "The order was placed on 2026-11-30 at 12:30:45 and costs 129.99 EUR.",
      '{"id":4711,"at":"2026-11-30T12:30:45.123Z","tags":["a","b"],"total":12.5}',
      "6f1c8a2e-33b4-4e57-9a41-0c2d8e7f5a90",
      "std: vector, a: b, 1.2.3, v10.4",
      "Said I: Kiwis, saws and Iguanas - all of it - so what.",
    ]) {
      const bytes = Buffer.from(text);
      const seen = look(bytes, 0, bytes.length);
      const named = detectorNames.filter((name) => (seen & bitOf(name)) !== 0);
      assert.deepEqual(named, text.includes("saws") ? ["aws-key"] : [], text);
    }
  });

  test("looks for what it was made for only", () => {
    const bytes = Buffer.from("jane@example.com 4111 1111 1111 1111");
    assert.equal(createLook(["email"])(bytes, 0, bytes.length), bitOf("email"));
    assert.equal(createLook(["credit-card"])(bytes, 0, bytes.length), bitOf("credit-card"));
    assert.equal(createLook([])(bytes, 0, bytes.length), 0);
  });
});

describe("marks in a JSON text", () => {
  const marker = createMarker(detectorNames);

  function marked(text: string): { at: number[]; characters: Uint8Array } {
    const characters = Buffer.from(text, "latin1");
    const into: Marks = { at: new Int32Array(characters.length), count: 0 };
    marker(characters, characters.length, into);
    return { at: [...into.at.subarray(0, into.count)], characters };
  }

  test("stand in every string that something is found in, whatever stands around it", () => {
    const latin = texts.map((text) => text.replaceAll(/[^\0-\u00ff]/g, "\u00ff"));
    fc.assert(
      fc.property(fc.array(latin, { minLength: 1, maxLength: 4 }), (strings) => {
        const parts = strings.map((text) => text.replaceAll(/["\\]/g, ""));
        const { at } = marked(parts.map((part) => `"${part}"`).join(""));
        let from = 0;
        for (const part of parts) {
          const end = from + 1 + part.length;
          const isMarked = at.some((place) => place > from && place < end);
          const found = detectorNames.filter((name) => detectors[name](part).length > 0);
          assert.ok(isMarked || found.length === 0, `${found.join(", ")} in ${part}`);
          assert.ok(isMarked || namedContext(part) === "", part);
          from = end + 1;
        }
      }),
      { numRuns: 6_000 },
    );
  });

  test("stand at quotes and backslashes, and nowhere in words, dates and amounts", () => {
    const text = String.raw`{"at":"2026-11-30T12:30:45.123Z","note":"a\nb, c","total":129.5}`;
    const { at, characters } = marked(text);
    const expected = [...text.matchAll(/["\\]/g)].map(({ index }) => index);
    assert.deepEqual(at, expected);
    assert.ok(at.every((place) => characters[place] === 0x22 || characters[place] === 0x5c));
  });
});
