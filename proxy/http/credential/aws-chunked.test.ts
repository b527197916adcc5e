import assert from "node:assert/strict";
import { test } from "node:test";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import fc from "fast-check";

import { ProxyError } from "../../errors.ts";
import { AwsChunkedDecoder, AwsChunkedEncoder, chunkBytes, encodedLength } from "./aws-chunked.ts";
import { emptySha256, sign } from "./sigv4.ts";

const date = "20261120T100007Z";
const signature = sign(
  { method: "PUT", target: "/a", headers: ["host", "a"], payload: emptySha256, date },
  { accessKeyId: "id", secretAccessKey: "secret" },
  { service: "s3", region: "eu-central-1" },
);

/** Pieces that end at these places, in any order. */
function split(bytes: Buffer, at: readonly number[]): Buffer[] {
  const cuts = [...new Set(at.map((cut) => Math.min(cut, bytes.length)))].toSorted((a, b) => a - b);
  return [...cuts, bytes.length].map((end, index) => bytes.subarray(cuts[index - 1] ?? 0, end));
}

async function encode(pieces: readonly Buffer[]): Promise<Buffer> {
  return await buffer(Readable.from(pieces).compose(new AwsChunkedEncoder(signature, date)));
}

async function decode(pieces: readonly Buffer[], expected?: number): Promise<Buffer> {
  const decoder = new AwsChunkedDecoder(expected);
  const [bytes] = await Promise.all([
    buffer(decoder),
    pipeline(Readable.from(pieces, { objectMode: true }), decoder),
  ]);
  return bytes;
}

test("what is encoded is as long as was said, and decodes to what it was, however it is split", async () => {
  const length = fc.oneof(
    fc.integer({ min: 1, max: 300 }),
    fc.integer({ min: chunkBytes - 2, max: chunkBytes + 2 }),
    fc.integer({ min: 2 * chunkBytes - 2, max: 2 * chunkBytes + 2 }),
  );
  await fc.assert(
    fc.asyncProperty(
      length,
      fc.array(fc.nat({ max: 200_000 }), { maxLength: 6 }),
      async (size, cuts) => {
        const bytes = Buffer.alloc(size, "abcdefg");
        const encoded = await encode(split(bytes, cuts).filter((piece) => piece.length > 0));
        assert.equal(encoded.length, encodedLength(size));
        assert.deepEqual(await decode(split(encoded, cuts), size), bytes);
      },
    ),
    { numRuns: 40 },
  );
});

test("the same body has the same chunks, however its bytes arrive", async () => {
  const bytes = Buffer.alloc(150_000, "x");
  const whole = await encode([bytes]);
  assert.deepEqual(await encode(split(bytes, [1, 70_000, 70_001])), whole);
});

test("every split of an SDK's own framing is read alike, trailing checksums and extensions included", async () => {
  const wire = Buffer.from(
    "5;chunk-signature=ab\r\nhello\r\n1\r\n!\r\n0;chunk-signature=cd\r\nx-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:ef\r\n\r\n",
  );
  for (let at = 0; at <= wire.length; at += 1)
    assert.equal(String(await decode(split(wire, [at]), 6)), "hello!");
  assert.equal(String(await decode([...wire].map((byte) => Buffer.from([byte])))), "hello!");
});

for (const [title, wire, expected] of [
  ["that ends early", "5\r\nhel", undefined],
  ["without a last chunk", "5\r\nhello\r\n", 5],
  ["without an end", "5\r\nhello\r\n0\r\n", 5],
  ["that goes on behind its end", "0\r\n\r\nGET / HTTP/1.1\r\n", 0],
  ["longer than it said", "6\r\nhello!\r\n0\r\n\r\n", 5],
  ["shorter than it said", "5\r\nhello\r\n0\r\n\r\n", 6],
  ["with a bare line feed", "5\nhello\n0\n\n", 5],
  ["with a size that is none", "zz\r\nhello\r\n0\r\n\r\n", undefined],
  ["with a size and a sign", "+5\r\nhello\r\n0\r\n\r\n", undefined],
  ["with a size over all bounds", "ffffffff\r\nhello", undefined],
  ["with data that is longer than its size", "4\r\nhello\r\n0\r\n\r\n", undefined],
  ["with a line without end", "5".repeat(10_000), undefined],
] as const) {
  test(`a body ${title} is refused as malformed`, async () => {
    for (const pieces of [[Buffer.from(wire)], [...Buffer.from(wire)].map((b) => Buffer.from([b]))])
      await assert.rejects(
        decode(pieces, expected),
        (error: unknown) => error instanceof ProxyError && error.code === "MalformedRequest",
      );
  });
}
