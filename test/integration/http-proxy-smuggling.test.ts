// Properties of requests as raw bytes, beside the corpus (http-corpus.test.ts): how they are cut into segments, and what their headers can do to each other.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import fc from "fast-check";

import { startByteOrigin } from "./http-byte-origin.ts";
import type { ByteOrigin } from "./http-byte-origin.ts";
import { raw, startRoom } from "./http-proxy-fixture.ts";
import type { TestRoom } from "./http-proxy-fixture.ts";

async function room(t: TestContext): Promise<{ room: TestRoom; origin: ByteOrigin }> {
  const origin = await startByteOrigin();
  t.after(() => origin.close());
  return { origin, room: await startRoom(t, [{ upstream: { port: origin.port } }]) };
}

test("however its bytes are cut into segments, a request means the same", async (t) => {
  const { room: target, origin } = await room(t);
  const bytes =
    "POST /cut HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.integer({ min: 1, max: bytes.length - 1 }), { maxLength: 6 }),
      async (cuts) => {
        origin.clear();
        const socket = connect({ port: target.port, host: "127.0.0.1", noDelay: true });
        let answer = "";
        socket.on("data", (chunk) => (answer += chunk.toString("latin1")));
        const closed = once(socket, "close");
        let from = 0;
        for (const to of [...cuts.toSorted((a, b) => a - b), bytes.length]) {
          socket.write(bytes.slice(from, to));
          await new Promise((resolve) => setImmediate(resolve));
          from = to;
        }
        await closed;
        assert.equal(answer.split("HTTP/1.1 200").length - 1, 2);
        assert.deepEqual(
          origin.arrived.map(({ line, body }) => [line, body]),
          [
            ["POST /cut", "hello world"],
            ["GET /after", ""],
          ],
        );
      },
    ),
    { numRuns: 60 },
  );
});

test("no combination of header names and values makes one request two, or brings a credential of the agent's through", async (t) => {
  const { room: target, origin } = await room(t);
  const name = fc.constantFrom(
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Authorization",
    "X-Api-Key",
    "Expect",
    "Trailer",
    "TE",
    "Keep-Alive",
    "X-A",
    "content-length",
    "CONNECTION",
    "X-Forwarded-For",
  );
  const value = fc.constantFrom(
    "0",
    "5",
    "chunked",
    "Chunked",
    "keep-alive",
    "close",
    "authorization",
    "x-api-key, close",
    "100-continue",
    "mine",
    "identity",
    "5, 5",
    "",
  );
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(name, value), { maxLength: 5 }),
      fc.constantFrom("", "hello", "5\r\nhello\r\n0\r\n\r\n", "0\r\n\r\n<next>"),
      async (headers, body) => {
        const run = ++runs;
        const lines = headers.map(([key, text]) => `${key}: ${text}\r\n`).join("");
        const next = `GET /next-${run} HTTP/1.1\r\nHost: a\r\n\r\n`;
        await raw(
          target.port,
          `POST /one-${run} HTTP/1.1\r\nHost: a\r\n${lines}\r\n${body.replace("<next>", next)}`,
          100,
        );
        const received = origin.arrived.filter(({ line, cut }) => line.endsWith(`-${run}`) && !cut);
        // What follows a complete message is a request of its own; two framings end this body just before it.
        const valuesOf = (wanted: string): string[] =>
          headers
            .filter(([key]) => key.toLowerCase() === wanted)
            .map(([, text]) => text.toLowerCase());
        const lengths = valuesOf("content-length");
        const codings = valuesOf("transfer-encoding");
        const ends =
          (codings.length === 1 && codings[0] === "chunked" && lengths.length === 0) ||
          (codings.length === 0 && lengths.length === 1 && lengths[0] === "5");
        const paths = received.map(({ line }) => line);
        // Either may be refused for what its headers say; neither is anything else, and none comes twice.
        const allowed = [
          `POST /one-${run}`,
          ...(ends && body.includes("<next>") ? [`GET /next-${run}`] : []),
        ];
        assert.deepEqual(
          paths,
          allowed.filter((path) => paths.includes(path)),
          lines,
        );
        for (const { headers } of received) {
          const sent = headers.join("\n");
          assert.doesNotMatch(
            sent,
            /^(authorization|x-api-key|x-forwarded-for|te|expect|keep-alive):/m,
          );
          // Trailers pass with what announces them; what may not pass in a head is not announced, either.
          assert.doesNotMatch(
            sent,
            /^trailer:.*\b(authorization|x-api-key|x-forwarded-for|te|expect|keep-alive|host|content-length|transfer-encoding)\b/im,
          );
        }
        assert.deepEqual(origin.faults, []);
      },
    ),
    { numRuns: 60 },
  );
  assert.ok(origin.arrived.length > 5, "some of them pass");
});
