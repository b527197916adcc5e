import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { detectorNames } from "./detectors.ts";
import { cpuMs, cutAt, cuts, texts } from "./stream-fixture.ts";
import { JsonStream, maskJson, NotMaskable, type Shape, type Treatment } from "./stream-json.ts";
import { createStreamMasker, type Counts } from "./stream.ts";

const masker = createStreamMasker(
  detectorNames.map((detector) => ({ detector, transform: { kind: "redact" }, policy: "a/b" })),
  Buffer.alloc(32),
);
const shape: Shape = (path) => treatments[path.at(-1) ?? ""] ?? "text";
const treatments: Readonly<Record<string, Treatment>> = {
  id: "keep",
  arguments: "json",
  image: "opaque",
  logprobs: "drop",
};
const options = (otherwise: "refuse" | "text" = "refuse") => ({
  masker,
  counts: {} as Counts,
  shape,
  otherwise,
});

function streamed(parts: readonly string[], otherwise: "refuse" | "text" = "refuse"): string {
  const stream = new JsonStream(options(otherwise));
  return parts.map((part) => stream.push(part)).join("") + stream.end();
}

/** Every character of strings as an escape, or as it is. */
const escaping = fc.constantFrom<(json: string) => string>(
  (json) => json,
  (json) =>
    json.replaceAll(/[\w@.+ é你]/g, (character, at: number) =>
      at % 3 === 0 &&
      !/[\\u0-9a-fA-F]/.test(json.slice(Math.max(0, at - 5), at)) &&
      isInString(json, at)
        ? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
        : character,
    ),
);

function isInString(json: string, at: number): boolean {
  return (json.slice(0, at).replaceAll(/\\./g, "").match(/"/g)?.length ?? 0) % 2 === 1;
}

function masked(value: unknown): unknown {
  if (typeof value === "string") return masker.whole(value, {});
  if (Array.isArray(value)) return value.map(masked);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(
      Object.entries(value).map(([name, one]) => [masker.whole(name, {}), masked(one)]),
    );
  return value;
}

describe("JSON that comes in pieces", () => {
  const values = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      texts,
      fc.constantFrom(1, -2.5e9, true, null, 1_700_000_000_123),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom("a", "note", "jane@example.com", "é"), tie("value"), {
        maxKeys: 3,
      }),
    ),
  })).value;

  test("is masked value by value, however it is written and cut, and stays JSON", () => {
    fc.assert(
      fc.property(values, cuts, escaping, fc.constantFrom(0, 2), (value, cut, escape, indent) => {
        const json = escape(JSON.stringify(value, null, indent));
        assert.deepEqual(JSON.parse(json), JSON.parse(JSON.stringify(value)));
        const shown = streamed(cutAt(json, cut));
        assert.deepEqual(JSON.parse(shown), masked(JSON.parse(json)), shown);
      }),
      { numRuns: 1_000 },
    );
  });

  test("goes out as it was written where nothing is found", () => {
    const json = ' {"a" : [1.50, 12345678901234567890, -0, 1e400],"b":"\\u00e9\\/ x", "b":{} }\n';
    for (const parts of [[json], json.split("")]) {
      const shown = streamed(parts);
      assert.deepEqual(JSON.parse(shown), JSON.parse(json));
      assert.ok(shown.startsWith(' {"a" : [1.50, 12345678901234567890, -0, 1e400],"b":"'));
    }
    assert.equal(streamed([json]), json);
  });

  test("spells a character whose two halves come apart as it does one that comes whole", () => {
    assert.equal(streamed(['{"a":"x\ud83d', '\ude00y"}']), '{"a":"x😀y"}');
    assert.equal(streamed(['{"a":"x', "\ud83d", '","b":1}']), String.raw`{"a":"x\ud83d","b":1}`);
  });

  test("treats members by their path", () => {
    const picture = `AKIAIOSFODNN7EXAMPLE+${"A".repeat(64)}`;
    const json = JSON.stringify({
      id: "jane@example.com",
      text: "jane@example.com",
      card: 4111111111111111,
      near: [4111111111111111.0, 12],
      image: picture,
      small: { image: "AKIAIOSFODNN7EXAMPLE" },
      other: { image: "mail jane@example.com" },
      arguments: '{"mail":"jane\\u0040example.com","n":4111111111111111}',
      logprobs: { content: [{ token: "jane@", logprob: -1 }] },
      more: [{ logprobs: [{ token: "jane" }] }, { logprobs: null }],
      aws_secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    });
    for (const parts of [[json], json.split("")])
      assert.deepEqual(JSON.parse(streamed(parts)), {
        id: "jane@example.com",
        text: "[redacted]",
        card: null,
        near: [null, 12],
        image: picture,
        small: { image: "[redacted]" },
        other: { image: "mail [redacted]" },
        arguments: '{"mail":"[redacted]","n":null}',
        logprobs: null,
        more: [{ logprobs: [] }, { logprobs: null }],
        aws_secret_access_key: "[redacted]",
      });
  });

  test("hides short numbers that a pattern of the policy's own finds, as they come and in pieces", () => {
    const own = createStreamMasker(
      [
        {
          detector: "pin",
          pattern: String.raw`\b\d{4}\b`,
          transform: { kind: "redact" },
          policy: "a/b",
        },
      ],
      Buffer.alloc(32),
    );
    const text = '{"pin":4711,"other":[12, 9999 ],"name":"4711"}';
    for (const parts of [[text], text.split("")]) {
      const stream = new JsonStream({ ...options(), masker: own });
      const shown = parts.map((part) => stream.push(part)).join("") + stream.end();
      assert.equal(shown, '{"pin":null,"other":[12, null ],"name":"[redacted]"}');
    }
  });

  test("that is none is refused, or masked as the text it is", () => {
    for (const text of [
      "{",
      '{"a":1}}',
      "{a:1}",
      '["x"',
      "nope",
      '{"a" "b"}',
      "[1 2]",
      "01",
      '{"a":1,}',
    ])
      for (const parts of [[text], text.split("")]) {
        assert.throws(() => streamed(parts), NotMaskable, text);
        assert.equal(streamed(parts, "text"), text);
      }
    assert.throws(() => streamed(["[".repeat(100_000)]), /nested deeper than 512/);
    assert.ok(streamed(["[".repeat(100_000)], "text").length <= 512);
    assert.throws(() => streamed([`{"${"x".repeat(50_000)}`, '":1}']), /name that is too long/);
    assert.throws(() => streamed([`[${"1".repeat(1_000_000)}]`]), NotMaskable);
  });

  test("that breaks in the middle hides what stands across the break", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(
          '{"a": 4111 1111 1111 1111',
          "[4111 1111 1111 1111]",
          "{fe80::1ff:fe23:4567:890a",
          "call jane@example.com now",
          "{'mail': 'jane@example.com'}",
          '{"key":"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"',
          '{"mail":"jane@example.com\\q"',
        ),
        cuts,
        (text, cut) => {
          const shown = streamed(cutAt(text, cut), "text");
          assert.doesNotMatch(shown, /1111|fe80|jane|MIIE/);
          assert.equal(shown, maskJson(options("text"), text));
        },
      ),
    );
  });

  test("takes time linear in it, whatever its pieces", () => {
    for (const text of [
      '"\\u0034'.repeat(1) + "\\u0034".repeat(20_000),
      `["${"4".repeat(50_000)}`,
      `{"${"a".repeat(15_000)}`,
      `[${"1".repeat(15_000)}`,
      "[".repeat(100_000),
    ]) {
      const started = process.cpuUsage();
      streamed(text.split(""), "text");
      assert.ok(cpuMs(started) < 15_000, text.slice(0, 20));
    }
  });
});
