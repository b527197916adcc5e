import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import {
  brotliCompressSync,
  constants,
  createGzip,
  deflateSync,
  gzipSync,
  zstdCompressSync,
} from "node:zlib";
import fc from "fast-check";

import { DecodedAnswer } from "./decoded-answer.ts";
import type { AnswerControl, AnswerHandler } from "./upstream-connection.ts";

interface Heard {
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body: Buffer;
  readonly error: Error | undefined;
}

/** An upstream's side and an agent's: what was asked of the one, what came to the other. */
function setUp(method = "GET") {
  const asked: string[] = [];
  const upstream: AnswerControl = {
    pause: () => void asked.push("pause"),
    resume: () => void asked.push("resume"),
    abort: () => void asked.push("abort"),
  };
  const chunks: Buffer[] = [];
  let headers: Heard["headers"] = {};
  const over = Promise.withResolvers<Heard>();
  const handler: AnswerHandler = {
    onRequestStart: () => {},
    onResponseStart: (_control, _status, received) => {
      headers = received;
    },
    onResponseData: (_control, chunk) => void chunks.push(Buffer.from(chunk)),
    onResponseEnd: () => over.resolve({ headers, body: Buffer.concat(chunks), error: undefined }),
    onResponseError: (_control, error) =>
      over.resolve({ headers, body: Buffer.concat(chunks), error }),
  };
  const decoded = new DecodedAnswer(handler, method);
  decoded.onRequestStart(upstream);
  return { upstream, decoded, asked, chunks, over: over.promise };
}

const encoders: Readonly<Record<string, (body: Buffer) => Buffer>> = {
  gzip: gzipSync,
  "X-Gzip": gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
  zstd: zstdCompressSync,
};

test("an encoded answer arrives as what it says, whatever the pieces it comes in", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.keys(encoders)),
      fc.uint8Array({ maxLength: 50_000 }),
      fc.integer({ min: 1, max: 5_000 }),
      async (encoding, bytes, size) => {
        const { decoded, upstream, over } = setUp();
        const encoded = encoders[encoding]?.(Buffer.from(bytes)) ?? Buffer.alloc(0);
        decoded.onResponseStart(upstream, 200, {
          "content-encoding": encoding,
          "content-length": String(encoded.length),
          "content-type": "text/plain",
        });
        for (let at = 0; at < encoded.length; at += size) {
          const piece = Buffer.from(encoded.subarray(at, at + size));
          decoded.onResponseData(upstream, piece);
          piece.fill(0);
        }
        decoded.onResponseEnd(upstream, {});
        const { headers, body, error } = await over;
        assert.equal(error, undefined);
        assert.deepEqual(headers, { "content-type": "text/plain" });
        assert.deepEqual(body, Buffer.from(bytes));
      },
    ),
    { numRuns: 50 },
  );
});

test("what an upstream flushed arrives before the next of it comes", async () => {
  const { decoded, upstream, chunks } = setUp();
  const gzip = createGzip({ flush: constants.Z_SYNC_FLUSH });
  const pieces: Buffer[] = [];
  gzip.on("data", (piece: Buffer) => void pieces.push(piece));
  decoded.onResponseStart(upstream, 200, { "content-encoding": "gzip" });
  gzip.write("data: 1\n\n");
  await once(gzip, "data");
  decoded.onResponseData(upstream, Buffer.concat(pieces));
  while (chunks.length === 0) await new Promise(setImmediate);
  assert.equal(String(chunks[0]), "data: 1\n\n");
  decoded.abort(new Error("enough"));
});

test("a small answer that unpacks to a large one is held back like the large one", async () => {
  const { decoded, upstream, asked, chunks, over } = setUp();
  decoded.onResponseStart(upstream, 200, { "content-encoding": "gzip" });
  decoded.pause();
  decoded.onResponseData(upstream, gzipSync(Buffer.alloc(64 * 1024 * 1024)));
  assert.deepEqual(asked, ["pause"]);
  for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
  assert.equal(chunks.length, 0);
  decoded.resume();
  decoded.onResponseEnd(upstream, {});
  assert.equal((await over).body.length, 64 * 1024 * 1024);
});

test("what is not encoded as it says ends the answer as an error of the upstream, and so does what breaks off", async () => {
  for (const body of [Buffer.from("no gzip"), gzipSync("a".repeat(100)).subarray(0, 20)]) {
    const { decoded, upstream, over } = setUp();
    decoded.onResponseStart(upstream, 200, { "content-encoding": "gzip" });
    decoded.onResponseData(upstream, body);
    decoded.onResponseEnd(upstream, {});
    assert.match(String((await over).error), /not encoded as its Content-Encoding says/);
  }
});

test("what it cannot decode, and what has no body, passes as it is", () => {
  for (const [method, status, encoding] of [
    ["GET", 200, "compress"],
    ["GET", 200, "gzip, br"],
    ["GET", 206, "gzip"],
    ["HEAD", 200, "gzip"],
    ["GET", 304, "gzip"],
  ] as const) {
    const { decoded, upstream, chunks } = setUp(method);
    decoded.onResponseStart(upstream, status, { "content-encoding": encoding });
    decoded.onResponseData(upstream, Buffer.from("x"));
    assert.deepEqual(chunks, [Buffer.from("x")]);
  }
});

test("an agent that leaves ends what the decoder still holds", async () => {
  const { decoded, upstream, over, asked } = setUp();
  decoded.onResponseStart(upstream, 200, { "content-encoding": "gzip" });
  decoded.pause();
  decoded.onResponseData(upstream, gzipSync(Buffer.alloc(1024 * 1024)));
  decoded.onResponseEnd(upstream, {});
  decoded.abort(new Error("gone"));
  assert.equal((await over).error?.message, "gone");
  assert.ok(!asked.includes("abort"), "the upstream had ended and may carry the next request");
});

test("what follows behind the end of an encoded answer is never left out as if it were not there", async () => {
  const body = Buffer.from("abc".repeat(1_000));
  for (const [encoding, encode] of Object.entries(encoders))
    for (const rest of [Buffer.from("rest"), encode(body).subarray(0, -1), encode(body)])
      for (const isApart of [false, true]) {
        const { decoded, upstream, over, asked } = setUp();
        decoded.onResponseStart(upstream, 200, { "content-encoding": encoding });
        const whole = encode(body);
        const pieces = isApart ? [whole, rest] : [Buffer.concat([whole, rest])];
        for (const piece of pieces) decoded.onResponseData(upstream, piece);
        decoded.onResponseEnd(upstream, {});
        const heard = await over;
        if (heard.error === undefined)
          assert.equal(heard.body.length, 2 * body.length, `${encoding} ${rest.length}`);
        else assert.ok(asked.includes("abort"));
      }
});

test("an upstream that never stops behind the end of an encoded answer is given up", async () => {
  for (const [encoding, encode] of Object.entries(encoders)) {
    const { decoded, upstream, over, asked } = setUp();
    decoded.onResponseStart(upstream, 200, { "content-encoding": encoding });
    decoded.onResponseData(upstream, encode(Buffer.from("answer")));
    decoded.onResponseData(upstream, Buffer.alloc(64 * 1024, "x"));
    assert.ok((await over).error instanceof Error, encoding);
    assert.ok(asked.includes("abort"), encoding);
  }
});
