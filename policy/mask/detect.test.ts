import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Transform } from "../bundle.ts";
import { createTextMasker, maskText } from "./detect.ts";
import { detectorNames, detectors, type DetectorName } from "./detectors.ts";
import { cpuMs } from "./stream-fixture.ts";

const key = Buffer.alloc(32);
const redact = { kind: "redact" } as const;
const masks = (transform: Transform, ...names: string[]) =>
  names.map((detector) => ({ detector, transform, policy: "a/b" }));
const only = (name: DetectorName, text: string): string =>
  maskText(text, masks({ kind: "fixed", value: "#" }, name), key).text;

describe("detectors find", () => {
  const found: [DetectorName, string, string][] = [
    ["email", "write to jane.doe+x@mail.example.co.uk.", "write to #."],
    ["email", "<a@b.io>,c@d.dev", "<#>,#"],
    ["email", "müller@bücher.example", "#"],
    ["credit-card", "card 4111 1111 1111 1111, cvc 123", "card #, cvc 123"],
    ["credit-card", "4111-1111-1111-1111 12/27", "# 12/27"],
    ["credit-card", "378282246310005", "#"],
    ["credit-card", "pay 5555555555554444.", "pay #."],
    ["iban", "DE89 3704 0044 0532 0130 00 please", "# please"],
    ["iban", "gb82west12345698765432", "#"],
    ["us-ssn", "ssn 123-45-6789", "ssn #"],
    ["us-ssn", "ssn 123 45 6789!", "ssn #!"],
    ["phone", "call +49 (0)30 123456-78 now", "call # now"],
    ["phone", "(212) 555-2368 or 212-555-2368", "# or #"],
    ["ip", "from 192.168.0.1:8080", "from #:8080"],
    ["ip", "10.0.0.255.", "#."],
    ["ip", "at fe80::1ff:fe23:4567:890a!", "at #!"],
    ["ip", "2001:db8:0:0:0:0:2:1", "#"],
    ["ip", "::ffff:10.1.2.3", "#"],
    [
      "jwt",
      "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
      "Bearer #",
    ],
    [
      "private-key",
      "a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b",
      "a # b",
    ],
    ["private-key", "a -----BEGIN PRIVATE KEY-----\nMIIE", "a #"],
    ["aws-key", "id AKIAIOSFODNN7EXAMPLE", "id #"],
    [
      "aws-key",
      "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
      "aws_secret_access_key = #",
    ],
    ["national-id", "DNI 12345678Z, NIE X1234567L", "DNI #, NIE #"],
    ["national-id", "CF RSSMRA85T10A562S", "CF #"],
    ["national-id", "NIR 1 85 05 78 006 084 91 or 185057800608491", "NIR # or #"],
    ["national-id", "CPF 123.456.789-09, PESEL 44051401359", "CPF #, PESEL #"],
    ["national-id", "IdNr 86095742719, 86 095 742 719", "IdNr #, #"],
    ["national-id", "SIN 130-692-544, 19811218-9876", "SIN #, #"],
    ["national-id", "Aadhaar 2341 2341 2346", "Aadhaar #"],
    ["national-id", "555 130 692 544, 1234 2341 2341 2346", "555 #, 1234 #"],
    ["national-id", "NINO AB123456C, AB 12 34 56 C", "NINO #, #"],
    ["cloud-key", `key=AIza${"b".repeat(35)}&x`, "key=#&x"],
    ["cloud-key", `ghp_${"a1".repeat(18)} glpat-${"x".repeat(20)}`, "# #"],
    ["cloud-key", `xoxb-1234567890-abc, sk-proj-${"Z".repeat(40)}`, "#, #"],
    ["cloud-key", `AccountKey=${"A".repeat(86)}==;End`, "AccountKey=#;End"],
    ["cloud-key", `sk_live_${"4".repeat(24)}`, "#"],
  ];
  for (const [name, text, expected] of found)
    test(`${name} in ${JSON.stringify(text)}`, () => assert.equal(only(name, text), expected));
});

describe("detectors leave alone", () => {
  const clean: [DetectorName, string][] = [
    ["email", "a@b, @home, x@, twitter.com/@jane"],
    ["credit-card", "4111 1111 1111 1112 and 1234567890123456 and 12345678901234567890123456"],
    ["iban", "DE89 3704 0044 0532 0130 01 or XX89 3704"],
    ["us-ssn", "000-12-3456 666-12-3456 900-12-3456 123-00-4567 1234-56-7890 123-45-67890"],
    ["phone", "2024-01-02 12:30, 1.2.3.4, order 5551234"],
    ["ip", "1.2.3, 1.2.3.4.5, 256.1.1.1, 12:34:56, std::vector, a::b::c, v1.2.3.4.5"],
    ["jwt", "eyJ is a prefix; eyJhbGci.notjson.x"],
    ["private-key", "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----"],
    ["aws-key", "AKIA1234, XAKIAIOSFODNN7EXAMPLE"],
    [
      "national-id",
      "12345678A, X1234567A, RSSMRA85T10A562T, 1 85 05 78 006 084 92, 123.456.789-00",
    ],
    [
      "national-id",
      "44051401358, 86095742718, 11111111111, 2341 2341 2347, 130 692 545, 811218-9877",
    ],
    ["national-id", "2026-11-30 12:30:45, GB123456C, 12345678901234567890"],
    ["cloud-key", "sk-learn, AIza, ghp_short, Key=short, desk-top and mask-wearing"],
  ];
  for (const [name, text] of clean)
    test(`what only looks like ${name}`, () => assert.equal(only(name, text), text));
});

describe("masking a text", () => {
  test("counts findings by detector", () => {
    const masked = maskText(
      "a@b.io c@d.io 123-45-6789",
      masks(redact, "email", "us-ssn", "iban"),
      key,
    );
    assert.deepEqual(masked, {
      text: "[redacted] [redacted] [redacted]",
      counts: { email: 2, "us-ssn": 1 },
    });
  });

  test("hides the union of overlapping findings by the stricter transform", () => {
    const both = [
      ...masks({ kind: "partial", keepFirst: 1, keepLast: 0 }, "phone"),
      ...masks(redact, "email"),
    ];
    assert.equal(maskText("x +491701234567@mail.example y", both, key).text, "x [redacted] y");
  });

  test("a pattern of the policy's own finds every match, beside the built-in detectors", () => {
    const own = { detector: "order", pattern: "ORD-[0-9]{4}|x*", transform: redact, policy: "a/b" };
    const { look, mask } = createTextMasker([own, ...masks(redact, "email")], key);
    const text = "ORD-4711, ORD-471 of a@b.io and ORD-0815";
    const bytes = Buffer.from(text);
    assert.deepEqual(mask(text, look(bytes, 0, bytes.length)), {
      text: "[redacted], ORD-471 of [redacted] and [redacted]",
      counts: { order: 2, email: 1 },
    });
    assert.throws(() => createTextMasker([{ ...own, pattern: "(a" }], key));
  });

  test("a pattern of the policy's own takes time linear in the text", () => {
    const own = { detector: "bad", pattern: "(a+)+$", transform: redact, policy: "a/b" };
    const started = process.cpuUsage();
    assert.equal(createTextMasker([own], key).mask(`${"a".repeat(20_000)}b`).text.length, 20_001);
    assert.ok(cpuMs(started) < 4_000);
  });

  test("refuses a detector it does not have instead of skipping it", () => {
    assert.throws(
      () => createTextMasker(masks(redact, "passport"), key),
      /passport is not known; known are email/,
    );
  });

  test("a text without findings comes back unchanged, and no text makes a detector throw", () => {
    const { mask } = createTextMasker(masks(redact, ...detectorNames), key);
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => {
        const masked = mask(text);
        if (Object.keys(masked.counts).length === 0) assert.equal(masked.text, text);
      }),
      { numRuns: 800 },
    );
  });

  test("masking twice finds nothing more where everything is redacted", () => {
    const piece = fc.constantFrom(
      "a@b.io",
      "4111111111111111",
      "123-45-6789",
      "192.168.0.1",
      "+491701234567",
      " ",
      ",",
      "x",
      "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
      "AKIAIOSFODNN7EXAMPLE",
    );
    const { mask } = createTextMasker(masks(redact, ...detectorNames), key);
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const once = mask(pieces.join(" ")).text;
        assert.deepEqual(mask(once), { text: once, counts: {} });
      }),
    );
  });
});

describe("time", () => {
  const hostile = [
    (n: number) => "@".repeat(n),
    (n: number) => "a@".repeat(n / 2),
    (n: number) => "a".repeat(n),
    (n: number) => `${"a".repeat(n - 1)}@`,
    (n: number) => `a@${"b.".repeat(n / 2)}`,
    (n: number) => "4".repeat(n),
    (n: number) => "4 ".repeat(n / 2),
    (n: number) => "4-1".repeat(n / 3),
    (n: number) => "DE89".repeat(n / 4),
    (n: number) => "DE89 ".repeat(n / 5),
    (n: number) => "eyJ".repeat(n / 3),
    (n: number) => "eyJhbGciOiJ.".repeat(n / 12),
    (n: number) => "eyJ.eyJ.".repeat(n / 8),
    (n: number) => "-----BEGIN PRIVATE KEY-----".repeat(n / 27),
    (n: number) => "-----BEGIN ".repeat(n / 11),
    (n: number) => "1.".repeat(n / 2),
    (n: number) => ":".repeat(n),
    (n: number) => "a:".repeat(n / 2),
    (n: number) => "+1".repeat(n / 2),
    (n: number) => "+1 ( ) ".repeat(n / 7),
    (n: number) => "aws".repeat(n / 3),
    (n: number) => "aws secret ".repeat(n / 11),
    (n: number) => "AKIA".repeat(n / 4),
    (n: number) => " ".repeat(n),
    (n: number) => "123-45-".repeat(n / 7),
  ];
  for (const name of detectorNames) {
    test(`${name} takes time linear in the text`, () => {
      for (const shape of hostile) {
        const text = shape(400_000);
        const started = process.cpuUsage();
        detectors[name](text);
        const elapsed = cpuMs(started);
        // Quadratic work on 400,000 characters takes minutes.
        assert.ok(elapsed < 4000, `${JSON.stringify(text.slice(0, 20))}: ${elapsed} ms`);
      }
    });
  }
});
