// The HTTP/1.1 leg over real sockets, with scripted answers in the place of the exchange.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { Http1Legs } from "./http1-legs.ts";
import type { BodyReader, InboundLeg, InboundRequest } from "./inbound.ts";

type Serve = (request: InboundRequest) => void;

interface Peer {
  readonly socket: Socket;
  readonly legs: Http1Legs;
  readonly leg: () => InboundLeg;
  /** What happened on our side, in order. */
  readonly told: string[];
  text(): string;
  /** Resolves when the client has read this. */
  until(pattern: RegExp): Promise<string>;
  closed(): Promise<unknown>;
}

async function connected(t: TestContext, serve: Serve): Promise<Peer> {
  const legs = new Http1Legs();
  const told: string[] = [];
  let leg: InboundLeg | undefined;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    leg = legs.accept(socket, {
      request: (request) => {
        told.push(`${request.method} ${request.target}`);
        serve(request);
        return {
          drained: () => told.push("drained"),
          gone: () => told.push("gone"),
          broken: (error) => {
            told.push(`broken: ${error.message}`);
            request.answer.begin(400, ["content-length", "0"]);
            request.answer.end();
          },
        };
      },
      malformed: (error) => told.push(`malformed: ${error.message}`),
      closed: () => told.push("closed"),
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const socket = connect({ port: address.port, host: "127.0.0.1" });
  await once(socket, "connect");
  let text = "";
  socket.on("data", (chunk) => (text += chunk.toString("latin1")));
  socket.on("error", (error) => told.push(`client: ${"code" in error ? String(error.code) : ""}`));
  const isClosed = once(socket, "close").catch(() => {});
  t.after(() => {
    socket.destroy();
    leg?.destroy();
    legs.close();
    server.close();
  });
  return {
    socket,
    legs,
    leg: () => leg ?? assert.fail("no connection yet"),
    told,
    text: () => text,
    until: async (pattern) => {
      while (!pattern.test(text)) await once(socket, "data");
      return text;
    },
    closed: () => isClosed,
  };
}

const ok: Serve = ({ answer, target }) => {
  answer.begin(200, ["content-length", String(target.length)]);
  answer.end(Buffer.from(target));
};

const get = (target: string, more = ""): string =>
  `GET ${target} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;

/** Reads a whole body and then calls. */
function whole(request: InboundRequest, done: (text: string) => void): BodyReader {
  let text = "";
  return {
    data: (chunk) => (text += chunk.toString()),
    end: (trailers) => done(trailers.length === 0 ? text : `${text} ${trailers.join("=")}`),
    failed: () => {},
  };
}

test("requests sent at once are served in their order, one at a time", async (t) => {
  const open: InboundRequest[] = [];
  const peer = await connected(t, (request) => open.push(request));
  peer.socket.write(get("/1") + get("/2") + get("/3"));
  for (const name of ["/1", "/2", "/3"]) {
    while (open.length === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(open.length, 1);
    const request = open.shift();
    assert.equal(request?.target, name);
    if (request !== undefined) ok(request);
  }
  await peer.until(/\/1[^]*\/2[^]*\/3$/);
});

test("what is sent behind a request that is not answered yet stays with its sender, but for a bounded part", async (t) => {
  const peer = await connected(t, () => {});
  const much = Buffer.from(get("/x").repeat(400_000));
  peer.socket.write(get("/slow"));
  peer.socket.write(much);
  let before = -1;
  while (before !== peer.socket.bytesWritten - peer.socket.writableLength) {
    before = peer.socket.bytesWritten - peer.socket.writableLength;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.ok(peer.socket.writableLength > 0, "all of it was taken");
  assert.deepEqual(peer.told, ["GET /slow"]);
});

test("a head that does not arrive in time is 408, an idle connection is closed without a word", async (t) => {
  const slow = await connected(t, ok);
  slow.socket.write(`${get("/")}GET / HTTP/1.1\r\nHost:`);
  await slow.until(/\/$/);
  for (let second = 0; second < 20; second += 1) slow.legs.tick();
  assert.deepEqual(slow.told, ["GET /"]);
  slow.legs.tick();
  await slow.closed();
  assert.match(slow.text(), /\/HTTP\/1\.1 408 Request Timeout\r\n[^]*connection: close\r\n\r\n\{/);
  const idle = await connected(t, ok);
  idle.socket.write(get("/"));
  await idle.until(/\/$/);
  for (let second = 0; second < 75; second += 1) idle.legs.tick();
  assert.deepEqual(idle.told, ["GET /"]);
  idle.legs.tick();
  await idle.closed();
  assert.match(idle.text(), /^HTTP\/1\.1 200 OK\r\n[^]*\/$/);
});

test("an exchange on which no byte moves for eleven minutes is cut", async (t) => {
  const peer = await connected(t, () => {});
  peer.socket.write(get("/"));
  while (peer.told.length === 0) await new Promise((resolve) => setImmediate(resolve));
  for (let second = 0; second < 660; second += 1) peer.legs.tick();
  assert.deepEqual(peer.told, ["GET /"]);
  for (let second = 0; second < 3; second += 1) peer.legs.tick();
  await peer.closed();
  assert.deepEqual(peer.told, ["GET /", "gone", "closed"]);
});

test("an answer has no body where its method or status has none, whatever is said", async (t) => {
  const peer = await connected(t, ({ answer, target }) => {
    answer.begin(Number(target.slice(1)), ["content-length", "5"]);
    answer.write(Buffer.from("hel"));
    answer.end(Buffer.from("lo"));
  });
  peer.socket.write(
    "HEAD /200 HTTP/1.1\r\nHost: a\r\n\r\n" + get("/204") + get("/304") + get("/200"),
  );
  const text = await peer.until(/hello$/);
  assert.deepEqual(text.match(/HTTP\/1\.1 \d+|content-length: 5|hello/g), [
    "HTTP/1.1 200",
    "content-length: 5",
    "HTTP/1.1 204",
    "HTTP/1.1 304",
    "content-length: 5",
    "HTTP/1.1 200",
    "content-length: 5",
    "hello",
  ]);
});

test("an answer of unknown length comes in chunks with its trailers, and to HTTP/1.0 until the connection ends", async (t) => {
  const serve: Serve = ({ answer }) => {
    answer.inform(103, ["link", "</a>"]);
    answer.begin(200, []);
    answer.write(Buffer.from("hello"));
    answer.end(Buffer.alloc(20_000, "x"), ["x-sum", "42"]);
  };
  const peer = await connected(t, serve);
  peer.socket.write(get("/"));
  const text = await peer.until(/\r\n0\r\n[^]*\r\n\r\n$/);
  assert.match(
    text,
    /^HTTP\/1\.1 103 Early Hints\r\nlink: <\/a>\r\n\r\nHTTP\/1\.1 200 OK\r\ndate: [^\r]+ GMT\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n4e20\r\nx{20000}\r\n0\r\nx-sum: 42\r\n\r\n$/,
  );
  const old = await connected(t, serve);
  old.socket.write("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
  await old.closed();
  assert.match(
    old.text(),
    /^HTTP\/1\.1 200 OK\r\ndate: [^\r]+\r\nconnection: close\r\n\r\nhellox{20000}$/,
  );
});

test("an answer that is shorter or longer than it said is broken off", async (t) => {
  for (const pieces of [["abc"], ["abc", "defg"]]) {
    const peer = await connected(t, ({ answer }) => {
      answer.begin(200, ["content-length", "6"]);
      for (const piece of pieces) answer.write(Buffer.from(piece));
      answer.end();
    });
    peer.socket.write(get("/"));
    await peer.closed();
    assert.ok(peer.told.includes("client: ECONNRESET"), peer.told.join());
  }
});

test("a body is asked for only when it is read; unread, its connection closes behind the answer", async (t) => {
  const serve: Serve = (request) => {
    if (request.target === "/no") ok(request);
    else
      request.body.read(
        whole(request, (text) => {
          request.answer.begin(200, ["content-length", String(text.length)]);
          request.answer.end(Buffer.from(text));
        }),
      );
  };
  const head = (target: string): string =>
    `PUT ${target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`;
  const peer = await connected(t, serve);
  peer.socket.write(head("/yes"));
  await peer.until(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  peer.socket.write("hello");
  await peer.until(/200 OK[^]*hello$/);
  peer.socket.write(head("/no"));
  await once(peer.socket, "end");
  assert.match(peer.text(), /hello[^]*\/no$/);
  assert.doesNotMatch(peer.text(), /100 Continue[^]*100 Continue/);
});

test("the body of a request that is answered early is read off, and the connection stays usable", async (t) => {
  const peer = await connected(t, ok);
  peer.socket.write("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
  await peer.until(/\/early$/);
  peer.socket.write(Buffer.alloc(1_000_000));
  peer.socket.write(get("/next"));
  await peer.until(/\/next$/);
});

test("request trailers reach the reader, those that frame a message end it", async (t) => {
  const peer = await connected(t, (request) =>
    request.body.read(
      whole(request, (text) => {
        request.answer.begin(200, ["content-length", String(text.length)]);
        request.answer.end(Buffer.from(text));
      }),
    ),
  );
  const chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n";
  peer.socket.write(`${chunks}X-Sum: 1\r\n\r\n`);
  await peer.until(/hi x-sum=1$/);
  peer.socket.write(`${chunks}Content-Length: 1\r\n\r\n`);
  await once(peer.socket, "end");
  assert.match(peer.text(), /HTTP\/1\.1 400 Bad Request\r\n[^]*connection: close\r\n\r\n$/);
  assert.match(peer.told.at(-1) ?? "", /broken: the trailers/);
});

test("bytes that are no request are answered behind what came before them, and nothing after them is read", async (t) => {
  const peer = await connected(t, ok);
  peer.socket.write(`${get("/1")}nonsense\r\n\r\n${get("/2")}`);
  peer.socket.write("x".repeat(100_000));
  await once(peer.socket, "end");
  assert.match(
    peer.text(),
    /^HTTP\/1\.1 200 OK[^]*\/1HTTP\/1\.1 400 Bad Request\r\n[^]*problem\+json[^]*connection: close\r\n\r\n\{[^]*MalformedRequest/,
  );
  assert.deepEqual(peer.told.slice(0, 2), [
    "GET /1",
    "malformed: the request is not well-formed HTTP/1.1",
  ]);
});

test("a client that leaves is told of once, and its body's reader hears that nothing more comes", async (t) => {
  const peer = await connected(t, (request) =>
    request.body.read({
      data: (chunk) => peer.told.push(chunk.toString()),
      end: () => peer.told.push("end"),
      failed: (error) => peer.told.push(error.name),
    }),
  );
  peer.socket.write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
  while (peer.told.length < 2) await new Promise((resolve) => setImmediate(resolve));
  peer.socket.end();
  await peer.closed();
  while (peer.told.length < 5) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(peer.told, ["PUT /", "hel", "gone", "ClientGone", "closed"]);
});

test("a connection that is closed from above answers what is under way as the last", async (t) => {
  const open: InboundRequest[] = [];
  const peer = await connected(t, (request) => open.push(request));
  peer.socket.write(get("/1") + get("/2"));
  while (open.length === 0) await new Promise((resolve) => setImmediate(resolve));
  peer.leg().close();
  open.forEach(ok);
  await once(peer.socket, "end");
  assert.match(peer.text(), /connection: close\r\n\r\n\/1$/);
  assert.deepEqual(peer.told, ["GET /1"]);
});

test("a connection that is handed over brings what its client sent already and what it sends later, and ends as it does", async (t) => {
  const peer = await connected(t, (request) => {
    const raw = request.handOver(200, []);
    raw.pipe(raw);
    raw.on("close", () => peer.told.push("tunnel closed"));
    peer.told.push("handed over");
  });
  peer.socket.write("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nearly");
  assert.equal(await peer.until(/early$/), "HTTP/1.1 200 OK\r\n\r\nearly");
  assert.deepEqual(peer.told, ["CONNECT a:443", "closed", "handed over"]);
  const much = "0123456789".repeat(200_000);
  peer.socket.write(`later ${much}`);
  await peer.until(/later [^]{2000000}$/);
  assert.ok(peer.text().endsWith(`later ${much}`));
  peer.socket.end();
  await peer.closed();
  while (!peer.told.includes("tunnel closed"))
    await new Promise((resolve) => setImmediate(resolve));
});

test("an answer to a client that reads nothing is held back, and goes on when it reads", async (t) => {
  let said = 0;
  const piece = Buffer.alloc(64 * 1024);
  let request: InboundRequest | undefined;
  const peer = await connected(t, (asked) => {
    request = asked;
    asked.answer.begin(200, []);
    while (asked.answer.write(piece)) said += piece.length;
  });
  peer.socket.pause();
  peer.socket.write(get("/"));
  while (request === undefined) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(said < 16 * 1024 * 1024, `${said} bytes were taken`);
  peer.socket.resume();
  while (!peer.told.includes("drained")) await new Promise((resolve) => setImmediate(resolve));
  request.answer.end();
  await peer.until(/0\r\n\r\n$/);
});

test("a slow client gets its last answer to the end, however long that takes", async (t) => {
  const size = 32 * 1024 * 1024;
  const peer = await connected(t, ({ answer }) => {
    answer.begin(200, ["content-length", String(size)]);
    answer.end(Buffer.alloc(size));
  });
  peer.socket.pause();
  peer.socket.write(get("/", "Connection: close\r\n"));
  while (peer.told.length === 0) await new Promise((resolve) => setImmediate(resolve));
  for (let second = 0; second < 300; second += 1) peer.legs.tick();
  let read = 0;
  peer.socket.on("data", (chunk) => (read += chunk.length)).resume();
  await once(peer.socket, "end");
  assert.ok(read > size, `${read} bytes came`);
  assert.deepEqual(peer.told, ["GET /"]);
});
