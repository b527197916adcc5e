// What follows the body of a request over HTTP/2, to upstreams of either version.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { eventually, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup } from "./http-proxy-fixture.ts";
import { startByteOrigin } from "./http-byte-origin.ts";
import { h2Origin, startH2Room } from "./http2-fixture.ts";

interface Got {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly trailers: IncomingHttpHeaders;
  readonly isWhole: boolean;
}

interface Origin {
  readonly upstream: ConnectionSetup["upstream"];
  readonly got: Got[];
}

async function originOf2(t: TestContext): Promise<Origin> {
  const got: Got[] = [];
  const { upstream } = await h2Origin(t, (server) =>
    server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      let body = "";
      let trailers: IncomingHttpHeaders = {};
      stream.on("error", () => {});
      stream.on("trailers", (fields) => (trailers = fields));
      stream.on("data", (chunk: Buffer) => (body += chunk.toString()));
      stream.on("end", () => {
        if (!stream.aborted && !stream.destroyed)
          stream.respond({ ":status": 200 }, { endStream: true });
      });
      stream.on("close", () => got.push({ headers, body, trailers, isWhole: !stream.aborted }));
    }),
  );
  return { upstream, got };
}

async function originOf1(t: TestContext): Promise<Origin> {
  const got: Got[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("error", () => {});
    request.on("close", () =>
      got.push({
        headers: request.headers,
        body,
        trailers: request.trailers,
        isWhole: request.complete,
      }),
    );
    request.on("end", () => response.end());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return { upstream: { port: address.port }, got };
}

const origins = [
  ["HTTP/2", originOf2],
  ["HTTP/1.1", originOf1],
] as const;

const large = "x".repeat(100_000);

for (const [version, start] of origins) {
  test(`trailers of an HTTP/2 request reach an upstream of ${version}, whether its body streams, is short or is nothing, without what is not the agent's to say`, async (t) => {
    const { upstream, got } = await start(t);
    const lease = { kind: "headers", headers: [{ name: "X-Sign", value: "real" }] } as const;
    const room = await startH2Room(t, [{ upstream, lease }]);
    const client = room.connect();
    for (const [at, body] of [large, "short", ""].entries()) {
      const call = client.request(
        { ":method": "POST", ":path": "/up", trailer: "x-sum, x-sign" },
        { waitForTrailers: true },
      );
      call.on("wantTrailers", () =>
        call.sendTrailers({
          "x-sum": "1",
          "x-late": "2",
          authorization: "mine",
          cookie: "a=b",
          "x-sign": "mine",
          "chaperone-chain": "other",
        }),
      );
      call.end(body);
      const [headers] = (await once(call, "response")) as [IncomingHttpHeaders];
      assert.equal(headers[":status"], 200);
      call.resume();
      await once(call, "close");
      await eventually("the origin has it", () => got.length === at + 1);
      const one = got[at];
      assert.ok(one !== undefined);
      assert.deepEqual(Object.entries(one.trailers), [
        ["x-sum", "1"],
        ["x-late", "2"],
      ]);
      assert.deepEqual(
        [one.body.length, one.isWhole, one.headers.trailer, one.headers["x-sign"]],
        [body.length, true, "x-sum", "real"],
      );
    }
    assert.equal(room.operations().length, 3);
  });

  test(`trailers that say what was decided on never end a request to an upstream of ${version}`, async (t) => {
    const { upstream, got } = await start(t);
    const room = await startH2Room(t, [{ upstream }]);
    const client = room.connect();
    for (const name of ["content-type", "x-original-url", "x_api_key"]) {
      const before = got.length;
      const call = client.request({ ":method": "POST", ":path": "/up" }, { waitForTrailers: true });
      call.on("error", () => {});
      call.on("wantTrailers", () => call.sendTrailers({ [name]: "text/plain" }));
      call.resume();
      call.write("hello");
      call.end();
      const [headers] = (await once(call, "response")) as [IncomingHttpHeaders];
      assert.equal(headers[":status"], 400);
      await eventually("the origin hears of the break", () => got.length > before);
      assert.deepEqual(Object.entries(got.at(-1)?.trailers ?? {}), []);
      assert.equal(got.at(-1)?.isWhole, false);
    }
    assert.deepEqual(
      room.operations().map(({ body }) => body.outcome?.error),
      ["MalformedRequest", "MalformedRequest", "MalformedRequest"],
    );
  });
}

test("trailers of an HTTP/1.1 request reach an upstream of HTTP/2", async (t) => {
  const { upstream, got } = await originOf2(t);
  const room = await startRoom(t, [{ upstream }]);
  const socket = connect(room.port, "127.0.0.1");
  t.after(() => socket.destroy());
  socket.write(
    "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n",
  );
  await once(socket, "data");
  await eventually("the origin has it", () => got.length === 1);
  const [one] = got;
  assert.deepEqual(
    [one?.body, one?.headers.trailer, one?.trailers["x-sum"]],
    ["hello", "x-sum", "1, 2"],
  );
});

test("a body of a stated length keeps it where no trailers were announced; to HTTP/1.1 they are left out then", async (t) => {
  const origin = await startByteOrigin();
  t.after(() => origin.close());
  const room = await startH2Room(t, [{ upstream: { port: origin.port } }]);
  const client = room.connect();
  const call = client.request(
    { ":method": "POST", ":path": "/up", "content-length": large.length },
    { waitForTrailers: true },
  );
  call.on("wantTrailers", () => call.sendTrailers({ "x-sum": "1" }));
  call.end(large);
  call.resume();
  await once(call, "close");
  const [one] = origin.arrived;
  assert.deepEqual([one?.body.length, one?.trailers, origin.faults], [large.length, [], []]);
  assert.ok(one?.headers.includes(`content-length: ${large.length}`));
});

test("a gRPC call in which the client streams ends with its trailers, behind the last message and before the answer", async (t) => {
  const told: string[] = [];
  const origin = await h2Origin(t, (server) =>
    server.on("stream", (stream) => {
      stream.on("error", () => {});
      stream.on("data", (chunk: Buffer) => told.push(chunk.toString()));
      stream.on("trailers", (fields) => told.push(`checksum ${String(fields["x-checksum"])}`));
      stream.on("end", () => {
        stream.respond(
          { ":status": 200, "content-type": "application/grpc" },
          { waitForTrailers: true },
        );
        stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
        stream.end(`got ${told.length}`);
      });
    }),
  );
  const room = await startH2Room(t, [{ upstream: origin.upstream }]);
  const call = room.connect().request(
    {
      ":method": "POST",
      ":path": "/shop.Orders/Upload",
      "content-type": "application/grpc",
      te: "trailers",
    },
    { waitForTrailers: true },
  );
  call.on("wantTrailers", () => call.sendTrailers({ "x-checksum": "7" }));
  for (const text of ["one", "two", "three"]) {
    call.write(text);
    await eventually("the message arrived", () => told.at(-1) === text);
  }
  let trailers: IncomingHttpHeaders = {};
  let text = "";
  call.on("trailers", (fields) => (trailers = fields));
  call.on("data", (chunk: Buffer) => (text += chunk.toString()));
  call.end();
  await once(call, "close");
  assert.deepEqual(told, ["one", "two", "three", "checksum 7"]);
  assert.deepEqual([text, trailers["grpc-status"]], ["got 4", "0"]);
});
