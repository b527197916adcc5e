// HTTP/2 from the agent: every stream is one request, decided, answered and recorded like any other.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import { constants } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { promisify } from "node:util";

import { ProxyError } from "../../proxy/errors.ts";
import { watchEnd } from "../../proxy/http/h2-end.ts";
import { eventually, raw, startRoom } from "./http-proxy-fixture.ts";
import { ask, h2Name, h2Origin, startH2Room } from "./http2-fixture.ts";
import type { H2Origin } from "./http2-fixture.ts";
import { H2Wire, flag } from "./http2-frames.ts";
import type { Field } from "./http2-frames.ts";

const run = promisify(execFile);
const get: readonly Field[] = [
  [":method", "GET"],
  [":scheme", "https"],
  [":path", "/"],
  [":authority", h2Name],
];
const post: readonly Field[] = [[":method", "POST"], ...get.slice(1)];

async function plainOrigin(t: TestContext, answer: RequestListener): Promise<number> {
  const server = createServer(answer);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return address.port;
}

test("requests of one connection are decided each for itself and answered side by side", async (t) => {
  const port = await plainOrigin(t, (request, response) => {
    if (request.url === "/slow") setTimeout(() => response.end("slow"), 100);
    else response.end(`${request.method} ${request.url}`);
  });
  const room = await startH2Room(t, [
    {
      upstream: { port },
      rules: [
        { name: "read", action: "Allow", http: { methods: ["GET"] } },
        { name: "no", action: "Deny", http: { methods: ["DELETE"] } },
      ],
    },
  ]);
  const client = room.connect();
  const order: string[] = [];
  const note = <T extends { text: string }>(answer: T): T => {
    order.push(answer.text);
    return answer;
  };
  const [slow, quick, refused] = await Promise.all([
    ask(client, { ":path": "/slow" }).then(note),
    ask(client, { ":path": "/quick" }).then(note),
    ask(client, { ":path": "/x", ":method": "DELETE" }).then(note),
  ]);
  assert.equal(slow.text, "slow");
  assert.equal(quick.text, "GET /quick");
  assert.equal(refused.status, 403);
  assert.match(refused.text, /errors\/Denied/);
  assert.equal(order.at(-1), "slow");
  const verdicts = room.operations().map(({ body }) => body.decision?.verdict ?? "");
  assert.equal(verdicts.filter((verdict) => verdict === "allow").length, 2);
  assert.equal(verdicts.filter((verdict) => verdict === "deny").length, 1);
});

test("a gRPC call goes through: both ways at once, with trailers at the end and an answer of trailers alone", async (t) => {
  const origin = await h2Origin(t, (server) =>
    server.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      assert.equal(headers["te"], "trailers");
      if (headers[":path"] === "/shop.Orders/Missing") {
        stream.respond(
          { ":status": 200, "content-type": "application/grpc", "grpc-status": "5" },
          { endStream: true },
        );
        return;
      }
      stream.respond(
        { ":status": 200, "content-type": "application/grpc" },
        { waitForTrailers: true },
      );
      stream.on("wantTrailers", () =>
        stream.sendTrailers({ "grpc-status": "0", "grpc-message": "fine" }),
      );
      stream.on("data", (chunk: Buffer) => stream.write(chunk));
      stream.on("end", () => stream.end());
    }),
  );
  const room = await startH2Room(t, [{ upstream: origin.upstream }]);
  const client = room.connect();
  const call = client.request({
    ":method": "POST",
    ":path": "/shop.Orders/Watch",
    "content-type": "application/grpc",
    te: "trailers",
  });
  let trailers: Record<string, unknown> = {};
  call.on("trailers", (fields) => (trailers = fields));
  // Each message is answered before the next is sent: nothing waits for the end of either body.
  for (const text of ["one", "two", "three"]) {
    call.write(text);
    const [chunk] = (await once(call, "data")) as [Buffer];
    assert.equal(chunk.toString(), text);
  }
  call.end();
  await once(call, "close");
  assert.equal(trailers["grpc-status"], "0");
  assert.equal(trailers["grpc-message"], "fine");
  const missing = await ask(
    client,
    { ":method": "POST", ":path": "/shop.Orders/Missing", te: "trailers" },
    "x",
  );
  assert.equal(missing.headers["grpc-status"], "5");
  assert.equal(origin.sessions.length, 1);
});

test("what the upstream breaks off is reset, never ended, and the other streams go on", async (t) => {
  const port = await plainOrigin(t, (request, response) => {
    if (request.url === "/quick") response.end("quick");
    else response.write("some", () => setTimeout(() => response.socket?.destroy(), 20));
  });
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const client = room.connect();
  await assert.rejects(ask(client, { ":path": "/broken" }), /NGHTTP2_INTERNAL_ERROR/);
  assert.equal((await ask(client, { ":path": "/quick" })).text, "quick");
});

test("a client that takes its request back is heard by the upstream at once", async (t) => {
  let closed = 0;
  const port = await plainOrigin(t, (_request, response) => {
    response.write("some");
    response.on("close", () => closed++);
  });
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const client = room.connect();
  const stream = client.request({ ":path": "/" });
  stream.on("error", () => {});
  await once(stream, "data");
  stream.close(constants.NGHTTP2_CANCEL);
  await eventually("the upstream heard it", () => closed === 1);
  await eventually("it is recorded", () => room.operations().length === 1);
  assert.equal(room.operations()[0]?.body.outcome?.error, "ClientGone");
});

for (const upstreamSpeaks of ["HTTP/1.1", "HTTP/2"] as const) {
  test(`an upload that breaks off never reaches an upstream of ${upstreamSpeaks} as a whole one`, async (t) => {
    let whole = 0;
    let begun = 0;
    const over: boolean[] = [];
    const plain = async (): Promise<{ port: number }> => ({
      port: await plainOrigin(t, (request) => {
        begun += 1;
        request.on("error", () => {});
        request.on("end", () => whole++);
        request.on("close", () => over.push(true));
        request.resume();
      }),
    });
    const h2 = async (): Promise<H2Origin["upstream"]> => {
      const origin = await h2Origin(t, (server) =>
        server.on("stream", (stream) => {
          begun += 1;
          const isWhole = watchEnd(stream);
          stream.on("error", () => {});
          stream.on("close", () => {
            if (isWhole()) whole += 1;
            over.push(true);
          });
          stream.resume();
        }),
      );
      return origin.upstream;
    };
    const room = await startH2Room(t, [
      { upstream: upstreamSpeaks === "HTTP/2" ? await h2() : await plain() },
    ]);
    for (const code of [constants.NGHTTP2_CANCEL, constants.NGHTTP2_NO_ERROR]) {
      const wire = new H2Wire(await room.socket());
      const before = begun;
      wire.open();
      wire.headers(1, post, false);
      wire.data(1, "x".repeat(8_000), false);
      await eventually("begun", () => begun > before);
      wire.reset(1, code);
      await eventually("recorded", () => room.operations().length === begun);
      await eventually("over", () => over.length === begun);
    }
    assert.equal(whole, 0);
    assert.ok(room.operations().every(({ body }) => body.outcome?.error === "ClientGone"));
  });
}

test("an answer that breaks off has RST_STREAM behind it and END_STREAM nowhere", async (t) => {
  const port = await plainOrigin(t, (_request, response) => {
    response.write("some", () => setTimeout(() => response.socket?.destroy(), 20));
  });
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const wire = new H2Wire(await room.socket());
  wire.open();
  wire.headers(1, get);
  await wire.until("reset", () => wire.resetOf(1) !== undefined);
  assert.equal(wire.resetOf(1), constants.NGHTTP2_INTERNAL_ERROR);
  const ends = wire.frames.filter(
    ({ type, stream, flags }) => stream === 1 && type < 2 && (flags & flag.endStream) !== 0,
  );
  assert.deepEqual(ends, []);
});

for (const connections of [1, 10]) {
  test(`1,000 requests are open at once over ${connections} connections, and each gets its own answer`, async (t) => {
    const waiting: (() => void)[] = [];
    const port = await plainOrigin(t, (request, response) => {
      waiting.push(() => response.end(`answer to ${request.url}`));
    });
    const room = await startH2Room(t, [{ upstream: { port } }]);
    const clients = Array.from({ length: connections }, () => room.connect());
    await Promise.all(clients.map((client) => once(client, "remoteSettings")));
    const answers = Array.from({ length: 1_000 }, (_, at) => {
      const client = clients[at % connections];
      assert.ok(client !== undefined);
      return ask(client, { ":path": `/${at}` });
    });
    await eventually("all of them are open", () => waiting.length === 1_000, 60_000);
    for (const answer of waiting) answer();
    const texts = (await Promise.all(answers)).map(({ text }) => text);
    assert.ok(texts.every((text, at) => text === `answer to /${at}`));
    assert.equal(room.operations().length, 1_000);
  });
}

test("a field that no reader would take is not passed on, and a name with capitals is refused", async (t) => {
  const seen: string[] = [];
  const port = await plainOrigin(t, (request, response) => {
    seen.push(JSON.stringify(request.rawHeaders));
    response.end("ok");
  });
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const wire = new H2Wire(await room.socket());
  wire.open();
  let stream = 1;
  const fields: readonly Field[] = [
    ["X-Capital", "1"],
    ["connection", "close"],
    ["transfer-encoding", "chunked"],
    ["upgrade", "websocket"],
    ["te", "gzip"],
    [":path", "/twice"],
    [":status", "200"],
    ["content-length", "x"],
  ];
  for (const field of fields) {
    wire.headers(stream, [...get, field]);
    const refused = stream;
    await wire.until(field.join(), () => wire.resetOf(refused) !== undefined);
    assert.equal(wire.resetOf(refused), constants.NGHTTP2_PROTOCOL_ERROR, field.join());
    stream += 2;
  }
  assert.equal(seen.length, 0);
  await eventually("every one of them left an event", () => room.refusals.length === fields.length);
  assert.match(room.refusals[0]?.message ?? "", /its fields break the rules of HTTP\/2/);
  for (const field of [
    ["x y", "spoken"],
    ["x-line", "spoken\r\nx-smuggled: 1"],
    ["x-nul", "spoken\0"],
  ] satisfies Field[]) {
    wire.headers(stream, [...get, field]);
    const answered = stream;
    await wire.until(
      field.join(),
      () =>
        wire.resetOf(answered) !== undefined ||
        wire.frames.some((one) => one.stream === answered && (one.flags & flag.endStream) !== 0),
    );
    stream += 2;
  }
  assert.ok(seen.every((text) => !text.includes("spoken") && !text.includes("smuggled")));
});

test("a request that breaks its framing leaves an event, also on a connection that closes at once", async (t) => {
  const port = await plainOrigin(t, (request, response) => {
    request.resume();
    request.on("end", () => response.end("ok"));
    request.on("error", () => {});
  });
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const socket = await room.socket();
  const wire = new H2Wire(socket);
  wire.open();
  wire.headers(1, [...get, ["X-Capital", "1"]]);
  await wire.until("it is reset", () => wire.resetOf(1) !== undefined);
  socket.destroy();
  await eventually("it left an event", () => room.refusals.length === 1);
  assert.equal(room.refusals[0]?.code, "MalformedRequest");

  const other = new H2Wire(await room.socket());
  other.open();
  other.headers(1, [...post, ["content-length", "3"]], false);
  other.data(1, "hello");
  await other.until("it is reset", () => other.resetOf(1) !== undefined);
  await eventually(
    "it left an event of its own",
    () => room.refusals.length + room.operations().length === 2,
  );
  const codes = [
    ...room.refusals.map(({ code }) => code),
    ...room.operations().map(({ body }) => body.outcome?.error),
  ];
  assert.deepEqual(codes, ["MalformedRequest", "MalformedRequest"]);

  const third = new H2Wire(await room.socket());
  third.open();
  const before = room.operations().length;
  third.headers(1, post, false);
  third.headers(1, [["X-Capital", "1"]]);
  await third.until("the trailers are refused", () => third.resetOf(1) !== undefined);
  third.headers(3, [...post, ["content-length", "5"]], false);
  third.data(3, "hell", true);
  await third.until("the length is not true", () => third.resetOf(3) !== undefined);
  await eventually("both are recorded", () => room.operations().length === before + 2);
  assert.deepEqual(
    room
      .operations()
      .slice(before)
      .map(({ body }) => body.outcome?.error),
    ["MalformedRequest", "MalformedRequest"],
  );
});

test("fields of the upstream come as they were sent, also twice where once is usual", async (t) => {
  const port = await plainOrigin(t, (_request, response) => {
    response.writeHead(200, ["Content-Type", "a/b", "Content-Type", "c/d", "Age", "1", "Age", "2"]);
    response.end("ok");
  });
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const stream = room.connect().request({ ":path": "/" });
  const [, , fields] = (await once(stream, "response")) as [unknown, unknown, string[]];
  const values = fields.filter((_, at) => ["content-type", "age"].includes(fields[at - 1] ?? ""));
  assert.deepEqual(values, ["a/b", "c/d", "1", "2"]);
});

test("an answer that a client takes slowly comes whole", async (t) => {
  const size = 8 * 1024 * 1024;
  const port = await plainOrigin(t, (_request, response) => response.end(Buffer.alloc(size, "s")));
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const stream = room.connect().request({ ":path": "/" });
  let received = 0;
  let turn = 0;
  stream.on("data", (chunk: Buffer) => {
    received += chunk.length;
    turn += 1;
    if (turn % 16 !== 0) return;
    stream.pause();
    setTimeout(() => stream.resume(), 2);
  });
  await once(stream, "close");
  assert.equal(received, size);
});

test("200 MB go each way through one stream in bounded memory", async (t) => {
  const size = 200 * 1024 * 1024;
  const port = await plainOrigin(t, (request, response) => request.pipe(response));
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const stream = room.connect().request({ ":method": "POST", ":path": "/" });
  const piece = Buffer.alloc(256 * 1024, "p");
  let received = 0;
  let most = 0;
  stream.on("data", (chunk: Buffer) => {
    received += chunk.length;
    most = Math.max(most, process.memoryUsage().rss);
  });
  const before = process.memoryUsage().rss;
  for (let sent = 0; sent < size; sent += piece.length)
    if (!stream.write(piece)) await once(stream, "drain");
  stream.end();
  await once(stream, "close");
  assert.equal(received, size);
  assert.ok(
    most - before < 100 * 1024 * 1024,
    `${Math.round((most - before) / 1_048_576)} MiB more`,
  );
});

test("a quarantine ends open streams with its reason or a reset, and the connection with GOAWAY", async (t) => {
  const port = await plainOrigin(t, (request, response) => {
    if (request.url === "/begun") response.write("some");
  });
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const client = room.connect();
  let goaway = -1;
  client.on("goaway", (code) => (goaway = code));
  const begun = client.request({ ":path": "/begun" });
  const failure = once(begun, "error");
  await once(begun, "data");
  const waiting = ask(client, { ":path": "/waiting" });
  await new Promise((resolve) => setTimeout(resolve, 50));
  room.gate.end(new ProxyError("Quarantined", "this pod is quarantined: test"));
  const answer = await waiting;
  assert.equal(answer.status, 403);
  assert.match(answer.text, /errors\/Quarantined/);
  await failure;
  assert.equal(begun.rstCode, constants.NGHTTP2_INTERNAL_ERROR);
  await once(client, "close");
  assert.equal(goaway, constants.NGHTTP2_NO_ERROR);
});

test("a grant that ends lets what is under way finish and takes nothing new", async (t) => {
  let finish = (): void => {};
  const port = await plainOrigin(t, (_request, response) => {
    response.write("some");
    finish = () => response.end(" more");
  });
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const client = room.connect();
  const begun = ask(client, { ":path": "/begun" });
  await eventually(
    "begun",
    () =>
      room.gate.events.length >= 0 && finish.length === 0 && client.state.outboundQueueSize === 0,
  );
  await new Promise((resolve) => setTimeout(resolve, 100));
  room.gate.end(new ProxyError("GrantEnded", "the grant has ended"));
  await once(client, "goaway");
  finish();
  assert.equal((await begun).text, "some more");
  await once(client, "close");
});

test("a request for another host than the handshake named is not served: 421", async (t) => {
  const port = await plainOrigin(t, (_request, response) => response.end("no"));
  const room = await startH2Room(t, [{ upstream: { port } }], [h2Name, "other.example"]);
  const client = room.connect();
  const answer = await ask(client, { ":authority": "other.example" });
  assert.equal(answer.status, 421);
  assert.match(answer.text, /errors\/ConnectionUnknown/);
  for (const fields of [
    { ":authority": h2Name, host: "other.example" },
    { ":authority": h2Name, ":scheme": "http" },
  ])
    assert.equal((await ask(client, fields)).status, 400, JSON.stringify(fields));
  await assert.rejects(ask(client, { ":authority": `user@${h2Name}` }), /PROTOCOL_ERROR/);
  assert.equal(room.operations().length, 0);
});

test("CONNECT is refused over HTTP/2, and extended CONNECT is not offered", async (t) => {
  const port = await plainOrigin(t, (_request, response) => response.end("no"));
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const client = room.connect();
  await once(client, "remoteSettings");
  assert.equal(client.remoteSettings.enableConnectProtocol, false);
  const stream = client.request({ ":method": "CONNECT", ":authority": `${h2Name}:443` });
  const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
  assert.equal(headers[":status"], 501);
  stream.destroy();
});

test("201 headers are refused by name, and a head over 32 KiB with ENHANCE_YOUR_CALM; the connection stays", async (t) => {
  const port = await plainOrigin(t, (_request, response) => response.end("ok"));
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const client = room.connect();
  const many = Object.fromEntries(Array.from({ length: 201 }, (_, at) => [`x-${at}`, "1"]));
  assert.equal((await ask(client, many)).status, 413);
  await assert.rejects(ask(client, { "x-big": "b".repeat(33 * 1024) }), /ENHANCE_YOUR_CALM/);
  assert.equal((await ask(client, {})).text, "ok");
});

test("a held body, an expectation and a HEAD work as over HTTP/1.1", async (t) => {
  const port = await plainOrigin(t, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () =>
      response.setHeader("content-length", 3).end(Buffer.concat(chunks).subarray(0, 3)),
    );
  });
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const client = room.connect();
  const stream = client.request({
    ":method": "POST",
    ":path": "/",
    expect: "100-continue",
    "content-length": "3",
  });
  await once(stream, "continue");
  stream.end("abc");
  const [chunk] = (await once(stream, "data")) as [Buffer];
  assert.equal(chunk.toString(), "abc");
  const head = await ask(client, { ":method": "HEAD" });
  assert.equal(head.headers["content-length"], "3");
  assert.equal(head.text, "");
});

test("HTTP/2 without TLS is refused in its own words, and `Upgrade: h2c` is answered in HTTP/1.1", async (t) => {
  const seen: string[] = [];
  const port = await plainOrigin(t, (request, response) => {
    seen.push(JSON.stringify(request.headers));
    response.end("plain");
  });
  const room = await startRoom(t, [{ upstream: { port } }]);
  const preface = await raw(room.port, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  // SETTINGS, then GOAWAY with HTTP_1_1_REQUIRED.
  assert.equal(Buffer.from(preface, "latin1").subarray(0, 9).toString("hex"), "000000040000000000");
  assert.equal(Buffer.from(preface, "latin1").subarray(12, 13).toString("hex"), "07");
  assert.equal(
    Buffer.from(preface, "latin1").readUInt32BE(22),
    constants.NGHTTP2_HTTP_1_1_REQUIRED,
  );
  assert.match(preface, /HTTP\/2 is spoken over TLS only/);
  assert.equal(room.refusals[0]?.code, "NotSupported");
  const upgrade = await raw(
    room.port,
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
  );
  assert.match(upgrade, /^HTTP\/1\.1 200 [^]*plain/);
  assert.doesNotMatch(seen.join(), /upgrade|h2c|http2-settings/i);
});

test("curl speaks HTTP/2 to it", async (t) => {
  const port = await plainOrigin(t, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => response.end(`got ${Buffer.concat(chunks).length}`));
  });
  const room = await startH2Room(t, [{ upstream: { port } }]);
  const folder = await mkdtemp(join(tmpdir(), "h2-"));
  t.after(() => rm(folder, { recursive: true }));
  const ca = join(folder, "ca.pem");
  const body = join(folder, "body");
  await writeFile(ca, room.ca);
  await writeFile(body, Buffer.alloc(3_000_000, "b"));
  const curl = (...args: string[]): Promise<{ stdout: string }> =>
    run("curl", [
      "-sS",
      "--noproxy",
      "*",
      "--cacert",
      ca,
      "--resolve",
      `${h2Name}:${room.port}:127.0.0.1`,
      "-w",
      " %{http_version} %{http_code}",
      ...args,
      `https://${h2Name}:${room.port}/`,
    ]);
  assert.equal((await curl("--http2")).stdout, "got 0 2 200");
  assert.equal((await curl("--http2", "--data-binary", `@${body}`)).stdout, "got 3000000 2 200");
  assert.equal((await curl("--http1.1")).stdout, "got 0 1.1 200");
});
