import assert from "node:assert/strict";
import { createServer, METHODS } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { duplexPair } from "node:stream";
import { test } from "node:test";

import fc from "fast-check";

import { ProxyError } from "../errors.ts";
import { readHead } from "./head.ts";
import { RequestParser, Unreadable } from "./request-parser.ts";

interface Message {
  method: string;
  target: string;
  headers: readonly string[];
  body: string;
  trailers: readonly string[];
  whole: boolean;
}

interface Reading {
  readonly messages: Message[];
  readonly error: unknown;
}

/** What is read from these pieces, one request after the other, as a connection would. */
function readPieces(pieces: readonly Buffer[], checksHead = false): Reading {
  const messages: Message[] = [];
  let current: Message | undefined;
  const parser = new RequestParser({
    head({ method, target, headers, length, isLast: last }) {
      isLast = last;
      if (checksHead) readHead(method, target, headers);
      current = { method, target, headers, body: "", trailers: [], whole: length === 0 };
      messages.push(current);
      if (length === 0) ended();
    },
    data(chunk) {
      if (current !== undefined) current.body += chunk.toString("latin1");
    },
    end(trailers) {
      if (current !== undefined) Object.assign(current, { trailers, whole: true });
      ended();
    },
  });
  const queue: (() => void)[] = [];
  let isLast = false;
  const ended = (): void => {
    if (!isLast) queue.push(() => parser.next());
  };
  try {
    for (const piece of pieces) {
      parser.push(piece);
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) next();
    }
  } catch (error) {
    if (!(error instanceof ProxyError)) throw error;
    return { messages, error };
  }
  return { messages, error: undefined };
}

const read = (text: string, checksHead = false): Reading =>
  readPieces([Buffer.from(text, "latin1")], checksHead);

const two =
  "POST /a?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-A:  1 \r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 42\r\n\r\n" +
  "\r\nPUT /c HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /d HTTP/1.1\r\nHost: a\r\n\r\n";

test("reads requests one behind the other, with lower-case names, bodies and trailers", () => {
  const { messages, error } = read(two);
  assert.equal(error, undefined);
  assert.deepEqual(messages, [
    {
      method: "POST",
      target: "/a?b",
      headers: ["host", "a", "transfer-encoding", "chunked", "x-a", "1"],
      body: "hello world",
      trailers: ["x-sum", "42"],
      whole: true,
    },
    {
      method: "PUT",
      target: "/c",
      headers: ["host", "a", "content-length", "3"],
      body: "abc",
      trailers: [],
      whole: true,
    },
    { method: "GET", target: "/d", headers: ["host", "a"], body: "", trailers: [], whole: true },
  ]);
});

test("what a request says is the same whatever the ones before it on the connection said", () => {
  const heads = [
    "GET /a HTTP/1.1",
    "GET /a HTTP/1.1\r\nHost: a",
    "GET /b HTTP/1.1\r\nHost: a",
    "POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 2",
    "PUT /d HTTP/1.1\r\nHost: a\r\nContent-Length: 2",
    "PUT /d HTTP/1.1\r\nHost: a\r\nContent-Length: 3",
    "POST /e HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
    "POST /f HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2",
    "GET /g HTTP/1.1\r\nHost:  a",
    "GET /h HTTP/1.1\r\nHost: a\r\n b",
    "GET /i HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
  ];
  const whole = (head: string): string => {
    const length = Number(/Content-Length: (\d)/.exec(head)?.[1] ?? 0);
    const body = head.endsWith("chunked") ? "1\r\nx\r\n0\r\n\r\n" : "x".repeat(length);
    return `${head}\r\n\r\n${body}`;
  };
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...heads), { minLength: 2, maxLength: 5 }), (chosen) => {
      const alone = chosen.map((head) => read(whole(head)));
      const failure = alone.findIndex(({ error }) => error !== undefined);
      const expected = alone.slice(0, failure < 0 ? undefined : failure + 1);
      const together = read(chosen.map(whole).join(""));
      assert.deepEqual(
        together.messages,
        expected.flatMap(({ messages }) => messages),
      );
      assert.deepEqual(together.error, expected.at(-1)?.error);
    }),
    { numRuns: 500 },
  );
});

test("the same header lines are the same list, so that what they say is worked out once", () => {
  const same = "GET /a HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n";
  const { messages } = read(`${same}${same.replace("/a", "/b")}${same.replace("A: 1", "A: 2")}`);
  const [first, second, third] = messages;
  assert.equal(first?.headers, second?.headers);
  assert.deepEqual(third?.headers, ["host", "a", "x-a", "2"]);
});

test("every split point gives the same requests, and so do single bytes", () => {
  const bytes = Buffer.from(two, "latin1");
  const whole = readPieces([bytes]);
  for (let at = 1; at < bytes.length; at += 1)
    assert.deepEqual(readPieces([bytes.subarray(0, at), bytes.subarray(at)]), whole, `at ${at}`);
  assert.deepEqual(readPieces(Array.from(bytes, (byte) => Buffer.from([byte]))), whole);
});

test("nothing behind a request is read before it is answered, and nothing of a body while it is paused", () => {
  const seen: string[] = [];
  const parser = new RequestParser({
    head({ target }) {
      seen.push(target);
      parser.pause();
    },
    data: (chunk) => seen.push(chunk.toString()),
    end: () => seen.push("end"),
  });
  parser.push(
    Buffer.from(
      "PUT /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
  );
  assert.deepEqual(seen, ["/1"]);
  parser.next();
  assert.deepEqual(seen, ["/1"]);
  parser.resume();
  assert.deepEqual(seen, ["/1", "abc", "end"]);
  parser.next();
  assert.deepEqual(seen, ["/1", "abc", "end", "/2"]);
  assert.equal(parser.waiting, 0);
});

test("ten thousand requests in one piece are read without a stack of ten thousand", () => {
  let count = 0;
  const parser = new RequestParser({
    head() {
      count += 1;
      parser.next();
    },
    data() {},
    end() {},
  });
  parser.push(Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000)));
  assert.equal(count, 10_000);
});

const H = "Host: a\r\n";
const chunked = `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n`;
const refused: readonly (readonly [title: string, bytes: string, status: number])[] = [
  ["HTTP/2.0", `GET / HTTP/2.0\r\n${H}\r\n`, 505],
  ["HTTP/1.2", `GET / HTTP/1.2\r\n${H}\r\n`, 505],
  ["HTTP/0.9", "GET /\r\n\r\n", 400],
  ["a small http", `GET / http/1.1\r\n${H}\r\n`, 400],
  ["a method with a bracket", `G(T / HTTP/1.1\r\n${H}\r\n`, 400],
  ["a method of 33 letters", `${"A".repeat(33)} / HTTP/1.1\r\n${H}\r\n`, 501],
  ["two spaces in the request line", `GET  / HTTP/1.1\r\n${H}\r\n`, 400],
  ["a space behind the version", `GET / HTTP/1.1 \r\n${H}\r\n`, 400],
  ["a tab in the request line", `GET\t/ HTTP/1.1\r\n${H}\r\n`, 400],
  ["201 headers", `GET / HTTP/1.1\r\n${"X-A: 1\r\n".repeat(201)}\r\n`, 431],
  ["a head over its bound", `GET / HTTP/1.1\r\nX-A: ${"x".repeat(33_000)}`, 431],
  ["a whole head over its bound", `GET / HTTP/1.1\r\nX-A: ${"x".repeat(33_000)}\r\n\r\n`, 431],
  ["an expectation we do not know", `GET / HTTP/1.1\r\n${H}Expect: more\r\n\r\n`, 417],
  [
    "both ways to frame a body",
    `POST / HTTP/1.1\r\n${H}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`,
    400,
  ],
  ["chunks in HTTP/1.0", `POST / HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n`, 400],
  ["a body of CONNECT", `CONNECT a:1 HTTP/1.1\r\n${H}Content-Length: 1\r\n\r\nx`, 400],
  ["a bare line feed in a part of a head", "GET / HTTP/1.1\r\nHost: a\nX", 400],
  ["a first byte of another protocol", "\x16\x03\x01", 400],
  ["a bare line feed behind a chunk's size", `${chunked}5\nhello`, 400],
  ["a space behind a chunk's size", `${chunked}5 \r\nhello\r\n`, 400],
  ["a chunk's size of 14 digits", `${chunked}${"0".repeat(13)}5\r\n`, 400],
  ["an extension over its bound", `${chunked}5;${"x".repeat(1_100)}`, 400],
  [
    "extensions that add up over their bound",
    `${chunked}${`1;${"x".repeat(1_000)}\r\na\r\n`.repeat(17)}`,
    400,
  ],
  ["trailers over their bound", `${chunked}0\r\nX-A: ${"x".repeat(9_000)}`, 431],
  ["a Content-Length behind the body", `${chunked}0\r\nContent-Length: 5\r\n\r\n`, 400],
  ["a folded trailer", `${chunked}0\r\nX-A: 1\r\n 2\r\n\r\n`, 400],
];

for (const [title, bytes, status] of refused) {
  test(`${title} is refused with ${status}`, () => {
    const { error } = read(bytes);
    assert.ok(error instanceof Unreadable, "it was read");
    assert.equal(error.answerStatus, status);
  });
}

test("a client that closes, speaks HTTP/1.0, opens a tunnel or asks for another protocol sends its last request", () => {
  const lastOf = (bytes: string): boolean | undefined => {
    let isLast: boolean | undefined;
    new RequestParser({
      head: (request) => (isLast = request.isLast),
      data() {},
      end() {},
    }).push(Buffer.from(bytes));
    return isLast;
  };
  assert.equal(lastOf(`GET / HTTP/1.1\r\n${H}\r\n`), false);
  assert.equal(lastOf(`GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n`), true);
  assert.equal(lastOf(`GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n`), true);
  assert.equal(lastOf(`GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x/1\r\n\r\n`), true);
  assert.equal(lastOf(`GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`), false);
  assert.equal(lastOf("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), true);
});

/** The same bytes read by Node's own server. */
async function readByNode(bytes: Buffer): Promise<Reading> {
  const messages: Message[] = [];
  let error: unknown;
  const server = createServer({ insecureHTTPParser: false, maxHeaderSize: 64 * 1024 });
  const take = (incoming: IncomingMessage, response?: ServerResponse): void => {
    const message: Message = {
      method: incoming.method ?? "",
      target: incoming.url ?? "",
      headers: lowered(incoming.rawHeaders),
      body: "",
      trailers: [],
      whole: false,
    };
    messages.push(message);
    incoming.on("data", (chunk: Buffer) => (message.body += chunk.toString("latin1")));
    incoming.on("end", () => {
      message.whole = true;
      message.trailers = lowered(incoming.rawTrailers);
    });
    incoming.on("error", () => {});
    response?.end();
  };
  server.on("request", take).on("checkContinue", take).on("checkExpectation", take);
  server.on("connect", (incoming, socket) => {
    take(incoming);
    socket.destroy();
  });
  server.on("clientError", (cause, socket) => {
    error ??= cause;
    // What was read before it is handed out first.
    setImmediate(() => socket.destroy());
  });
  const [ours, theirs] = duplexPair();
  ours.on("error", () => {}).resume();
  theirs.on("error", () => {});
  server.emit("connection", theirs);
  const closed = new Promise((resolve) => theirs.once("close", resolve));
  ours.end(bytes);
  await closed;
  return { messages, error };
}

function lowered(raw: readonly string[]): string[] {
  return raw.map((text, at) => (at % 2 === 0 ? text.toLowerCase() : text));
}

/** Parts of requests as they should be, and as they should not. */
const part = fc.oneof(
  fc.constantFrom(
    "GET / HTTP/1.1\r\n",
    "POST /x HTTP/1.1\r\n",
    "POST /x HTTP/1.0\r\n",
    "HEAD http://a/ HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length : 5\r\n",
    "content-length:5 \r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:\tCHUNKED\t\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, X-A\r\n",
    "Expect: 100-continue\r\n",
    "X-A: b\r\n",
    "X-A:\r\n",
    "X-A: \xff\r\n",
    " folded\r\n",
    "\r\n",
    "\n",
    "\r",
    "hello",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    '5;a="b c"\r\nhello\r\n',
    "5 ;a\r\nhello\r\n",
    "005\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nX-T: 1\r\n\r\n",
    "\0",
    " ",
    "\t",
    "\x0b",
  ),
  fc.string({ unit: "binary-ascii", maxLength: 3 }),
);
const sensible = fc
  .tuple(
    fc.constantFrom("GET / HTTP/1.1", "POST /a%20b?c=d HTTP/1.1", "PUT http://a/x HTTP/1.1"),
    fc.array(
      fc.constantFrom("X-A: 1", "Connection: close", "x-b:2 ", "Accept: */*", "X-C:\t\xe4"),
      { maxLength: 4 },
    ),
    fc.constantFrom(
      "\r\n",
      "Content-Length: 5\r\n\r\nhello",
      "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
      "Transfer-Encoding: chunked\r\n\r\nA;q=1\r\n0123456789\r\n00\r\nX-T: 1\r\n\r\n",
    ),
  )
  .map(
    ([line, fields, rest]) =>
      `${line}\r\nHost: a\r\n${fields.map((field) => `${field}\r\n`).join("")}${rest}`,
  );
const hostile = fc
  .tuple(
    fc.array(fc.oneof({ weight: 1, arbitrary: sensible }, { weight: 2, arbitrary: part }), {
      minLength: 1,
      maxLength: 8,
    }),
    fc.nat(),
    fc.option(fc.integer({ min: 0, max: 255 }), { nil: undefined }),
  )
  .map(([parts, at, byte]) => {
    const bytes = Buffer.from(parts.join(""), "latin1");
    // One byte of it changed, wherever that is.
    if (byte !== undefined && bytes.length > 0) bytes[at % bytes.length] = byte;
    return bytes;
  });

/** Node knows a list of methods; which ones a server takes is no question of reading. */
function judged(reading: Reading): readonly Message[] {
  const unknown = reading.messages.findIndex(({ method }) => !METHODS.includes(method));
  return reading.messages.slice(0, unknown < 0 ? undefined : unknown).filter(({ whole }) => whole);
}

test("whatever is accepted, Node's own parser reads the same; what it refuses is refused", async () => {
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(hostile, async (bytes) => {
      const ours = judged(readPieces([bytes], true));
      const theirs = await readByNode(bytes);
      ours.forEach((message, at) => {
        assert.deepEqual(theirs.messages[at], message);
        // A connection that one of the two ends here has no more to compare.
        accepted += 1;
      });
    }),
    { numRuns: 1_500, examples: [[Buffer.from(two, "latin1")]] },
  );
  assert.ok(accepted > 300, `only ${accepted} were accepted`);
});

test("hostile bytes mean the same in one piece and in any pieces", () => {
  fc.assert(
    fc.property(hostile, fc.array(fc.nat(), { maxLength: 5 }), (bytes, cuts) => {
      const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
      const pieces = [0, ...at].map((from, index) => bytes.subarray(from, at[index]));
      const whole = readPieces([bytes]);
      const cut = readPieces(pieces);
      assert.deepEqual(
        cut.messages.filter((message) => message.whole),
        whole.messages.filter((message) => message.whole),
      );
      assert.equal(cut.error === undefined, whole.error === undefined);
    }),
    { numRuns: 2_000 },
  );
});
