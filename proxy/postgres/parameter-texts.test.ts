// Property: wherever among the parameters of a Bind a card number stands, in whatever format and type, it is found, or the parameter is said to be unread.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { serialize } from "pg-protocol";
import { createSqlDetector } from "../../policy/mask/detect.ts";
import { findIn } from "../../policy/sql/findings.ts";
import { readBind } from "./decode.ts";
import { parameterTexts } from "./parameter-texts.ts";

const card = "4111111111111111";
const detector = createSqlDetector({ detector: "credit-card" });

interface Sent {
  readonly type: number;
  readonly value: string | Buffer | null;
}

function int8(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}

/** 4111 1111 1111 1111 as four groups of four digits. */
const numeric = Buffer.from("0004000300000000100f045704570457", "hex");

function array(element: number, values: readonly Buffer[], at: number): Buffer {
  const head = Buffer.alloc(20);
  head.writeInt32BE(1, 0);
  head.writeUInt32BE(element, 8);
  head.writeInt32BE(values.length + at, 12);
  head.writeInt32BE(1, 16);
  const nulls = Array.from({ length: at }, () => Buffer.from("ffffffff", "hex"));
  const items = values.map((value) => {
    const length = Buffer.alloc(4);
    length.writeInt32BE(value.length);
    return Buffer.concat([length, value]);
  });
  return Buffer.concat([head, ...nulls, ...items]);
}

const texts = [0, 19, 25, 114, 142, 705, 1042, 1043, 17, 20, 1700, 3802, 1009, 2249, 20_001];

const canary: fc.Arbitrary<Sent> = fc.oneof(
  fc.constantFrom(...texts).map((type): Sent => ({ type, value: card })),
  fc.constantFrom(...texts).map((type): Sent => ({ type, value: Buffer.from(card) })),
  fc.constantFrom(20, 790, 0, 20_001).map((type): Sent => ({ type, value: int8(BigInt(card)) })),
  fc
    .constantFrom(1700, 0, 20_001, 25)
    .map((type): Sent => ({ type, value: numeric }))
    .filter(({ type }) => type !== 25),
  fc.constant<Sent>({ type: 3802, value: Buffer.from(`\u0001{"a":"\\u0034${card.slice(1)}"}`) }),
  fc.constant<Sent>({ type: 17, value: `\\x${Buffer.from(card).toString("hex")}` }),
  fc.constant<Sent>({ type: 0, value: `{"\\\\x${Buffer.from(card).toString("hex")}"}` }),
  fc.nat(5).map((at): Sent => ({ type: 1016, value: array(20, [int8(BigInt(card))], at) })),
  fc.nat(5).map((at): Sent => ({ type: 1231, value: array(1700, [numeric], at) })),
  fc.nat(5).map((at): Sent => ({ type: 1001, value: array(17, [Buffer.from(card)], at) })),
  fc.nat(5).map((at): Sent => ({ type: 1009, value: array(25, [Buffer.from(card)], at) })),
  // Broken, or of an element that nobody knows.
  fc.constantFrom(0, 3, 11, 12, 19, 21, 23).map((cut): Sent => ({
    type: 1016,
    value: array(20, [int8(BigInt(card))], 0).subarray(0, cut),
  })),
  fc.constant<Sent>({ type: 1016, value: array(20_001, [int8(BigInt(card))], 0) }),
);

const other: fc.Arbitrary<Sent> = fc.oneof(
  fc.constant<Sent>({ type: 25, value: null }),
  fc
    .constantFrom("a", "", "\\", "\\u12", "1e9", "0x", "1e99")
    .map((value): Sent => ({ type: 25, value })),
  fc.constant<Sent>({ type: 16, value: Buffer.of(1) }),
);

function look(sent: readonly Sent[]): {
  readonly found: boolean;
  readonly unread: string | undefined;
} {
  const bind = serialize.bind({ values: sent.map(({ value }) => value) });
  const { parametersAt } = readBind(bind, 0, bind.length);
  const spoken = parameterTexts(
    bind.subarray(parametersAt),
    sent.map(({ type }) => type),
  );
  return { found: findIn(spoken, [detector]).has(detector), unread: spoken.unread };
}

test("a card number among any parameters, in any format and type, is found or said to be unread", () => {
  fc.assert(
    fc.property(
      fc.array(other, { maxLength: 4 }),
      canary,
      fc.array(other, { maxLength: 4 }),
      (before, one, behind) => {
        const { found, unread } = look([...before, one, ...behind]);
        assert.ok(found || unread !== undefined);
      },
    ),
    { numRuns: 2_000 },
  );
});

test("bytes of any kind and type are read without an error", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 64 }),
      fc.constantFrom(
        0,
        16,
        17,
        18,
        20,
        650,
        700,
        790,
        869,
        1009,
        1016,
        1082,
        1083,
        1114,
        1186,
        1231,
        1266,
        1700,
        3802,
      ),
      (bytes, type) => {
        look([{ type, value: Buffer.from(bytes) }]);
      },
    ),
    { numRuns: 5_000 },
  );
});

test("parameters in which nothing stands are found empty and read whole", () => {
  fc.assert(
    fc.property(fc.array(other, { maxLength: 8 }), (sent) => {
      assert.deepEqual(look(sent), { found: false, unread: undefined });
    }),
  );
});
