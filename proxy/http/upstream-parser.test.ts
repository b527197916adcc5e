// The reader of upstream answers, judged by Node's own parser: what both take, both read alike; what Node refuses, we refuse; pieces never matter.
import assert from "node:assert/strict";
import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { createServer, type Socket } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { ProxyError } from "../errors.ts";
import { AnswerParser, type AnswerHeaders } from "./upstream-parser.ts";

interface Read {
  status: number;
  headers: AnswerHeaders;
  body: string;
  trailers: AnswerHeaders;
  informational: number[];
  isWhole: boolean;
  keepsAlive: boolean;
  failure?: string;
}

/** Reads one answer from pieces, then the end of the connection. */
function read(pieces: readonly Buffer[], method = "GET"): Read {
  const seen: Read = {
    status: 0,
    headers: {},
    body: "",
    trailers: {},
    informational: [],
    isWhole: false,
    keepsAlive: false,
  };
  const parser = new AnswerParser({
    head(status, headers, isFinal) {
      if (isFinal) {
        seen.status = status;
        seen.headers = { ...headers };
      } else seen.informational.push(status);
    },
    data: (chunk) => (seen.body += chunk.toString("latin1")),
    end(trailers) {
      seen.isWhole = true;
      seen.trailers = { ...trailers };
    },
  });
  parser.expect(method);
  try {
    for (const piece of pieces) parser.push(piece);
    seen.keepsAlive = parser.keepsAlive && seen.isWhole;
    parser.finish();
  } catch (error) {
    assert.ok(error instanceof ProxyError, String(error));
    assert.equal(error.code, "UpstreamProtocol");
    seen.failure = error.message;
  }
  return seen;
}

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

/** What an application of Node's reads of the same bytes. */
async function readByNode(
  answer: Buffer,
  method: string,
): Promise<Omit<Read, "keepsAlive"> | undefined> {
  const server = createServer((socket: Socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => socket.end(answer));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const informational: number[] = [];
  const outgoing = request({ host: "127.0.0.1", port: address.port, method, agent: false });
  outgoing.on("information", ({ statusCode }) => informational.push(statusCode));
  outgoing.on("error", () => undefined);
  try {
    outgoing.end();
    const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
    let body = "";
    incoming.on("data", (chunk: Buffer) => (body += chunk.toString("latin1")));
    await once(incoming, "end");
    return {
      status: incoming.statusCode ?? 0,
      headers: distinct(incoming.headersDistinct),
      body,
      trailers: distinct(incoming.trailersDistinct),
      informational,
      isWhole: incoming.complete,
    };
  } catch {
    return undefined;
  } finally {
    outgoing.destroy();
    server.close();
  }
}

function distinct(headers: NodeJS.Dict<string[]>): AnswerHeaders {
  return Object.fromEntries(
    Object.entries(headers).map(([name, values = []]) => [
      name,
      values.length === 1 ? (values[0] ?? "") : values,
    ]),
  );
}

const ok = "HTTP/1.1 200 OK\r\n";
const good: Readonly<Record<string, string>> = {
  "a body of known length": `${ok}content-length: 5\r\n\r\nhello`,
  "no body": `${ok}Content-Length: 0\r\n\r\n`,
  "no reason": "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok",
  "no reason and no space": "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok",
  "a reason of other letters": "HTTP/1.1 404 Pas trouv\xe9\r\ncontent-length: 0\r\n\r\n",
  "no headers, until the end": "HTTP/1.1 200 OK\r\n\r\neverything",
  "until the end, HTTP/1.0": "HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\neverything",
  chunks: `${ok}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\n\r\n`,
  "chunks by another spelling": `${ok}Transfer-Encoding: Chunked\r\n\r\n0a\r\n0123456789\r\n000\r\n\r\n`,
  "chunks with extensions": `${ok}transfer-encoding: chunked\r\n\r\n5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n`,
  "chunks with trailers": `${ok}transfer-encoding: chunked\r\ntrailer: x\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\nx-two:  2 \r\n\r\n`,
  "no chunk": `${ok}transfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  "204 with a length": "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n",
  "304 with a length": "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: x\r\n\r\n",
  "an answer behind 103 and 100":
    "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
  "several headers of one name": `${ok}set-cookie: a=1\r\nset-cookie: b=2\r\nset-cookie: c=3\r\ncontent-length: 0\r\n\r\n`,
  "values with blanks around and inside": `${ok}x:\t a  b \t\r\ny:\r\ncontent-length: 0\r\n\r\n`,
  "values of other letters": `${ok}x: caf\xe9 \x80\xff\r\ncontent-length: 0\r\n\r\n`,
  "a name with every token character": `${ok}!#$%&'*+-.^_\`|~09azAZ: x\r\ncontent-length: 0\r\n\r\n`,
};

test("Node's own client and we read every good answer alike, in whatever pieces it comes", async () => {
  for (const [what, text] of Object.entries(good)) {
    const answer = bytes(text);
    const { keepsAlive: _, ...whole } = read([answer]);
    assert.equal(whole.failure, undefined, what);
    assert.ok(whole.isWhole, what);
    assert.deepEqual(whole, await readByNode(answer, "GET"), what);
    for (let at = 0; at <= answer.length; at += 1) {
      const { keepsAlive: __, ...split } = read([answer.subarray(0, at), answer.subarray(at)]);
      assert.deepEqual(split, whole, `${what}, split at ${at}`);
    }
    const { keepsAlive: ___, ...single } = read(Array.from(answer, (byte) => Buffer.of(byte)));
    assert.deepEqual(single, whole, `${what}, byte by byte`);
  }
});

test("the answer to HEAD has no body, whatever its headers say", async () => {
  for (const text of [
    `${ok}content-length: 5\r\n\r\n`,
    `${ok}transfer-encoding: chunked\r\n\r\n`,
    `${ok}\r\n`,
  ]) {
    const seen = read([bytes(text)], "HEAD");
    assert.ok(seen.isWhole && seen.body === "" && seen.keepsAlive, text);
  }
});

const bad: Readonly<Record<string, string>> = {
  "another protocol": "SSH-2.0-OpenSSH_9.2\r\n",
  "HTTP/2": "HTTP/2 200\r\n\r\n",
  "HTTP/0.9": "hello",
  "a status of two digits": "HTTP/1.1 20 OK\r\n\r\n",
  "a status of four digits": "HTTP/1.1 2000 OK\r\n\r\n",
  "a status that begins with 0": "HTTP/1.1 099 X\r\n\r\n",
  "a bare line feed behind the status": "HTTP/1.1 200 OK\nx: y\r\n\r\n",
  "a bare line feed behind a header": `${ok}x: y\nz: w\r\n\r\n`,
  "a bare carriage return in a value": `${ok}x: y\rz\r\n\r\n`,
  "a NUL in a value": `${ok}x: y\0z\r\n\r\n`,
  "a control character in the reason": "HTTP/1.1 200 O\x01K\r\n\r\n",
  "a folded line": `${ok}x: y\r\n z\r\n\r\n`,
  "a blank before the colon": `${ok}x : y\r\n\r\n`,
  "no name": `${ok}: y\r\n\r\n`,
  "a line without a colon": `${ok}xy\r\n\r\n`,
  "a name of other letters": `${ok}caf\xe9: y\r\n\r\n`,
  "two lengths": `${ok}content-length: 5\r\ncontent-length: 6\r\n\r\nhello!`,
  "two equal lengths": `${ok}content-length: 5\r\ncontent-length: 5\r\n\r\nhello`,
  "a list of lengths": `${ok}content-length: 5, 5\r\n\r\nhello`,
  "a signed length": `${ok}content-length: +5\r\n\r\nhello`,
  "a negative length": `${ok}content-length: -5\r\n\r\nhello`,
  "a hexadecimal length": `${ok}content-length: 0x5\r\n\r\nhello`,
  "an empty length": `${ok}content-length: \r\n\r\nhello`,
  "an endless length": `${ok}content-length: 99999999999999999999\r\n\r\nhello`,
  "a length and chunks": `${ok}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  "chunks twice": `${ok}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  "gzip before chunked": `${ok}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  "an unknown coding": `${ok}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n`,
  "chunks in HTTP/1.0": "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
  "a chunk size that is no number": `${ok}transfer-encoding: chunked\r\n\r\nzz\r\n`,
  "a signed chunk size": `${ok}transfer-encoding: chunked\r\n\r\n-1\r\n`,
  "a chunk size with 0x": `${ok}transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n`,
  "no chunk size": `${ok}transfer-encoding: chunked\r\n\r\n\r\n`,
  "an endless chunk size": `${ok}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n`,
  "a chunk longer than it says": `${ok}transfer-encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n`,
  "a chunk that ends with a line feed": `${ok}transfer-encoding: chunked\r\n\r\n2\r\nhi\n0\r\n\r\n`,
  "a bare line feed behind a chunk size": `${ok}transfer-encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n`,
  "a carriage return in an extension": `${ok}transfer-encoding: chunked\r\n\r\n2;a\rb\r\nhi\r\n0\r\n\r\n`,
  "a trailer that is no header": `${ok}transfer-encoding: chunked\r\n\r\n0\r\nnope\r\n\r\n`,
  "a switch of protocols that nobody asked for": "HTTP/1.1 101 Switching Protocols\r\n\r\n",
  "1xx without end": "HTTP/1.1 102 Processing\r\n\r\n".repeat(40),
  "a second answer": `${ok}content-length: 2\r\n\r\nok${ok}content-length: 4\r\n\r\nevil`,
  "bytes behind the answer": `${ok}content-length: 2\r\n\r\nok!`,
  "bytes behind the last chunk": `${ok}transfer-encoding: chunked\r\n\r\n0\r\n\r\nX`,
  "a head that is too long": `${ok}x: ${"y".repeat(70_000)}\r\n\r\n`,
  "too many headers": `${ok}${"x: y\r\n".repeat(1_100)}\r\n`,
};

test("answers that two readers could read differently are refused, in whatever pieces they come", () => {
  for (const [what, text] of Object.entries(bad)) {
    const answer = bytes(text);
    const whole = read([answer]);
    assert.ok(whole.failure !== undefined, what);
    assert.ok(!whole.keepsAlive, what);
    const step = Math.max(1, Math.floor(answer.length / 300));
    for (let at = 1; at < answer.length; at += step) {
      const split = read([answer.subarray(0, at), answer.subarray(at)]);
      assert.ok(split.failure !== undefined, `${what}, split at ${at}`);
    }
  }
});

test("an answer cut off at any byte is no whole answer, except one that lasts until the end", () => {
  for (const [what, text] of Object.entries(good)) {
    if (what.includes("until the end")) continue;
    const answer = bytes(text);
    for (let at = 0; at < answer.length; at += 1)
      assert.ok(!read([answer.subarray(0, at)]).isWhole, `${what}, cut at ${at}`);
  }
});

test("random damage: no crash, pieces never matter, and nothing is read that Node's client reads otherwise", async () => {
  const texts = Object.values(good);
  const damage = fc.record({
    text: fc.constantFrom(...texts),
    edits: fc.array(
      fc.record({
        at: fc.nat(400),
        cut: fc.nat(4),
        put: fc.constantFrom(
          "",
          "\r",
          "\n",
          "\r\n",
          " ",
          "\0",
          ":",
          "0",
          "f",
          ",",
          "chunked",
          "\xff",
        ),
      }),
      { minLength: 1, maxLength: 3 },
    ),
    cuts: fc.array(fc.nat(400), { maxLength: 5 }),
  });
  await fc.assert(
    fc.asyncProperty(damage, async ({ text, edits, cuts }) => {
      let damaged = text;
      for (const { at, cut, put } of edits) {
        const place = at % (damaged.length + 1);
        damaged = damaged.slice(0, place) + put + damaged.slice(place + cut);
      }
      const answer = bytes(damaged);
      const { keepsAlive: _, ...whole } = read([answer]);
      const places = [0, ...cuts.map((cut) => cut % (answer.length + 1)), answer.length].toSorted(
        (a, b) => a - b,
      );
      const pieces = places.slice(1).map((end, index) => answer.subarray(places[index], end));
      const { keepsAlive: __, ...split } = read(pieces);
      if (whole.failure === undefined) assert.deepEqual(split, whole);
      else assert.ok(split.failure !== undefined);
      if (whole.failure !== undefined || !whole.isWhole) return;
      const byNode = await readByNode(answer, "GET");
      if (byNode !== undefined) assert.deepEqual(whole, byNode);
    }),
    { numRuns: 1_000 },
  );
});

test("small chunks that one read brings go on as one piece, and none waits for the next read", () => {
  const told: string[] = [];
  const parser = new AnswerParser({
    head: () => told.push("head"),
    data: (chunk) => told.push(chunk.toString("latin1")),
    end: () => told.push("end"),
  });
  parser.expect("GET");
  parser.push(
    bytes(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n04;x=y\r\n two\r\n6\r\n thr",
    ),
  );
  assert.deepEqual(told.splice(0), ["head", "one two thr"]);
  parser.push(bytes("ee\r\n"));
  assert.deepEqual(told.splice(0), ["ee"]);
  parser.push(bytes("1\r\n!\r\n0\r\n\r\n"));
  assert.deepEqual(told, ["!", "end"]);
  parser.expect("GET");
  assert.throws(() =>
    parser.push(bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nnone\r\n")),
  );
  assert.deepEqual(told, ["!", "end", "head", "hi"]);
});

test("a head, a chunk's size or trailers that come byte by byte are copied and searched no more than a few times", (t) => {
  const fields = Array.from({ length: 100 }, (_, at) => `x-${at}: ${"v".repeat(90)}\r\n`).join("");
  const answer = Buffer.from(
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n${fields}\r\n1;${"e".repeat(4_000)}\r\na\r\n0\r\n${fields}\r\n`,
  );
  const pieces = Array.from(answer, (byte) => Buffer.from([byte]));
  let touched = 0;
  const { concat, from } = Buffer;
  const { copy, indexOf } = Buffer.prototype;
  t.mock.method(Buffer, "concat", (list: Buffer[], length?: number) => {
    touched += list.reduce((sum, one) => sum + one.length, 0);
    return concat(list, length);
  });
  t.mock.method(Buffer, "from", (bytes: Buffer) => {
    touched += bytes.length;
    return from(bytes);
  });
  t.mock.method(
    Buffer.prototype,
    "copy",
    function (this: Buffer, ...into: Parameters<Buffer["copy"]>) {
      const copied = copy.apply(this, into);
      touched += copied;
      return copied;
    },
  );
  t.mock.method(Buffer.prototype, "indexOf", function (this: Buffer, what: string, at = 0) {
    const found = indexOf.call(this, what, at, "latin1");
    touched += (found < 0 ? this.length : found) - at;
    return found;
  });
  const seen = read(pieces);
  t.mock.restoreAll();
  assert.deepEqual([seen.failure, seen.isWhole, seen.body], [undefined, true, "a"]);
  assert.equal(Object.keys(seen.trailers).length, 100);
  assert.ok(touched < 20 * answer.length, `${touched} of ${answer.length} bytes`);
});
