import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Transform } from "../bundle.ts";
import { createMaskBytes, derivedConstant, type WireFormat } from "./for-type.ts";

const key = Buffer.alloc(32, 7);

function mask(
  transform: Transform,
  typeOid: number,
  value: Buffer | string,
  format: WireFormat = "text",
): string | null {
  const bytes = createMaskBytes(transform, key, typeOid, format)(Buffer.from(value as string));
  return bytes === null ? null : format === "text" ? bytes.toString("utf8") : bytes.toString("hex");
}

describe("a mask in the column's type, text format", () => {
  const cases: [string, Transform, number, string, string | null][] = [
    ["text", { kind: "redact" }, 25, "secret", "[redacted]"],
    ["varchar", { kind: "partial", keepFirst: 0, keepLast: 2 }, 1043, "secret", "****et"],
    ["int4 cannot say [redacted]", { kind: "redact" }, 23, "42", null],
    ["int4 cannot be partly shown", { kind: "partial", keepFirst: 0, keepLast: 1 }, 23, "42", null],
    ["int4 can be a fixed number", { kind: "fixed", value: "0" }, 23, "42", "0"],
    ["int4 cannot be a fixed word", { kind: "fixed", value: "none" }, 23, "42", null],
    ["int4 cannot be a fraction", { kind: "fixed", value: "0.5" }, 23, "42", null],
    ["numeric can", { kind: "fixed", value: "0.5" }, 1700, "42", "0.5"],
    ["boolean", { kind: "fixed", value: "f" }, 16, "t", "f"],
    ["boolean, badly", { kind: "fixed", value: "maybe" }, 16, "t", null],
    ["json is a JSON string", { kind: "redact" }, 114, '{"a":1}', '"[redacted]"'],
    ["jsonb is a JSON string", { kind: "fixed", value: 'a "b"' }, 3802, '{"a":1}', '"a \\"b\\""'],
    ["date, redacted", { kind: "redact" }, 1082, "1984-05-17", null],
    ["date, to the year", { kind: "truncateDate", to: "year" }, 1082, "1984-05-17", "1984-01-01"],
    ["date, fixed", { kind: "fixed", value: "2000-01-01" }, 1082, "1984-05-17", "2000-01-01"],
    ["date, fixed badly", { kind: "fixed", value: "never" }, 1082, "1984-05-17", null],
    ["date, infinite", { kind: "truncateDate", to: "year" }, 1082, "infinity", null],
    ["date in another DateStyle", { kind: "truncateDate", to: "year" }, 1082, "17.05.1984", null],
    [
      "timestamp",
      { kind: "truncateDate", to: "month" },
      1114,
      "1984-05-17 10:11:12",
      "1984-05-01 00:00:00",
    ],
    [
      "timestamptz, cut in UTC whatever the session's zone",
      { kind: "truncateDate", to: "day" },
      1184,
      "1984-05-17 03:11:12.5+05:30",
      "1984-05-16 00:00:00+00",
    ],
    [
      "timestamptz west of Greenwich, by hours, minutes and seconds",
      { kind: "truncateDate", to: "year" },
      1184,
      "1984-12-31 22:11:12-01:48:48",
      "1985-01-01 00:00:00+00",
    ],
    [
      "timestamptz as no ISO date",
      { kind: "truncateDate", to: "day" },
      1184,
      "Thu May 17 10:11:12 1984 CEST",
      null,
    ],
    ["uuid, redacted", { kind: "redact" }, 2950, "8c5fd3f1-1f0a-4a52-8c41-9d8b5d2c7a10", null],
    [
      "uuid, fixed",
      { kind: "fixed", value: "00000000-0000-0000-0000-000000000000" },
      2950,
      "8c5fd3f1-1f0a-4a52-8c41-9d8b5d2c7a10",
      "00000000-0000-0000-0000-000000000000",
    ],
    ["bytea", { kind: "redact" }, 17, "\\x00", null],
    ["an array of text", { kind: "redact" }, 1009, "{secret}", null],
    ["a type of the user's own", { kind: "redact" }, 90001, "secret", null],
    ["nullify anything", { kind: "nullify" }, 25, "secret", null],
  ];
  for (const [title, transform, typeOid, value, expected] of cases)
    test(title, () => assert.equal(mask(transform, typeOid, value), expected));
});

describe("a mask in the binary format", () => {
  const day = (days: number): Buffer => {
    const out = Buffer.alloc(4);
    out.writeInt32BE(days);
    return out;
  };
  const micros = (value: bigint): Buffer => {
    const out = Buffer.alloc(8);
    out.writeBigInt64BE(value);
    return out;
  };
  const run = (transform: Transform, typeOid: number, value: Buffer): Buffer | null =>
    createMaskBytes(transform, key, typeOid, "binary")(value);

  test("text is the same bytes as in text format", () =>
    assert.equal(run({ kind: "redact" }, 25, Buffer.from("x"))?.toString(), "[redacted]"));
  test("jsonb keeps its version byte", () =>
    assert.equal(
      run({ kind: "redact" }, 3802, Buffer.from('\u0001{"a":1}'))?.toString("latin1"),
      '\u0001"[redacted]"',
    ));
  test("dates are truncated by the calendar, before 2000 too", () => {
    const date = (iso: string): Buffer =>
      day((Date.parse(iso) - Date.parse("2000-01-01")) / 86_400_000);
    assert.deepEqual(
      run({ kind: "truncateDate", to: "month" }, 1082, date("2024-02-29")),
      date("2024-02-01"),
    );
    assert.deepEqual(
      run({ kind: "truncateDate", to: "year" }, 1082, date("1984-05-17")),
      date("1984-01-01"),
    );
    assert.deepEqual(
      run({ kind: "truncateDate", to: "day" }, 1082, date("1999-12-31")),
      date("1999-12-31"),
    );
  });
  test("timestamps lose their time of day, before 2000 too", () => {
    const at = (iso: string): Buffer =>
      micros(BigInt(Date.parse(iso) - Date.parse("2000-01-01T00:00:00Z")) * 1000n);
    assert.deepEqual(
      run({ kind: "truncateDate", to: "day" }, 1114, at("1984-05-17T10:11:12Z")),
      at("1984-05-17T00:00:00Z"),
    );
    assert.deepEqual(
      run({ kind: "truncateDate", to: "year" }, 1184, at("2024-05-17T10:11:12Z")),
      at("2024-01-01T00:00:00Z"),
    );
  });
  test("infinity, wrong lengths and every other type are NULL", () => {
    assert.equal(run({ kind: "truncateDate", to: "day" }, 1082, day(0x7fffffff)), null);
    assert.equal(run({ kind: "truncateDate", to: "day" }, 1114, micros(0x7fffffffffffffffn)), null);
    assert.equal(run({ kind: "truncateDate", to: "day" }, 1082, Buffer.alloc(3)), null);
    assert.equal(run({ kind: "redact" }, 23, day(1)), null);
    assert.equal(run({ kind: "tokenize" }, 23, day(1)), null);
    assert.equal(run({ kind: "fixed", value: "0" }, 1700, day(1)), null);
    assert.equal(run({ kind: "fixed", value: "40000" }, 21, day(1)), null);
    assert.equal(run({ kind: "fixed", value: "never" }, 1082, day(1)), null);
  });
  test("a fixed number, boolean or date is written in the type's own bytes", () => {
    const fixed = (value: string, typeOid: number) =>
      run({ kind: "fixed", value }, typeOid, day(1))?.toString("hex");
    assert.equal(fixed("-2", 21), "fffe");
    assert.equal(fixed("7", 23), "00000007");
    assert.equal(fixed("-1", 20), "ffffffffffffffff");
    assert.equal(fixed("0.5", 700), "3f000000");
    assert.equal(fixed("0.5", 701), "3fe0000000000000");
    assert.equal(fixed("t", 16), "01");
    assert.equal(fixed("2000-01-02", 1082), "00000001");
    assert.equal(fixed("2000-01-02 13:00:00", 1114), micros(86_400_000_000n).toString("hex"));
  });
  test("what was computed from masked columns is one constant of its type, or NULL", () => {
    assert.equal(derivedConstant(false, 25, "binary")?.toString(), "[redacted]");
    assert.equal(derivedConstant(false, 114, "text")?.toString(), '"[redacted]"');
    assert.equal(derivedConstant(false, 3802, "binary")?.toString("latin1"), '\u0001"[redacted]"');
    for (const type of [16, 17, 23, 1009, 1082, 1700, 2249, 2950, 20_001])
      assert.equal(derivedConstant(false, type, "text"), null);
    assert.equal(derivedConstant(true, 25, "text"), null);
  });
  test("one uuid has one hash in both formats", () => {
    const text = "8c5fd3f1-1f0a-4a52-8c41-9d8b5d2c7a10";
    const binary = run({ kind: "hash" }, 2950, Buffer.from(text.replaceAll("-", ""), "hex"));
    assert.equal(binary?.length, 16);
    assert.equal(mask({ kind: "hash" }, 2950, text)?.replaceAll("-", ""), binary?.toString("hex"));
    assert.notEqual(binary?.toString("hex"), text.replaceAll("-", ""));
  });
});
