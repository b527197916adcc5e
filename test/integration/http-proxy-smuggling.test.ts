// Requests that two readers could read differently, as raw bytes: each is refused, or reaches the origin in one unambiguous form.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import fc from "fast-check";

import { raw, startRoom } from "./http-proxy-fixture.ts";
import type { TestRoom } from "./http-proxy-fixture.ts";

interface Case {
  readonly title: string;
  readonly bytes: string;
  /** Absent: refused with 4xx or 5xx and nothing reaches the origin. */
  readonly reaches?: readonly RegExp[];
}

const H = "Host: a\r\n";
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

const corpus: readonly Case[] = [
  {
    title: "TRACE, whose answer would show the credential,",
    bytes: `TRACE / HTTP/1.1\r\n${H}\r\n`,
  },
  {
    title: "Content-Length and Transfer-Encoding",
    bytes: `POST / HTTP/1.1\r\n${H}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
  },
  {
    title: "Transfer-Encoding and Content-Length, the other way round",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nContent-Length: ${smuggled.length}\r\n\r\n0\r\n\r\n${smuggled}`,
  },
  {
    title: "two different Content-Lengths",
    bytes: `POST / HTTP/1.1\r\n${H}Content-Length: 0\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
  },
  {
    title: "two equal Content-Lengths",
    bytes: `POST / HTTP/1.1\r\n${H}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx`,
  },
  {
    title: "a list in Content-Length",
    bytes: `POST / HTTP/1.1\r\n${H}Content-Length: 1, 1\r\n\r\nx`,
  },
  { title: "a signed Content-Length", bytes: `POST / HTTP/1.1\r\n${H}Content-Length: +1\r\n\r\nx` },
  {
    title: "a negative Content-Length",
    bytes: `POST / HTTP/1.1\r\n${H}Content-Length: -1\r\n\r\nx`,
  },
  {
    title: "a hexadecimal Content-Length",
    bytes: `POST / HTTP/1.1\r\n${H}Content-Length: 0x1\r\n\r\nx`,
  },
  {
    title: "an endless Content-Length",
    bytes: `POST / HTTP/1.1\r\n${H}Content-Length: 99999999999999999999\r\n\r\nx`,
  },
  {
    title: "an empty Content-Length",
    bytes: `POST / HTTP/1.1\r\n${H}Content-Length:\r\n\r\n${smuggled}`,
  },
  {
    title: "Transfer-Encoding that is not chunked",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: identity\r\n\r\n${smuggled}`,
  },
  {
    title: "chunked that is not last",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${smuggled}`,
  },
  {
    title: "gzip before chunked",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  },
  {
    title: "chunked twice",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  },
  {
    title: "chunked behind a vertical tab",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n${smuggled}`,
  },
  {
    title: "chunked in quotes",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n${smuggled}`,
  },
  {
    title: "xchunked",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${smuggled}`,
  },
  {
    title: "a space before the colon",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${smuggled}`,
  },
  {
    title: "a line folded in obsolete style",
    bytes: `GET / HTTP/1.1\r\n${H}X-A: 1\r\n Transfer-Encoding: chunked\r\n\r\n`,
  },
  {
    title: "a first header line that begins with a space",
    bytes: `GET / HTTP/1.1\r\n Host: a\r\n\r\n`,
  },
  { title: "a bare line feed between headers", bytes: `GET / HTTP/1.1\r\nHost: a\nX-A: 1\r\n\r\n` },
  {
    title: "a bare carriage return in a header",
    bytes: `GET / HTTP/1.1\r\n${H}X-A: 1\rX-B: 2\r\n\r\n`,
  },
  { title: "a bare line feed at the end of the head", bytes: `GET / HTTP/1.1\r\n${H}\n` },
  { title: "a NUL in a header", bytes: `GET / HTTP/1.1\r\n${H}X-A: 1\x002\r\n\r\n` },
  { title: "a header line without a colon", bytes: `GET / HTTP/1.1\r\n${H}nonsense\r\n\r\n` },
  { title: "a header name with a space", bytes: `GET / HTTP/1.1\r\n${H}X A: 1\r\n\r\n` },
  { title: "an empty header name", bytes: `GET / HTTP/1.1\r\n${H}: 1\r\n\r\n` },
  { title: "no Host", bytes: `GET / HTTP/1.1\r\n\r\n` },
  { title: "an empty Host", bytes: `GET / HTTP/1.1\r\nHost:\r\n\r\n` },
  { title: "two Hosts", bytes: `GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n` },
  { title: "two equal Hosts", bytes: `GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n` },
  { title: "a Host with a path", bytes: `GET / HTTP/1.1\r\nHost: a/b\r\n\r\n` },
  { title: "a Host with a user", bytes: `GET / HTTP/1.1\r\nHost: u@a\r\n\r\n` },
  { title: "a Host with two names", bytes: `GET / HTTP/1.1\r\nHost: a, b\r\n\r\n` },
  { title: "a Host with an impossible port", bytes: `GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n` },
  {
    title: "an absolute target that disagrees with Host",
    bytes: `GET http://b/ HTTP/1.1\r\n${H}\r\n`,
  },
  { title: "an absolute target with a user", bytes: `GET http://u@a/ HTTP/1.1\r\n${H}\r\n` },
  { title: "a target of another scheme", bytes: `GET ftp://a/ HTTP/1.1\r\n${H}\r\n` },
  { title: "an asterisk target", bytes: `OPTIONS * HTTP/1.1\r\n${H}\r\n` },
  { title: "a target without a slash", bytes: `GET v1/orders HTTP/1.1\r\n${H}\r\n` },
  { title: "a target with a fragment", bytes: `GET /a#b HTTP/1.1\r\n${H}\r\n` },
  { title: "a target with bytes over 127", bytes: `GET /\xe4 HTTP/1.1\r\n${H}\r\n` },
  { title: "a target with a tab", bytes: `GET /a\tb HTTP/1.1\r\n${H}\r\n` },
  { title: "a method in small letters", bytes: `get / HTTP/1.1\r\n${H}\r\n` },
  { title: "a request line with two spaces", bytes: `GET  /two HTTP/1.1\r\n${H}\r\n` },
  { title: "an unknown version", bytes: `GET / HTTP/1.9\r\n${H}\r\n` },
  { title: "HTTP/0.9", bytes: `GET /\r\n\r\n` },
  { title: "the preface of HTTP/2", bytes: `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` },
  { title: "a TLS hello", bytes: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" },
  {
    title: "a chunk size that is no number",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
  },
  {
    title: "a chunk size with a sign",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n`,
  },
  {
    title: "a chunk size that overflows",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n`,
  },
  {
    title: "a chunk longer than it says",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n`,
  },
  {
    title: "a chunk that ends with a bare line feed",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n`,
  },
  {
    title: "a chunk size that ends with a bare line feed",
    bytes: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n`,
  },
  { title: "201 headers", bytes: `GET / HTTP/1.1\r\n${H}${"X-A: 1\r\n".repeat(200)}\r\n` },
  {
    title: "a head over 32 KiB",
    bytes: `GET / HTTP/1.1\r\n${H}X-A: ${"x".repeat(33_000)}\r\n\r\n`,
  },
  {
    title: "an expectation that is not 100-continue",
    bytes: `GET / HTTP/1.1\r\n${H}Expect: 200-ok\r\n\r\n`,
  },
  {
    title: "a header that takes another method",
    bytes: `GET / HTTP/1.1\r\n${H}X-HTTP-Method-Override: DELETE\r\n\r\n`,
  },
  { title: "a path with dot segments", bytes: `GET /a/../b HTTP/1.1\r\n${H}\r\n` },
  { title: "a path with an encoded slash", bytes: `GET /a%2fb HTTP/1.1\r\n${H}\r\n` },

  {
    title: "a plain request",
    bytes: `GET /plain HTTP/1.1\r\n${H}\r\n`,
    reaches: [
      /^GET \/plain HTTP\/1\.1\r\nhost: 127\.0\.0\.1:\d+\r\nconnection: keep-alive\r\n\r\n$/,
    ],
  },
  {
    title: "an absolute target that agrees with Host",
    bytes: `GET http://a/abs?x=1 HTTP/1.1\r\n${H}\r\n`,
    reaches: [/^GET \/abs\?x=1 HTTP\/1\.1\r\nhost: 127\.0\.0\.1:\d+\r\n/],
  },
  {
    title: "two pipelined requests",
    bytes: `GET /1 HTTP/1.1\r\n${H}\r\nGET /2 HTTP/1.1\r\n${H}\r\n`,
    reaches: [/^GET \/1 /, /^GET \/2 /],
  },
  {
    title: "a body with a length",
    bytes: `POST /len HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\nhello`,
    reaches: [/^POST \/len [^]*content-length: 5\r\n\r\nhello$/],
  },
  {
    title: "a body in chunks with an extension, which is not passed on",
    bytes: `POST /chunks HTTP/1.1\r\n${H}Transfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n`,
    reaches: [/^POST \/chunks (?![^]*a=b)[^]*content-length: 5\r\n\r\nhello$/],
  },
  {
    title: "trailers of a request, which are not passed on",
    bytes: `POST /trailers HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n5\r\nhello\r\n0\r\nAuthorization: mine\r\n\r\n`,
    reaches: [/^POST \/trailers (?![^]*(mine|trailer:))[^]*content-length: 5\r\n\r\nhello$/i],
  },
  {
    title: "a request after the body of a GET",
    bytes: `GET /body HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\nhelloGET /next HTTP/1.1\r\n${H}\r\n`,
    reaches: [/^GET \/body [^]*content-length: 5\r\n\r\nhello$/, /^GET \/next /],
  },
  {
    title: "hop-by-hop headers and a Connection that names more",
    bytes: `GET /hop HTTP/1.1\r\n${H}Connection: X-Drop, close\r\nX-Drop: 1\r\nKeep-Alive: 1\r\nTE: trailers\r\nProxy-Connection: x\r\nX-Keep: 2\r\n\r\n`,
    reaches: [
      /^GET \/hop HTTP\/1\.1\r\nhost: [^\r]+\r\nconnection: keep-alive\r\nx-keep: 2\r\n\r\n$/,
    ],
  },
  {
    title: "HTTP/1.0 with a Host",
    bytes: `GET /old HTTP/1.0\r\n${H}\r\n`,
    reaches: [/^GET \/old HTTP\/1\.1\r\n/],
  },
];

/** An origin that keeps the bytes of every connection apart and answers each request it can see. */
async function byteOrigin(
  t: TestContext,
): Promise<{ port: number; received: () => string[]; clear: () => void }> {
  let messages: string[] = [];
  const server = createServer((socket) => {
    let pending = "";
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      pending += chunk.toString("latin1");
      for (let length = messageLength(pending); length > 0; length = messageLength(pending)) {
        messages.push(pending.slice(0, length));
        pending = pending.slice(length);
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return { port: address.port, received: () => messages, clear: () => (messages = []) };
}

/** Length of the first whole message, read as simply as an origin could: 0 when it is not whole. */
function messageLength(text: string): number {
  const head = text.indexOf("\r\n\r\n");
  if (head < 0) return 0;
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, head))?.[1];
  if (/\r\ntransfer-encoding: chunked/i.test(text.slice(0, head))) {
    const end = text.indexOf("0\r\n\r\n", head + 4);
    return end < 0 ? 0 : end + 5;
  }
  const total = head + 4 + Number(length ?? 0);
  return text.length >= total ? total : 0;
}

async function room(
  t: TestContext,
): Promise<{ room: TestRoom; origin: Awaited<ReturnType<typeof byteOrigin>> }> {
  const origin = await byteOrigin(t);
  return { origin, room: await startRoom(t, [{ upstream: { port: origin.port } }]) };
}

test("the corpus", async (t) => {
  const { room: target, origin } = await room(t);
  for (const { title, bytes, reaches } of corpus) {
    await t.test(
      reaches === undefined ? `${title} is refused` : `${title} arrives in one form`,
      async () => {
        origin.clear();
        const answer = await raw(target.port, Buffer.from(bytes, "latin1"), 150);
        assert.ok(
          !origin.received().some((message) => message.includes("/smuggled")),
          "a hidden request reached the origin",
        );
        if (reaches === undefined) {
          assert.deepEqual(origin.received(), []);
          assert.match(answer, /^(HTTP\/1\.1 [45]\d\d |$)/);
          assert.doesNotMatch(answer, /HTTP\/1\.1 200/);
          return;
        }
        assert.equal(origin.received().length, reaches.length, origin.received().join("\n----\n"));
        reaches.forEach((pattern, index) => assert.match(origin.received()[index] ?? "", pattern));
        assert.equal(answer.split("HTTP/1.1 200").length - 1, reaches.length);
      },
    );
  }
});

test("however its bytes are cut into segments, a request means the same", async (t) => {
  const { room: target, origin } = await room(t);
  const bytes =
    "POST /cut HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  const { connect } = await import("node:net");
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
        const [first, second] = origin.received();
        assert.match(first ?? "", /^POST \/cut /);
        assert.match(second ?? "", /^GET \/after /);
        const body = (first ?? "")
          .slice((first ?? "").indexOf("\r\n\r\n") + 4)
          .replace(/[0-9a-f]+\r\n([^\r]*)\r\n/g, "$1")
          .replace(/\r\n$/, "");
        assert.equal(body, "hello world");
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
          250,
        );
        const received = origin.received().filter((message) => message.includes(`-${run} HTTP`));
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
        const paths = received.map((message) => message.slice(0, message.indexOf(" HTTP")));
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
        for (const message of received) {
          assert.doesNotMatch(
            message,
            /\r\n(authorization|x-api-key|x-forwarded-for|te|trailer|expect|keep-alive):/i,
          );
          assert.ok((message.match(/\r\n(content-length|transfer-encoding):/gi) ?? []).length <= 1);
        }
      },
    ),
    { numRuns: 60 },
  );
  assert.ok(origin.received().length > 5, "some of them pass");
});
