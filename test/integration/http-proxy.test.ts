// The HTTP room between real sockets: what reaches the origin, what reaches the agent, what is recorded.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request } from "node:http";
import type { IncomingMessage, RequestListener, Server } from "node:http";
import { connect, createServer as createTcpServer } from "node:net";
import type { Socket } from "node:net";
import type { Writable } from "node:stream";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { ProxyError } from "../../proxy/errors.ts";
import { eventually, raw, send, startRoom } from "./http-proxy-fixture.ts";

interface Origin {
  readonly port: number;
  readonly requests: IncomingMessage[];
  readonly server: Server;
}

async function origin(t: TestContext, listener: RequestListener): Promise<Origin> {
  const requests: IncomingMessage[] = [];
  const server = createServer((incoming, response) => {
    requests.push(incoming);
    listener(incoming, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return { port: address.port, requests, server };
}

const hello: RequestListener = (incoming, response) => {
  incoming.resume();
  response.end("hello");
};

const bearer = {
  kind: "headers",
  headers: [{ name: "Authorization", value: "Bearer real" }],
} as const;

test("an allowed request arrives with the real credential and the endpoint's Host, without ours, hop-by-hop and claimed ones", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [{ upstream: { port: target.port }, lease: bearer }]);
  const answer = await send(room, {
    path: "/v1/orders?page=2",
    headers: {
      host: "orders.example",
      authorization: "Bearer held-by-chaperone",
      "x-api-key": "k",
      "api-key": "k",
      "x-goog-api-key": "k",
      "proxy-authorization": "Basic eA==",
      forwarded: "for=1.2.3.4",
      "x-forwarded-for": "1.2.3.4",
      "x-forwarded-host": "evil",
      "chaperone-chain": "summarise",
      "chaperone-anything": "x",
      te: "trailers",
      "x-keep": "yes",
      cookie: "a=b",
    },
  });
  assert.equal(answer.text, "hello");
  const [seen] = target.requests;
  assert.equal(seen?.url, "/v1/orders?page=2");
  assert.deepEqual(
    { ...seen?.headers },
    {
      host: `127.0.0.1:${target.port}`,
      connection: "keep-alive",
      authorization: "Bearer real",
      "x-keep": "yes",
    },
  );
  const [operation] = room.operations();
  assert.equal(operation?.body.operation?.summary, "GET 127.0.0.1/v1/orders");
  assert.equal(operation?.body.subject?.chain, "summarise");
  assert.equal(operation?.body.outcome?.httpStatus, 200);
  assert.equal(operation?.body.outcome?.bytesOut, 5);
});

test("a header named in Connection is dropped before our credential is added, so it cannot name that away", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [{ upstream: { port: target.port }, lease: bearer }]);
  await raw(
    room.port,
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Authorization, X-Secret\r\nX-Secret: s\r\nX-Other: o\r\nAuthorization: mine\r\n\r\n",
  );
  const headers = target.requests[0]?.headers;
  assert.equal(headers?.authorization, "Bearer real");
  assert.equal(headers?.["x-secret"], undefined);
  assert.equal(headers?.["x-other"], "o");
});

test("what the upstream says about its own hop, and ways past the proxy, stay there", async (t) => {
  const target = await origin(t, (_incoming, response) => {
    response.writeHead(200, [
      "Connection",
      "x-hop",
      "X-Hop",
      "1",
      "Keep-Alive",
      "timeout=9",
      "Alt-Svc",
      'h3=":443"',
      "Set-Cookie",
      "a=1",
      "Set-Cookie",
      "b=2",
      "Proxy-Authenticate",
      "Basic",
    ]);
    response.end("x");
  });
  const room = await startRoom(t, [
    { upstream: { port: target.port }, endpoint: { cookies: "Pass" } },
  ]);
  const { headers } = await send(room, {});
  for (const name of ["x-hop", "keep-alive", "alt-svc", "proxy-authenticate"])
    assert.equal(headers[name], undefined, name);
  assert.deepEqual(headers["set-cookie"], ["a=1", "b=2"]);
});

const denyPosts = [
  { name: "reads", http: { methods: ["GET", "HEAD"] } },
  {
    name: "no-posts",
    action: "Deny" as const,
    http: { methods: ["POST"] },
    message: "Ask the data team.",
  },
];

test("a refusal is problem+json that names policy and rule, nothing reaches the upstream, and the connection stays usable", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [{ upstream: { port: target.port }, rules: denyPosts }]);
  room.agent.maxSockets = 1;
  for (const body of ["", "x".repeat(100), "x".repeat(1_000_000)]) {
    const refused = await send(room, { method: "POST", path: "/v1/orders", body });
    assert.equal(refused.status, 403);
    assert.equal(refused.headers["content-type"], "application/problem+json");
    const problem = JSON.parse(refused.text) as Record<string, unknown>;
    assert.equal(problem["type"], "https://chaperone.dev/errors/Denied");
    assert.equal(problem["policy"], "agents/policy");
    assert.equal(problem["rule"], "no-posts");
    assert.match(String(problem["detail"]), /Ask the data team/);
  }
  assert.equal((await send(room, {})).text, "hello");
  assert.equal(target.requests.length, 1);
  assert.equal(
    room.events().filter((event) => event.type === "session-start").length,
    1,
    "one client connection, one session",
  );
  assert.deepEqual(
    room.operations().map((event) => event.body.outcome?.status),
    ["denied", "denied", "denied", "ok"],
  );
});

test("a refused upload that never ends loses its connection", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [{ upstream: { port: target.port }, rules: denyPosts }]);
  const socket = connect(room.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  const chunk = Buffer.concat([
    Buffer.from("100000\r\n"),
    Buffer.alloc(0x100000, 120),
    Buffer.from("\r\n"),
  ]);
  let sent = 0;
  const push = (): void => {
    while (!socket.destroyed && sent < 200 && socket.write(chunk)) sent++;
  };
  socket.on("drain", push);
  push();
  await new Promise((resolve) => socket.once("close", resolve));
  assert.ok(sent < 60, `${sent} MB were taken`);
});

test("Expect: 100-continue is answered by the decision: a refused client keeps its body, an allowed one is asked for it", async (t) => {
  const target = await origin(t, (incoming, response) => {
    let length = 0;
    incoming.on("data", (chunk: Buffer) => (length += chunk.length));
    incoming.on("end", () => response.end(String(length)));
  });
  const room = await startRoom(t, [
    {
      upstream: { port: target.port },
      rules: [{ name: "no", action: "Deny", http: { paths: ["/no"] } }, { name: "yes" }],
    },
  ]);
  const refused = await raw(
    room.port,
    "POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
  );
  assert.match(refused, /^HTTP\/1\.1 403 /);
  const socket = connect(room.port, "127.0.0.1");
  socket.write(
    "POST /yes HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
  );
  const [first] = (await once(socket, "data")) as [Buffer];
  assert.match(first.toString(), /^HTTP\/1\.1 100 /);
  socket.write("12345");
  let text = "";
  socket.on("data", (chunk) => (text += chunk.toString()));
  await once(socket, "close");
  assert.match(text, /^HTTP\/1\.1 200 [^]*\r\n\r\n(5|1\r\n5\r\n0\r\n\r\n)$/);
  assert.equal(target.requests[0]?.headers.expect, undefined);
});

test("HEAD, 204 and 304 have no body, trailers and early hints pass", async (t) => {
  const target = await origin(t, (incoming, response) => {
    if (incoming.method === "HEAD")
      response.writeHead(200, { "content-length": "12345", etag: "x" }).end();
    else if (incoming.url === "/204") response.writeHead(204).end();
    else if (incoming.url === "/304") response.writeHead(304, { etag: "y" }).end();
    else {
      response.writeEarlyHints({ link: "</a.css>; rel=preload" });
      response.writeHead(200, { trailer: "x-sum" });
      response.write("body");
      response.addTrailers({ "x-sum": "42" });
      response.end();
    }
  });
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  const head = await send(room, { method: "HEAD" });
  assert.equal(head.headers["content-length"], "12345");
  assert.equal(head.text, "");
  assert.equal((await send(room, { path: "/204" })).status, 204);
  const notModified = await send(room, { path: "/304" });
  assert.equal(notModified.status, 304);
  assert.equal(notModified.headers.etag, "y");
  const full = await send(room, { path: "/trailers" });
  assert.equal(full.text, "body");
  assert.equal(full.trailers["x-sum"], "42");
  assert.match(
    await raw(room.port, "GET /trailers HTTP/1.1\r\nHost: a\r\n\r\n"),
    /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>/i,
  );
});

test("200 MB go up and down at the pace of the slower side, with a bounded part of them on the way", async (t) => {
  const size = 200 * 1024 * 1024;
  const piece = Buffer.alloc(65_536);
  const fill = (sink: Writable, count: (bytes: number) => void): void => {
    let left = size;
    const push = (): void => {
      while (left > 0) {
        left -= piece.length;
        count(piece.length);
        if (!sink.write(piece)) {
          sink.once("drain", push);
          return;
        }
      }
      sink.end();
    };
    push();
  };
  let written = 0;
  let read = 0;
  let resume: (() => void) | undefined;
  const target = await origin(t, (incoming, response) => {
    if (incoming.method === "GET") {
      response.writeHead(200, { "content-length": size });
      fill(response, (bytes) => (written += bytes));
      return;
    }
    incoming.pause();
    incoming.on("data", (chunk: Buffer) => (read += chunk.length));
    incoming.on("end", () => response.end("done"));
    resume = () => incoming.resume();
  });
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  /** What sockets on both hops hold between them. Loopback's own buffers are a few megabytes each, and up to 32 on a connection that was fast before. */
  const most = 64 * 1024 * 1024;
  const settle = async (): Promise<void> => {
    for (let before = -1; before !== written;) {
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assert.ok(
      written > 0 && written < most,
      `${written} bytes were taken while the other side read nothing`,
    );
  };

  for (const framing of [{ "content-length": size }, { "transfer-encoding": "chunked" }]) {
    written = 0;
    read = 0;
    const upload = request({
      host: "127.0.0.1",
      port: room.port,
      method: "POST",
      headers: framing,
    });
    fill(upload, (bytes) => (written += bytes));
    await settle();
    resume?.();
    const [answer] = (await once(upload, "response")) as [IncomingMessage];
    answer.resume();
    await once(answer, "end");
    assert.equal(read, size);
  }

  written = 0;
  const [download] = (await once(
    request({ host: "127.0.0.1", port: room.port }).end(),
    "response",
  )) as [IncomingMessage];
  await settle();
  let got = 0;
  download.on("data", (chunk: Buffer) => (got += chunk.length));
  await once(download, "end");
  assert.equal(got, size);
  await eventually("all are recorded", () => room.operations().length === 3);
  assert.equal(room.operations()[0]?.body.outcome?.bytesIn, size);
  assert.equal(room.operations()[1]?.body.outcome?.bytesIn, size);
  assert.equal(room.operations()[2]?.body.outcome?.bytesOut, size);
});

test("an agent that leaves in the middle of an answer ends the upstream's request at once", async (t) => {
  let closed = false;
  const target = await origin(t, (_incoming, response) => {
    response.write("first");
    response.on("close", () => (closed = true));
  });
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  const outgoing = request({ host: "127.0.0.1", port: room.port }).end();
  const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
  await once(incoming, "data");
  outgoing.destroy();
  await eventually("the origin sees the end", () => closed);
  await eventually("it is recorded", () => room.operations().length === 1);
  assert.equal(room.operations()[0]?.body.outcome?.status, "error");
  assert.equal(room.operations()[0]?.body.outcome?.error, "ClientGone");
});

test("an agent that leaves before the first byte leaves an unknown outcome, and one that leaves while uploading ends the upload", async (t) => {
  let closed = 0;
  const target = await origin(t, (incoming) => {
    incoming.resume();
    incoming.on("error", () => {});
    incoming.on("close", () => closed++);
  });
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  const waiting = request({ host: "127.0.0.1", port: room.port }).end();
  waiting.on("error", () => {});
  await eventually("it arrived", () => target.requests.length === 1);
  waiting.destroy();
  await eventually("the origin sees the end", () => closed === 1);
  const uploading = request({ host: "127.0.0.1", port: room.port, method: "PUT" });
  uploading.on("error", () => {});
  uploading.write(Buffer.alloc(200_000));
  await eventually("it arrived", () => target.requests.length === 2);
  uploading.destroy();
  await eventually("the origin sees the end", () => closed === 2);
  await eventually("both are recorded", () => room.operations().length === 2);
  assert.deepEqual(
    room.operations().map((event) => event.body.outcome?.status),
    ["unknown", "unknown"],
  );
});

for (const [title, start] of [
  ["with a length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"],
  ["in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"],
] as const) {
  test(`an answer ${title} that the upstream breaks off reaches the agent as broken off`, async (t) => {
    const server = createTcpServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => {
        socket.write(start);
        setTimeout(() => socket.resetAndDestroy(), 50);
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => server.close());
    const address = server.address();
    assert.ok(address !== null && typeof address === "object");
    const room = await startRoom(t, [{ upstream: { port: address.port } }]);
    await assert.rejects(send(room, {}), /aborted|ECONNRESET/);
    assert.equal(room.operations()[0]?.body.outcome?.status, "error");
    assert.equal(room.operations()[0]?.body.outcome?.error, "UpstreamUnreachable");
  });
}

test("an upstream that cannot be reached, hangs up or does not speak HTTP is 502 with its reason", async (t) => {
  const answers: ((socket: Socket) => void)[] = [
    (socket) => socket.resetAndDestroy(),
    (socket) => socket.end("SSH-2.0-OpenSSH\r\n"),
  ];
  const server = createTcpServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => answers.shift()?.(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const room = await startRoom(t, [{ upstream: { port: address.port } }]);
  const codes: string[] = [];
  for (let turn = 0; turn < 2; turn++) {
    const answer = await send(room, {});
    assert.equal(answer.status, 502);
    codes.push((JSON.parse(answer.text) as { code: string }).code);
  }
  server.close();
  await once(server, "close");
  codes.push((JSON.parse((await send(room, {})).text) as { code: string }).code);
  assert.deepEqual(codes, ["UpstreamUnreachable", "UpstreamProtocol", "UpstreamUnreachable"]);
  assert.deepEqual(
    room.operations().map((event) => event.body.outcome?.status),
    ["unknown", "unknown", "error"],
  );
});

test("an upstream that answers before it has read the body keeps neither the answer nor the connection from the agent", async (t) => {
  const target = await origin(t, (incoming, response) => {
    if (incoming.method === "POST") response.writeHead(413).end("too much");
    else response.end("hello");
  });
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  room.agent.maxSockets = 1;
  const answer = await send(room, { method: "POST", body: Buffer.alloc(2_000_000) });
  assert.equal(answer.status, 413);
  assert.equal(answer.text, "too much");
  assert.equal((await send(room, {})).text, "hello");
  assert.equal(room.events().filter((event) => event.type === "session-start").length, 1);
});

test("server-sent events arrive one by one, as the upstream sends them", async (t) => {
  let push: ((text: string) => void) | undefined;
  const target = await origin(t, (_incoming, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.flushHeaders();
    push = (text) => (text === "" ? response.end() : response.write(text));
  });
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  const [incoming] = (await once(
    request({ host: "127.0.0.1", port: room.port }).end(),
    "response",
  )) as [IncomingMessage];
  for (const event of ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"]) {
    const arrived = once(incoming, "data");
    push?.(event);
    assert.equal(String(await arrived), event);
  }
  incoming.resume();
  const ended = once(incoming, "end");
  push?.("");
  await ended;
});

const holdPosts = [
  {
    name: "held",
    action: "RequireApproval" as const,
    http: { methods: ["POST"] },
    approval: { approvers: [], count: 1, holdSeconds: 1, validForSeconds: 600 },
  },
  { name: "reads", http: { methods: ["GET"] } },
];

test("a held request binds to its exact body: the same again is the same request, another body is another", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [{ upstream: { port: target.port }, rules: holdPosts }]);
  const pending = await send(room, {
    method: "POST",
    path: "/refund",
    headers: { "content-type": "application/json" },
    body: '{"amount":1}',
  });
  assert.equal(pending.status, 403);
  assert.equal((JSON.parse(pending.text) as { code: string }).code, "Pending");
  assert.ok(Number(pending.headers["retry-after"]) > 0);
  assert.match(pending.text, /req-1/);
  assert.equal(target.requests.length, 0);
  room.gate.decide = () => "Approved";
  const passed = await send(room, {
    method: "POST",
    path: "/refund",
    headers: { "content-type": "application/json" },
    body: '{"amount":1}',
  });
  assert.equal(passed.text, "hello");
  await send(room, {
    method: "POST",
    path: "/refund",
    headers: { "content-type": "application/json" },
    body: '{"amount":2}',
  });
  const [first, second, third] = room.gate.requests;
  assert.equal(first?.digest, second?.digest);
  assert.notEqual(first?.digest, third?.digest);
  assert.equal(first?.detail, '{"amount":1}');
});

test("a held body over the limit is refused as too large, not forwarded unseen", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [{ upstream: { port: target.port }, rules: holdPosts }]);
  const answer = await send(room, { method: "POST", body: Buffer.alloc(1_200_000) });
  assert.equal(answer.status, 413);
  assert.equal(target.requests.length, 0);
});

test("a body over the hold limit still streams where no rule holds this request", async (t) => {
  const target = await origin(t, (incoming, response) => {
    let length = 0;
    incoming.on("data", (chunk: Buffer) => (length += chunk.length));
    incoming.on("end", () => response.end(String(length)));
  });
  const rules = [
    {
      name: "held",
      action: "RequireApproval" as const,
      http: { methods: ["POST"], paths: ["/refund"] },
    },
    { name: "uploads", http: { paths: ["/upload"] } },
  ];
  const room = await startRoom(t, [{ upstream: { port: target.port }, rules }]);
  assert.equal(
    (await send(room, { method: "POST", path: "/upload", body: Buffer.alloc(3_000_000) })).text,
    "3000000",
  );
});

test("an agent that leaves while its request is held opens no way to the upstream", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [{ upstream: { port: target.port }, rules: holdPosts }]);
  const outgoing = request({ host: "127.0.0.1", port: room.port, method: "POST" });
  outgoing.on("error", () => {});
  outgoing.end("{}");
  await eventually("it is held", () => room.gate.requests.length === 1);
  outgoing.destroy();
  await eventually("it is recorded", () => room.operations().length === 1);
  assert.equal(target.requests.length, 0);
});

test("an offer of h2c is declined: the request is served as HTTP/1.1, and the upstream hears nothing of it", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  const answer = await raw(
    room.port,
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
  );
  assert.match(answer, /^HTTP\/1\.1 200 /);
  const [arrived] = target.requests;
  assert.equal(arrived?.headers["upgrade"], undefined);
  assert.equal(arrived?.headers["http2-settings"], undefined);
});

test("upgrades to anything but WebSocket, and CONNECT, are refused by name", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  for (const [bytes, name] of [
    ["GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tls/1.0\r\n\r\n", "tls/1.0"],
    ["GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c, foo\r\n\r\n", "h2c, foo"],
    ["CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "CONNECT"],
  ] as const) {
    const answer = await raw(room.port, bytes);
    assert.match(answer, /^HTTP\/1\.1 501 /);
    assert.match(answer, new RegExp(`errors/NotSupported[^]*${name}`));
  }
  assert.equal(target.requests.length, 0);
});

test("requests go to the connection with the longest endpoint path, and never out of it", async (t) => {
  const seen: string[] = [];
  const named =
    (name: string): RequestListener =>
    (incoming, response) => {
      seen.push(`${name} ${incoming.url}`);
      response.end(name);
    };
  const outer = await origin(t, named("outer"));
  const inner = await origin(t, named("inner"));
  const room = await startRoom(t, [
    { name: "outer", upstream: { port: outer.port, basePath: "/v1" } },
    { name: "inner", upstream: { port: inner.port, basePath: "/v1/admin" } },
  ]);
  assert.equal((await send(room, { path: "/v1/orders" })).text, "outer");
  assert.equal((await send(room, { path: "/v1/admin/users" })).text, "inner");
  for (const path of [
    "/v2",
    "/v1/../admin",
    "/v1/%2e%2e/admin",
    "/v1/x%2f..%2f..",
    "/v1/./x",
    "/v12",
  ]) {
    const answer = await send(room, { path });
    assert.equal(answer.status, 421, path);
  }
  assert.deepEqual(seen, ["outer /v1/orders", "inner /v1/admin/users"]);
});

test("several connections behind one client connection have a session each, and all end with it", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [
    { name: "outer", upstream: { port: target.port } },
    { name: "inner", upstream: { port: target.port, basePath: "/in" } },
  ]);
  room.agent.maxSockets = 1;
  for (const path of ["/a", "/in/a", "/b", "/in/b"]) await send(room, { path });
  assert.equal(room.events().filter((event) => event.type === "session-start").length, 2);
  room.agent.destroy();
  await eventually(
    "both end",
    () => room.events().filter((event) => event.type === "session-end").length === 2,
  );
});

test("a grant that is refused is the answer", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  room.gate.refuseGrant = new ProxyError(
    "GrantRefused",
    "no policy of namespace agents selects this pod",
  );
  const answer = await send(room, {});
  assert.equal(answer.status, 403);
  assert.match(answer.text, /errors\/GrantRefused.*no policy of namespace/);
});

test("a grant that ends lets the answer under way end and then closes; the next connection asks anew", async (t) => {
  let finish: (() => void) | undefined;
  const target = await origin(t, (_incoming, response) => {
    response.write("first ");
    finish = () => response.end("last");
  });
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  const outgoing = request({ host: "127.0.0.1", port: room.port, agent: room.agent }).end();
  const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
  await once(incoming, "data");
  room.gate.live = undefined;
  room.gate.end(new ProxyError("GrantEnded", "over"));
  const closed = once(incoming.socket, "close");
  finish?.();
  assert.equal(String(await once(incoming, "data")), "last");
  await closed;
  room.gate.refuseGrant = new ProxyError("GrantRefused", "not any more");
  assert.equal((await send(room, {})).status, 403);
});

test("a quarantine cuts the answer under way", async (t) => {
  const target = await origin(t, (_incoming, response) => void response.write("first "));
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  const outgoing = request({ host: "127.0.0.1", port: room.port }).end();
  outgoing.on("error", () => {});
  const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
  await once(incoming, "data");
  room.gate.end(new ProxyError("Quarantined", "cut"));
  await assert.rejects(once(incoming, "end"), /aborted|ECONNRESET/);
});

test("a quarantine answers a request that waits for its upstream connection, and it is never sent", async (t) => {
  const target = await origin(t, hello);
  let connectNow = (): void => {};
  const beforeDial = new Promise<void>((resolve) => (connectNow = resolve));
  const room = await startRoom(t, [{ upstream: { port: target.port } }], { beforeDial });
  const waiting = send(room, { path: "/never" });
  await eventually("its session is open", () => room.events().length > 0);
  room.gate.end(new ProxyError("Quarantined", "cut"));
  const answer = await waiting;
  assert.equal(answer.status, 403);
  assert.match(answer.text, /errors\/Quarantined/);
  connectNow();
  assert.equal((await send(room, { path: "/later" })).text, "hello");
  assert.deepEqual(
    target.requests.map(({ url }) => url),
    ["/later"],
  );
  assert.deepEqual(
    room.operations().map((event) => event.body.outcome?.error),
    ["Quarantined", undefined],
  );
});

test("a request that crosses a quarantine on an idle connection is told why, and the connection closes", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  const socket = connect({ host: "127.0.0.1", port: room.port });
  t.after(() => socket.destroy());
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
  socket.write("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
  await eventually("the first is answered", () => text.endsWith("hello"));
  room.gate.end(new ProxyError("Quarantined", "cut because of unusual reading"));
  socket.write("GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
  await once(socket, "close");
  assert.match(text, /HTTP\/1\.1 403 [^]*unusual reading/);
  assert.deepEqual(
    target.requests.map(({ url }) => url),
    ["/first"],
  );
});

test("a streamed body that is all here before the upstream is connected arrives whole", async (t) => {
  const bodies: string[] = [];
  const target = await origin(t, (incoming, response) => {
    let body = "";
    incoming.on("data", (chunk: Buffer) => (body += chunk.toString()));
    incoming.on("end", () => {
      bodies.push(body);
      response.end("hello");
    });
  });
  for (const chunks of ["0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"]) {
    const beforeDial = new Promise<void>((resolve) => setTimeout(resolve, 50));
    const room = await startRoom(t, [{ upstream: { port: target.port } }], { beforeDial });
    const answer = await raw(
      room.port,
      `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`,
    );
    assert.match(answer, /^HTTP\/1\.1 200 /);
  }
  assert.deepEqual(bodies, ["", "hello"]);
});

test("an endpoint that changes takes effect on the next request of a live connection", async (t) => {
  const first = await origin(t, (_incoming, response) => void response.end("first"));
  const second = await origin(t, (_incoming, response) => void response.end("second"));
  const room = await startRoom(t, [{ upstream: { port: first.port } }]);
  assert.equal((await send(room, {})).text, "first");
  const { live } = room.gate;
  assert.ok(live !== undefined);
  room.gate.live = { ...live, endpoint: { ...live.endpoint, port: second.port }, lease: bearer };
  assert.equal((await send(room, {})).text, "second");
  assert.equal(second.requests[0]?.headers.authorization, "Bearer real");
  await eventually("the old pool is closed", () => {
    let open = 1;
    first.server.getConnections((_error, count) => (open = count));
    return open === 0 || first.server.listening;
  });
});

test("with detail Full text bodies of both directions are kept, others and those of less detail are not", async (t) => {
  const target = await origin(t, (incoming, response) => {
    incoming.resume();
    const type = incoming.url === "/image" ? "image/png" : "application/json; charset=utf-8";
    response.writeHead(200, { "content-type": type });
    response.end('{"answer":"ä"}');
  });
  const headers = { "content-type": "application/json", "accept-encoding": "gzip" };
  const full = await startRoom(t, [{ upstream: { port: target.port }, detail: "Full" }]);
  await send(full, { method: "POST", headers, body: '{"question":1}' });
  await send(full, {
    method: "POST",
    headers,
    path: "/image",
    body: Buffer.from("x".repeat(200_000)),
  });
  const [text, image] = full.operations();
  assert.deepEqual(text?.contents, [
    { part: "request", text: '{"question":1}' },
    { part: "response", text: '{"answer":"ä"}' },
  ]);
  assert.deepEqual(
    image?.contents.map(({ part, truncated, text: kept }) => [part, truncated, kept.length]),
    [["request", true, 65_536]],
  );
  const less = await startRoom(t, [{ upstream: { port: target.port }, detail: "Statements" }]);
  await send(less, { method: "POST", headers, body: '{"question":1}' });
  assert.deepEqual(less.operations()[0]?.contents, []);
});

test("local mode's guard refuses what a browser marks and what lacks the key of this run", async (t) => {
  const target = await origin(t, hello);
  const room = await startRoom(t, [{ upstream: { port: target.port } }], {
    route: { guard: { key: "run-key" } },
  });
  const ok = { authorization: "Bearer run-key" };
  assert.equal((await send(room, { headers: ok })).status, 200);
  assert.equal((await send(room, { headers: { "x-api-key": "run-key" } })).status, 200);
  for (const headers of [
    {},
    { authorization: "Bearer other" },
    { ...ok, origin: "https://evil.example" },
    { ...ok, "sec-fetch-site": "cross-site" },
  ]) {
    assert.equal((await send(room, { headers })).status, 403, JSON.stringify(headers));
  }
  assert.equal(target.requests.length, 2);
});

test("a room that closes lets the answer under way end", async (t) => {
  let finish: (() => void) | undefined;
  const target = await origin(t, (_incoming, response) => {
    response.write("first ");
    finish = () => response.end("last");
  });
  const room = await startRoom(t, [{ upstream: { port: target.port } }]);
  const [incoming] = (await once(
    request({ host: "127.0.0.1", port: room.port }).end(),
    "response",
  )) as [IncomingMessage];
  await once(incoming, "data");
  const closed = room.room.close();
  finish?.();
  assert.equal(String(await once(incoming, "data")), "last");
  await closed;
});
