import assert from "node:assert/strict";
import { test } from "node:test";

import { context, integer, objectIdentifier, octetString, sequence, time } from "./der.ts";

for (const [title, actual, hex] of [
  [
    "an object identifier with arcs over 127",
    objectIdentifier("1.2.840.10045.4.3.2"),
    "06082a8648ce3d040302",
  ],
  ["an integer without needless zeros", integer(Buffer.from([0, 0, 1])), "020101"],
  ["a zero", integer(Buffer.from([0])), "020100"],
  ["an integer whose first bit is set stays positive", integer(Buffer.from([0x80])), "02020080"],
  [
    "UTCTime before 2050",
    time(new Date("2026-11-20T10:11:12.345Z")),
    "170d3236313132303130313131325a",
  ],
  [
    "GeneralizedTime from 2050 on",
    time(new Date("2050-01-01T00:00:00Z")),
    "180f32303530303130313030303030305a",
  ],
  ["a context tag that wraps", context(0, integer(Buffer.of(2)), true), "a003020102"],
  ["a context tag that replaces", context(2, Buffer.from("ab"), false), "82026162"],
] as const) {
  test(`writes ${title}`, () => assert.equal(actual.toString("hex"), hex));
}

test("writes lengths in the shortest form", () => {
  assert.equal(octetString(Buffer.alloc(127)).subarray(0, 2).toString("hex"), "047f");
  assert.equal(octetString(Buffer.alloc(128)).subarray(0, 3).toString("hex"), "048180");
  assert.equal(sequence(Buffer.alloc(256)).subarray(0, 4).toString("hex"), "30820100");
});
