// The leg to an upstream that speaks HTTP/2: chosen by ALPN, multiplexed, and never a truncated answer that looks whole.
import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { constants } from "node:http2";
import type { ServerHttp2Stream } from "node:http2";
import { finished } from "node:stream/promises";
import { test } from "node:test";
import { createServer } from "node:tls";

import { eventually, send, startRoom } from "./http-proxy-fixture.ts";
import { certified, h2Origin } from "./http2-fixture.ts";

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } =
  constants;

async function bodyOf(stream: ServerHttp2Stream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test("an upstream that offers h2 gets it: pseudo-headers, the lease's credential, no header of a connection, and one connection for all", async (t) => {
  const seen: string[][] = [];
  const origin = await h2Origin(t, (server) =>
    server.on(
      "stream",
      (stream: ServerHttp2Stream, _headers: unknown, _flags: unknown, raw: string[]) => {
        seen.push(raw);
        stream.on("error", () => {});
        void bodyOf(stream).then((body) => {
          stream.respond([
            ":status",
            "201",
            "x-many",
            "a=1",
            "x-many",
            "b=2",
            "x-len",
            String(body.length),
          ]);
          stream.end(body);
        });
      },
    ),
  );
  const room = await startRoom(t, [
    {
      upstream: origin.upstream,
      lease: { kind: "headers", headers: [{ name: "Authorization", value: "Bearer real" }] },
    },
  ]);
  const answer = await send(room, {
    method: "POST",
    path: "/v1/things?q=1",
    headers: {
      "content-type": "text/plain",
      connection: "keep-alive, x-mine",
      "x-mine": "dropped",
      "keep-alive": "timeout=5",
      authorization: "Bearer placeholder",
    },
    body: "hello",
  });
  assert.equal(answer.status, 201);
  assert.equal(answer.text, "hello");
  assert.deepEqual(answer.headers["x-many"], "a=1, b=2");
  const [raw = []] = seen;
  const pairs = Array.from(
    { length: raw.length / 2 },
    (_, at) => `${raw[2 * at]}=${raw[2 * at + 1]}`,
  );
  assert.deepEqual(pairs.slice(0, 4), [
    ":method=POST",
    ":scheme=https",
    `:authority=localhost:${origin.port}`,
    ":path=/v1/things?q=1",
  ]);
  assert.ok(pairs.includes("authorization=Bearer real"));
  assert.ok(pairs.includes("content-length=5") && pairs.includes("te=trailers"));
  assert.ok(
    !pairs.some((pair) =>
      /^(connection|keep-alive|x-mine|host|transfer-encoding)=|placeholder/.test(pair),
    ),
  );
  await Promise.all(Array.from({ length: 40 }, () => send(room, { method: "POST", body: "x" })));
  assert.equal(origin.sessions.length, 1);
  assert.equal(room.operations().length, 41);
  assert.deepEqual(room.operations()[0]?.body.outcome?.httpStatus, 201);
});

test("bodies that stream go over the same connection, both ways at once, and trailers come back", async (t) => {
  const origin = await h2Origin(t, (server) =>
    server.on("stream", (stream) => {
      stream.on("error", () => {});
      stream.respond({ ":status": 200 }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", "x-sum": "1" }));
      stream.pipe(stream);
    }),
  );
  const room = await startRoom(t, [{ upstream: origin.upstream }]);
  const { port, agent } = room;
  const chunk = Buffer.alloc(65_536, "z");
  const outgoing = request({ host: "127.0.0.1", port, agent, method: "POST", path: "/echo" });
  outgoing.write(chunk);
  const [incoming] = await new Promise<[IncomingMessage]>((resolve, reject) => {
    outgoing.on("response", (response) => resolve([response]));
    outgoing.on("error", reject);
  });
  // The answer began before the request ended.
  let received = 0;
  incoming.on("data", (bytes: Buffer) => (received += bytes.length));
  for (let sent = 1; sent < 320; sent += 1)
    if (!outgoing.write(chunk)) await new Promise((resolve) => outgoing.once("drain", resolve));
  outgoing.end();
  await finished(incoming);
  assert.equal(received, 320 * 65_536);
  assert.equal(incoming.trailers["grpc-status"], "0");
  assert.equal(origin.sessions.length, 1);
  const [operation] = room.operations();
  assert.equal(operation?.body.outcome?.bytesIn, 320 * 65_536);
  assert.equal(operation?.body.outcome?.bytesOut, 320 * 65_536);
});

for (const [title, breakOff] of [
  [
    "RST_STREAM with an error",
    (stream: ServerHttp2Stream) => reset(stream, NGHTTP2_INTERNAL_ERROR),
  ],
  ["RST_STREAM with CANCEL", (stream: ServerHttp2Stream) => reset(stream, NGHTTP2_CANCEL)],
  ["RST_STREAM with NO_ERROR", (stream: ServerHttp2Stream) => reset(stream, NGHTTP2_NO_ERROR)],
  ["the end of the connection", (stream: ServerHttp2Stream) => stream.session?.socket.destroy()],
  ["GOAWAY and the end", (stream: ServerHttp2Stream) => stream.session?.destroy()],
] as const) {
  test(`an answer that breaks off by ${title} reaches the agent as broken off`, async (t) => {
    const origin = await h2Origin(t, (server) =>
      server.on("stream", (stream) => {
        stream.on("error", () => {});
        stream.respond({ ":status": 200, "content-type": "text/event-stream" });
        stream.write("data: 1\n\n", () => breakOff(stream));
      }),
    );
    const room = await startRoom(t, [{ upstream: origin.upstream }]);
    await assert.rejects(send(room, {}), /aborted|ECONNRESET|socket hang up/);
    await eventually("recorded", () => room.operations().length === 1);
    assert.equal(room.operations()[0]?.body.outcome?.status, "error");
    assert.equal(room.operations()[0]?.body.outcome?.httpStatus, 200);
  });
}

test("an answer that has all the bytes it announced is whole, although its stream is reset with NO_ERROR instead of ended; one byte less is not", async (t) => {
  const origin = await h2Origin(t, (server) =>
    server.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      stream.respond({ ":status": 200, "content-length": 8 });
      const body = headers[":path"] === "/whole" ? "whole it" : "whole i";
      stream.write(body, () => reset(stream, NGHTTP2_NO_ERROR));
    }),
  );
  const room = await startRoom(t, [{ upstream: origin.upstream }]);
  assert.equal((await send(room, { path: "/whole" })).text, "whole it");
  await assert.rejects(send(room, { path: "/short" }), /aborted|ECONNRESET|socket hang up/);
  await eventually("recorded", () => room.operations().length === 2);
  assert.deepEqual(
    room.operations().map(({ body }) => body.outcome?.status),
    ["ok", "error"],
  );
});

/** `stream.close` would send END_STREAM first; this is what a server of another make may do. */
function reset(stream: ServerHttp2Stream, code: number): void {
  const handle = Object.getOwnPropertySymbols(stream).find(
    (symbol) => symbol.description === "kHandle",
  );
  assert.ok(handle !== undefined);
  const native = Reflect.get(stream, handle) as { rstStream(code: number): void };
  native.rstStream(code);
}

test("the agent's abort resets its stream at once and leaves the others alone", async (t) => {
  const closed: number[] = [];
  const origin = await h2Origin(t, (server) =>
    server.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      stream.on("close", () => closed.push(stream.rstCode ?? -1));
      if (headers[":path"] === "/quick") stream.respond({ ":status": 204 }, { endStream: true });
      else {
        stream.respond({ ":status": 200 });
        stream.write("a");
      }
    }),
  );
  const room = await startRoom(t, [{ upstream: origin.upstream }]);
  const outgoing = request({ host: "127.0.0.1", port: room.port, path: "/slow" });
  outgoing.on("error", () => {});
  outgoing.on("response", (response) =>
    response.on("error", () => {}).once("data", () => outgoing.destroy()),
  );
  outgoing.end();
  await eventually("reset", () => closed.length === 1);
  assert.deepEqual(closed, [NGHTTP2_CANCEL]);
  assert.equal((await send(room, { path: "/quick" })).status, 204);
  assert.equal(origin.sessions.length, 1);
});

test("a refused stream is sent again because nothing was done with it; after three refusals the agent is told", async (t) => {
  let refusals = 0;
  const origin = await h2Origin(t, (server) =>
    server.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      if (headers[":path"] === "/never" || (headers[":path"] === "/twice" && refusals < 2)) {
        refusals += 1;
        stream.close(NGHTTP2_REFUSED_STREAM);
      } else stream.respond({ ":status": 204 }, { endStream: true });
    }),
  );
  const room = await startRoom(t, [{ upstream: origin.upstream }]);
  assert.equal((await send(room, { method: "POST", path: "/twice", body: "x" })).status, 204);
  assert.equal(refusals, 2);
  const answer = await send(room, { path: "/never" });
  assert.equal(answer.status, 502);
  assert.match(answer.text, /refused the request 3 times/);
  assert.equal(refusals, 5);
  assert.equal(room.operations().length, 2, "one operation each, however often it was sent");
});

test("a stream that failed after the upstream may have looked at it is never sent again", async (t) => {
  let requests = 0;
  const origin = await h2Origin(t, (server) =>
    server.on("stream", (stream) => {
      requests += 1;
      stream.on("error", () => {});
      stream.close(NGHTTP2_INTERNAL_ERROR);
    }),
  );
  const room = await startRoom(t, [{ upstream: origin.upstream }]);
  assert.equal((await send(room, { method: "POST", body: "x" })).status, 502);
  assert.equal(requests, 1);
  assert.equal(room.operations()[0]?.body.outcome?.status, "unknown");
});

test("after GOAWAY what is under way ends on the old connection, and what comes next opens another", async (t) => {
  const open: ServerHttp2Stream[] = [];
  const origin = await h2Origin(t, (server) =>
    server.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      stream.respond({ ":status": 200 });
      if (headers[":path"] === "/long") open.push(stream);
      else stream.end("short");
    }),
  );
  const room = await startRoom(t, [{ upstream: origin.upstream }]);
  const long = send(room, { path: "/long" });
  await eventually("begun", () => open.length === 1);
  origin.sessions[0]?.goaway(NGHTTP2_NO_ERROR);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal((await send(room, { path: "/short" })).text, "short");
  assert.equal(origin.sessions.length, 2);
  open[0]?.end("long");
  assert.equal((await long).text, "long");
});

test("what a GOAWAY with an error leaves out is sent again, and what it may have touched is not", async (t) => {
  const paths: string[] = [];
  const origin = await h2Origin(t, (server) =>
    server.on("stream", (stream, headers) => {
      const path = String(headers[":path"]);
      paths.push(path);
      stream.on("error", () => {});
      if (paths.length === 3) stream.respond({ ":status": 204 }, { endStream: true });
      else if (paths.length === 2)
        stream.session?.goaway(NGHTTP2_INTERNAL_ERROR, 1, Buffer.from("enough"));
    }),
  );
  const room = await startRoom(t, [{ upstream: origin.upstream }]);
  const touched = send(room, { method: "POST", path: "/touched", body: "x" });
  await eventually("the first is there", () => paths.length === 1);
  const unseen = send(room, { method: "POST", path: "/unseen", body: "x" });
  assert.equal((await touched).status, 502);
  assert.equal((await unseen).status, 204);
  assert.deepEqual(paths, ["/touched", "/unseen", "/unseen"]);
  assert.equal(origin.sessions.length, 2);
  assert.equal(
    room.operations().find(({ body }) => body.outcome?.status === "unknown")?.body.outcome?.error,
    "UpstreamUnreachable",
  );
});

test("no more streams are opened than the upstream allows; the rest goes over another connection", async (t) => {
  let most = 0;
  const origin = await h2Origin(
    t,
    (server) => {
      server.on("session", (session) => {
        let open = 0;
        session.on("stream", (stream) => {
          most = Math.max(most, ++open);
          stream.on("error", () => {});
          stream.on("close", () => open--);
          setTimeout(() => {
            stream.respond({ ":status": 204 }, { endStream: true });
          }, 10);
        });
      });
      server.on("stream", () => {});
    },
    { settings: { maxConcurrentStreams: 4 } },
  );
  const room = await startRoom(t, [{ upstream: origin.upstream }]);
  await send(room, {});
  const answers = await Promise.all(Array.from({ length: 60 }, () => send(room, {})));
  assert.ok(answers.every(({ status }) => status === 204));
  assert.ok(most <= 4, `${most} at a time`);
  assert.ok(origin.sessions.length <= 16);
});

test("an upstream that takes no bytes holds the upload back, and an agent that takes none holds the answer back", async (t) => {
  let upstreamStream: ServerHttp2Stream | undefined;
  let produced = 0;
  const origin = await h2Origin(t, (server) =>
    server.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      if (headers[":path"] === "/up") {
        upstreamStream = stream;
        return;
      }
      // Unless somebody reads the request, Node resets the stream in place of its end when the window is full there.
      stream.resume();
      stream.respond({ ":status": 200 });
      const piece = Buffer.alloc(65_536);
      const more = (): void => {
        while (produced < 64 * 1024 * 1024) {
          produced += piece.length;
          if (!stream.write(piece)) {
            stream.once("drain", more);
            return;
          }
        }
        stream.end();
      };
      more();
    }),
  );
  const room = await startRoom(t, [{ upstream: origin.upstream }]);
  const settled = async (read: () => number): Promise<number> => {
    for (let last = -1; ;) {
      await new Promise((resolve) => setTimeout(resolve, 150));
      if (read() === last) return last;
      last = read();
    }
  };
  const outgoing = request({ host: "127.0.0.1", port: room.port, method: "POST", path: "/up" });
  outgoing.on("error", () => {});
  let written = 0;
  const piece = Buffer.alloc(65_536);
  const pump = (): void => {
    while (written < 64 * 1024 * 1024) {
      written += piece.length;
      if (!outgoing.write(piece)) {
        outgoing.once("drain", pump);
        return;
      }
    }
    outgoing.end();
  };
  pump();
  await eventually("arrived", () => upstreamStream !== undefined);
  // Kernel buffers of two sockets, ours, and the stream's window.
  assert.ok((await settled(() => written)) < 32 * 1024 * 1024, `${written} written`);
  upstreamStream?.resume();
  upstreamStream?.respond({ ":status": 204 }, { endStream: true });

  const slow = request({ host: "127.0.0.1", port: room.port, path: "/down" });
  slow.on("error", () => {});
  const response = await new Promise<IncomingMessage>((resolve) => {
    slow.on("response", resolve);
    slow.end();
  });
  response.pause();
  assert.ok((await settled(() => produced)) < 32 * 1024 * 1024, `${produced} produced`);
  let received = 0;
  response.on("data", (bytes: Buffer) => (received += bytes.length)).resume();
  await finished(response);
  assert.equal(received, 64 * 1024 * 1024);
  outgoing.destroy();
});

test("1xx answers pass, HEAD and 304 have no body, and an early answer ends the upload", async (t) => {
  const resets: number[] = [];
  const origin = await h2Origin(t, (server) =>
    server.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      if (headers[":path"] === "/hints") {
        stream.additionalHeaders({ ":status": 103, link: "</a.css>; rel=preload" });
        stream.respond({ ":status": 200 });
        stream.end("after");
      } else if (headers[":method"] === "HEAD") {
        stream.respond({ ":status": 200, "content-length": "1234" }, { endStream: true });
      } else if (headers[":path"] === "/early") {
        stream.on("close", () => resets.push(stream.rstCode ?? -1));
        stream.respond({ ":status": 413 });
        stream.end("too much");
      } else stream.respond({ ":status": 304, etag: '"1"' }, { endStream: true });
    }),
  );
  const room = await startRoom(t, [{ upstream: origin.upstream }]);
  const hints = request({ host: "127.0.0.1", port: room.port, path: "/hints" });
  const informed: number[] = [];
  hints.on("information", ({ statusCode }) => informed.push(statusCode));
  await new Promise<void>((resolve) => {
    hints.on("response", (response) => response.resume().on("close", () => resolve()));
    hints.end();
  });
  assert.deepEqual(informed, [103]);
  const head = await send(room, { method: "HEAD" });
  assert.equal(head.headers["content-length"], "1234");
  assert.equal((await send(room, { path: "/cached" })).status, 304);
  const early = request({ host: "127.0.0.1", port: room.port, method: "POST", path: "/early" });
  early.on("error", () => {});
  early.write(Buffer.alloc(1024 * 1024));
  const answer = await new Promise<IncomingMessage>((resolve) => early.on("response", resolve));
  assert.equal(answer.statusCode, 413);
  answer.resume();
  await eventually("the upload was reset", () => resets.length === 1);
  early.destroy();
});

test("an upstream that says h2 and speaks something else is told apart from one that is away", async (t) => {
  const { ca, key, cert } = certified();
  const server = createServer({ key, cert, ALPNProtocols: ["h2"] }, (socket) => {
    socket.on("error", () => {});
    socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const room = await startRoom(t, [{ upstream: { port: address.port, host: "localhost", ca } }]);
  const answer = await send(room, {});
  assert.equal(answer.status, 502);
  assert.match(answer.text, /errors\/UpstreamProtocol.*did not answer in HTTP\/2/);
});
