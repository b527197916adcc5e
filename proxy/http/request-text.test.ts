import assert from "node:assert/strict";
import { test } from "node:test";
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";

import { decodedBody } from "./request-text.ts";

const encoders = {
  gzip: gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
  zstd: zstdCompressSync,
};
const text = Buffer.from("abc".repeat(20_000));
const read = (body: Buffer, encoding: string, limit = 1_000_000): Promise<Buffer> =>
  decodedBody(body, encoding, limit, "a request");

test("a body is read as what its Content-Encoding says, up to the limit and no further", async () => {
  for (const [encoding, encode] of Object.entries(encoders)) {
    const body = encode(text);
    assert.deepEqual(await read(body, encoding, text.length), text);
    await assert.rejects(read(body, encoding, text.length - 1), { code: "TooLarge" });
    const zeros = encode(Buffer.alloc(64 * 1024 * 1024));
    await assert.rejects(read(zeros, encoding), { code: "TooLarge" });
  }
});

test("a body that ends early, or goes on behind its end, is refused: another reader could see another text", async () => {
  for (const [encoding, encode] of Object.entries(encoders)) {
    const body = encode(text);
    for (const wrong of [body.subarray(0, -1), Buffer.concat([body, Buffer.from("rest")]), text])
      await assert.rejects(read(wrong, encoding), { code: "MalformedRequest" }, encoding);
    const twice = await read(Buffer.concat([body, body]), encoding).catch(
      (error: unknown) => error,
    );
    // RFC 1952 section 2.2: members of gzip follow one another, and are read.
    if (Buffer.isBuffer(twice)) assert.equal(twice.length, 2 * text.length);
    else assert.equal(encoding === "gzip", false);
  }
});
