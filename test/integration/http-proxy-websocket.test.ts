// WebSockets through the room: real clients, a real server behind it (`ws`), and raw bytes where clients behave.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import type { ClientOptions } from "ws";

import type { DetectMask } from "../../policy/bundle.ts";
import { prepare } from "../../policy/decide.ts";
import { ProxyError } from "../../proxy/errors.ts";
import { closePayload, encodeFrame, opcodes } from "../../proxy/http/websocket/frame.ts";
import { eventually, raw, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

interface Setup extends TestRoom {
  readonly upgrades: IncomingMessage[];
  readonly server: WebSocketServer;
}

const sockets = { name: "live", http: { paths: ["/live"], upgrades: ["websocket"] } };
const email: DetectMask = { detector: "email", transform: { kind: "redact" }, policy: "agents/p" };

/** An echo; a message `send TEXT` is answered with the text, `binary` with bytes, `close CODE` with a Close, `drop` with the end. */
async function start(t: TestContext, setup: Partial<ConnectionSetup> = {}): Promise<Setup> {
  const http = createServer((_request, response) => response.writeHead(404).end("no socket here"));
  const upgrades: IncomingMessage[] = [];
  const server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: true,
    maxPayload: 300 * 1024 * 1024,
    handleProtocols: (offered) => (offered.has("v2") ? "v2" : false),
  });
  http.on("upgrade", (request, socket, head) => {
    upgrades.push(request);
    if (request.url?.startsWith("/live/refused") === true) {
      socket.end("HTTP/1.1 403 No\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n\r\nnot me");
      return;
    }
    server.handleUpgrade(request, socket, head, (peer) => server.emit("connection", peer, request));
  });
  server.on("connection", (peer) => {
    peer.on("error", () => undefined);
    peer.on("message", (data: Buffer, isBinary: boolean) => {
      const text = isBinary || data.length > 200 ? "" : data.toString();
      if (text.startsWith("send ")) peer.send(text.slice(5));
      else if (text === "binary") peer.send(Buffer.from([1, 2, 3]));
      else if (text.startsWith("close ")) peer.close(Number(text.slice(6)), "as asked");
      else if (text === "drop") peer.terminate();
      else peer.send(data, { binary: isBinary });
    });
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  const address = http.address();
  assert.ok(address !== null && typeof address === "object");
  const room = await startRoom(t, [
    {
      upstream: { port: address.port },
      lease: { kind: "headers", headers: [{ name: "authorization", value: "Bearer real" }] },
      rules: [sockets],
      ...setup,
    },
  ]);
  t.after(() => {
    for (const peer of server.clients) peer.terminate();
    http.closeAllConnections();
    http.close();
  });
  return { ...room, upgrades, server };
}

function dial({ port }: Setup, options: ClientOptions = {}, protocols: string[] = []): WebSocket {
  return new WebSocket(`ws://127.0.0.1:${port}/live`, protocols, options);
}

async function opened(setup: Setup, options: ClientOptions = {}): Promise<WebSocket> {
  const client = dial(setup, options);
  client.on("error", () => undefined);
  await once(client, "open");
  return client;
}

async function ask(client: WebSocket, message: string | Buffer): Promise<string | Buffer> {
  const answer = once(client, "message") as Promise<[Buffer, boolean]>;
  client.send(message);
  const [data, isBinary] = await answer;
  return isBinary ? data : data.toString();
}

async function closed(client: WebSocket): Promise<{ code: number; reason: string }> {
  const [code, reason] = (await once(client, "close")) as [number, Buffer];
  return { code, reason: reason.toString() };
}

test("a WebSocket is decided as the upgrade it is, opened with the credential, and recorded when it ends", async (t) => {
  const setup = await start(t);
  const client = dial(setup, { headers: { authorization: "Bearer mine", cookie: "a=b" } }, [
    "v1",
    "v2",
  ]);
  await once(client, "open");
  assert.equal(client.protocol, "v2");
  assert.equal(client.extensions, "", "no compression is agreed on");
  assert.equal(await ask(client, "hello"), "hello");
  assert.deepEqual(await ask(client, Buffer.from([0, 255])), Buffer.from([0, 255]));
  client.close(4001, "bye");
  assert.deepEqual(await closed(client), { code: 4001, reason: "bye" });
  const [request] = setup.upgrades;
  assert.equal(request?.headers.authorization, "Bearer real");
  assert.equal(request?.headers["sec-websocket-extensions"], undefined);
  assert.equal(request?.headers["sec-websocket-protocol"], "v1, v2");
  await eventually("recorded", () => setup.operations().length === 1);
  const [event] = setup.operations();
  assert.equal(event?.body.operation?.summary, "GET (websocket) 127.0.0.1/live");
  assert.equal(event?.body.operation?.facts?.["upgrade"], "websocket");
  assert.ok(event?.body.intent !== undefined, "it is strict: who knows what is said on it");
  assert.deepEqual(
    { ...event?.body.outcome, durationMs: 0 },
    { status: "ok", httpStatus: 101, bytesIn: 7, bytesOut: 7, durationMs: 0 },
  );
  const types = setup.events().map(({ type }) => type);
  assert.deepEqual(types, ["session-start", "intent", "operation", "session-end"]);
});

test("a rule that allows the path alone opens no WebSocket, and the refusal says what is missing", async (t) => {
  const setup = await start(t, {
    rules: [{ name: "reads", http: { methods: ["GET"], paths: ["/live"] } }],
  });
  const [, answer] = (await once(
    dial(setup).on("error", () => undefined),
    "unexpected-response",
  )) as [unknown, IncomingMessage];
  assert.equal(answer.statusCode, 403);
  const [body] = (await once(answer, "data")) as [Buffer];
  assert.match(
    body.toString(),
    /no rule allows GET 127\.0\.0\.1\/live with an upgrade to websocket/,
  );
  assert.equal(setup.upgrades.length, 0);
});

test("an approval of the upgrade is one of the upgrade alone: the same GET asks anew", async (t) => {
  const approval = { approvers: [], count: 1, holdSeconds: 5, validForSeconds: 60 };
  const asked = { methods: ["GET"], paths: ["/live"] };
  const setup = await start(t, {
    rules: [
      {
        name: "socket",
        action: "RequireApproval",
        http: { ...asked, upgrades: ["websocket"] },
        approval,
      },
      { name: "request", action: "RequireApproval", http: asked, approval },
    ],
  });
  setup.gate.decide = () => "Approved";
  const client = await opened(setup);
  client.terminate();
  await raw(setup.port, "GET /live HTTP/1.1\r\nHost: a\r\n\r\n");
  const lookalike = "GET /live HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n\nwebsocket";
  await raw(setup.port, lookalike);
  const [socket, request, alike] = setup.gate.requests;
  assert.notEqual(socket?.digest, alike?.digest);
  assert.equal(socket?.summary, "GET (websocket) 127.0.0.1/live");
  assert.equal(request?.summary, "GET 127.0.0.1/live");
  assert.notEqual(socket?.digest, request?.digest);
});

test("a language model's connection opens no WebSocket but a session: what is said on others could not be decided", async (t) => {
  const setup = await start(t, { protocol: "openai", rules: [{ name: "all" }] });
  const failed = dial(setup).on("error", () => undefined);
  const [, answer] = (await once(failed, "unexpected-response")) as [unknown, IncomingMessage];
  assert.equal(answer.statusCode, 403);
  assert.equal(setup.upgrades.length, 0);
});

test("an upstream that answers the handshake wrongly is not believed", async (t) => {
  const { createServer: createTcp } = await import("node:net");
  const accept = "sec-websocket-accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=";
  const heads = [
    ["another key's answer", `connection: Upgrade\r\nupgrade: websocket\r\n${accept}`],
    ["no answer", "connection: Upgrade\r\nupgrade: websocket"],
    ["no Connection", "upgrade: websocket"],
    [
      "an extension",
      `connection: Upgrade\r\nupgrade: websocket\r\n${accept}\r\nsec-websocket-extensions: permessage-deflate`,
    ],
    ["bytes that are no HTTP", "SSH-2.0-x\r\n\r\n"],
    ["the beginning of bytes that are no HTTP, and nothing more", "SSH-2.0-x\r\n"],
    ["lines without carriage returns", "HTTP/1.1 101 X\nupgrade: websocket\n\n"],
    ["a head without an end", `HTTP/1.1 101 X\r\nx: ${"x".repeat(80_000)}`],
  ] as const;
  for (const [what, lines] of heads) {
    const liar = createTcp((socket) => {
      socket
        .on("error", () => undefined)
        .once("data", () => {
          const isWhole = !/^(?:SSH|HTTP)/.test(lines);
          socket.write(isWhole ? `HTTP/1.1 101 X\r\n${lines}\r\n\r\n` : lines);
        });
    });
    liar.listen(0, "127.0.0.1");
    await once(liar, "listening");
    const address = liar.address();
    assert.ok(address !== null && typeof address === "object");
    const setup = await start(t, { upstream: { port: address.port } });
    const failed = dial(setup).on("error", () => undefined);
    // At once: what cannot become an answer is not waited for.
    const signal = AbortSignal.timeout(10_000);
    const [, answer] = (await once(failed, "unexpected-response", { signal })) as [
      unknown,
      IncomingMessage,
    ];
    assert.equal(answer.statusCode, 502, what);
    assert.equal(setup.operations()[0]?.body.outcome?.error, "UpstreamProtocol", what);
    liar.close();
  }
});

test("an upstream that sends what is no frame is a bad gateway to the agent", async (t) => {
  const setup = await start(t);
  const client = await opened(setup);
  const [peer] = setup.server.clients;
  const wire = (peer as unknown as { _socket: Socket })._socket;
  wire.write(encodeFrame(opcodes.text, true, Buffer.from("masked"), key));
  assert.equal((await closed(client)).code, 1014);
  await eventually("recorded", () => setup.operations().length === 1);
  assert.equal(setup.operations()[0]?.body.outcome?.error, "UpstreamProtocol");
});

test("an upstream that does not switch is answered for as it said, and the connection stays usable", async (t) => {
  const setup = await start(t, { rules: [{ name: "all", http: { upgrades: ["websocket"] } }] });
  const request = (path: string): string =>
    `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n\r\n`;
  const answers = await raw(setup.port, request("/live/refused") + request("/live/refused"));
  assert.equal(answers.match(/HTTP\/1\.1 403 /g)?.length, 2, answers);
  assert.equal(answers.match(/not me/g)?.length, 2);
  assert.equal(setup.operations()[0]?.body.outcome?.httpStatus, 403);
});

const misshapen: readonly (readonly [what: string, lines: string, status: number])[] = [
  ["another protocol", "Connection: Upgrade\r\nUpgrade: tls/1.0", 501],
  ["two protocols", "Connection: Upgrade\r\nUpgrade: websocket, tls/1.0", 501],
  ["no Connection: Upgrade", "Upgrade: websocket", 400],
  ["no version", "Connection: Upgrade\r\nUpgrade: websocket", 400],
  ["version 8", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8", 400],
  ["no key", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13", 400],
  [
    "a short key",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA",
    400,
  ],
  [
    "a key that Connection names away",
    "Connection: Upgrade, Sec-WebSocket-Key\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    400,
  ],
  [
    "a body",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nContent-Length: 1",
    400,
  ],
];

test("a handshake that is none is refused and reaches nobody", async (t) => {
  const setup = await start(t);
  for (const [what, lines, status] of misshapen) {
    const answer = await raw(setup.port, `GET /live HTTP/1.1\r\nHost: a\r\n${lines}\r\n\r\nx`);
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), what);
  }
  assert.equal(setup.upgrades.length, 0);
});

test("messages of any size and kind come back as they went, both ways at once", async (t) => {
  const setup = await start(t);
  const client = await opened(setup);
  for (const size of [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 1_000_000, 16_000_000]) {
    const bytes = randomBytes(size);
    assert.deepEqual(await ask(client, bytes), bytes, `${size} bytes`);
    const text = "ä".repeat(Math.min(size, 100_000));
    assert.equal(await ask(client, text), text, `${size} letters`);
  }
  client.terminate();
});

test("a thousand small messages keep their order", async (t) => {
  const setup = await start(t);
  const client = await opened(setup);
  const heard: string[] = [];
  client.on("message", (data: Buffer) => heard.push(data.toString()));
  const sent = Array.from({ length: 1_000 }, (_, index) => `message ${index}`);
  for (const message of sent) client.send(message);
  await eventually("all came back", () => heard.length === sent.length);
  assert.deepEqual(heard, sent);
  client.terminate();
});

test("a message in pieces with pings between them is one message, and the pings are answered", async (t) => {
  const setup = await start(t);
  const client = await opened(setup);
  const pongs: string[] = [];
  client.on("pong", (data: Buffer) => pongs.push(data.toString()));
  const answer = once(client, "message") as Promise<[Buffer]>;
  const parts = ["frag", "ment", "", "ed €"];
  parts.forEach((part, index) => {
    client.send(part, { fin: index === parts.length - 1 });
    client.ping(`p${index}`);
  });
  assert.equal((await answer)[0].toString(), "fragmented €");
  await eventually("pongs", () => pongs.length === 4);
  assert.deepEqual(pongs, ["p0", "p1", "p2", "p3"]);
  const [peer] = setup.server.clients;
  const pong = once(peer ?? client, "pong") as Promise<[Buffer]>;
  peer?.ping("from the server");
  assert.equal((await pong)[0].toString(), "from the server");
  client.terminate();
});

test("the upstream's Close reaches the agent with its code and reason, and its end without one as none", async (t) => {
  const setup = await start(t);
  const client = await opened(setup);
  client.send("close 4321");
  assert.deepEqual(await closed(client), { code: 4321, reason: "as asked" });
  const other = await opened(setup);
  other.send("drop");
  assert.equal((await closed(other)).code, 1006);
  await eventually("recorded", () => setup.operations().length === 2);
  assert.deepEqual(
    setup.operations().map(({ body }) => [body.outcome?.status, body.outcome?.error]),
    [
      ["ok", undefined],
      ["error", "UpstreamProtocol"],
    ],
  );
});

test("an agent that vanishes leaves nobody at the upstream", async (t) => {
  const setup = await start(t);
  const client = await opened(setup);
  client.terminate();
  await eventually("the upstream heard", () => setup.server.clients.size === 0);
  await eventually("closed", () => setup.events().at(-1)?.type === "session-end");
});

/** A handshake by hand, so that frames can be wrong. */
async function rawSocket(setup: Setup): Promise<{ socket: Socket; heard: () => Buffer }> {
  const socket = connect(setup.port, "127.0.0.1");
  const chunks: Buffer[] = [];
  socket.write(
    "GET /live HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
  );
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await eventually("switched", () => Buffer.concat(chunks).includes("\r\n\r\n"));
  const head = Buffer.concat(chunks).toString("latin1");
  assert.match(head, /^HTTP\/1\.1 101 /);
  // RFC 6455 section 1.3, for this key.
  assert.match(head, /sec-websocket-accept: ICX\+Yqv66kxgM0FcWaLWlFLwTAI=/i);
  const from = head.indexOf("\r\n\r\n") + 4;
  return { socket, heard: () => Buffer.concat(chunks).subarray(from) };
}

const key = Buffer.from([1, 2, 3, 4]);
const violations: readonly (readonly [what: string, frame: Buffer, code: number])[] = [
  [
    "a frame that is not masked",
    encodeFrame(opcodes.text, true, Buffer.from("a"), undefined),
    1002,
  ],
  ["reserved bits", Buffer.concat([Buffer.from([0xc1, 0x80]), key]), 1002],
  ["a reserved opcode", Buffer.concat([Buffer.from([0x83, 0x80]), key]), 1002],
  ["text that is not UTF-8", encodeFrame(opcodes.text, true, Buffer.from([0xff]), key), 1007],
  [
    "a continuation of nothing",
    encodeFrame(opcodes.continuation, true, Buffer.from("a"), key),
    1002,
  ],
  ["a message of 2^40 bytes", Buffer.from([0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4]), 1009],
  [
    "a Close with a code that may not be sent",
    encodeFrame(opcodes.close, true, closePayload(1005, ""), key),
    1002,
  ],
];

for (const [what, frame, code] of violations)
  test(`${what} ends the WebSocket with ${code}, and the upstream never sees it`, async (t) => {
    const setup = await start(t);
    const { socket, heard } = await rawSocket(setup);
    const [peer] = setup.server.clients;
    const messages: Buffer[] = [];
    peer?.on("message", (data: Buffer) => messages.push(data));
    const gone = once(peer ?? socket, "close") as Promise<[number]>;
    socket.write(frame);
    await eventually("a Close came", () => heard().length >= 4);
    assert.equal(heard()[0], 0x88);
    assert.equal(heard().readUInt16BE(2), code);
    assert.equal((await gone)[0], 1001);
    socket.destroy();
    assert.deepEqual(messages, []);
    await eventually("recorded", () => setup.operations().length === 1);
    assert.equal(setup.operations()[0]?.body.outcome?.error, "MalformedRequest");
  });

test("every split point of a conversation gives the upstream the same messages", async (t) => {
  const setup = await start(t);
  const conversation = Buffer.concat([
    encodeFrame(opcodes.text, false, Buffer.from("sp€"), key),
    encodeFrame(opcodes.ping, true, Buffer.from("x"), key),
    encodeFrame(opcodes.continuation, true, Buffer.from("lit"), key),
    encodeFrame(opcodes.binary, true, Buffer.alloc(130, 7), key),
  ]);
  for (let at = 1; at < conversation.length; at += 3) {
    const { socket, heard } = await rawSocket(setup);
    socket.setNoDelay(true);
    socket.write(conversation.subarray(0, at));
    await new Promise((resolve) => setImmediate(resolve));
    socket.write(conversation.subarray(at));
    await eventually(
      `answers at ${at}`,
      () => heard().includes("sp€lit") && heard().includes(Buffer.alloc(130, 7)),
    );
    socket.destroy();
  }
});

test("text of the upstream is masked whole where the policy asks, however it is cut, and counted", async (t) => {
  const setup = await start(t, { detail: "Full" });
  const live = await setup.gate.grant(AbortSignal.timeout(1_000));
  const bundle = { ...live.bundle, detectMasks: [email] };
  setup.gate.live = { ...live, bundle, prepared: prepare(bundle) };
  const client = await opened(setup);
  assert.equal(
    await ask(client, "send write to ada@example.com or bob@example.com"),
    "write to [redacted] or [redacted]",
  );
  const [peer] = setup.server.clients;
  const cut = once(client, "message") as Promise<[Buffer]>;
  for (const part of ["eve@", "exam", "ple.com"]) peer?.send(part, { fin: part === "ple.com" });
  assert.equal((await cut)[0].toString(), "[redacted]");
  assert.equal(await ask(client, "send nothing here"), "nothing here");
  client.close(1000);
  await closed(client);
  await eventually("recorded", () => setup.operations().length === 1);
  const [event] = setup.operations();
  assert.deepEqual(event?.body.outcome?.masked, { detected: { email: 3 } });
  const response = event?.contents.find(({ part }) => part === "response")?.text ?? "";
  assert.equal(response, "write to [redacted] or [redacted]\n[redacted]\nnothing here\n");
  assert.match(
    event?.contents.find(({ part }) => part === "request")?.text ?? "",
    /^send write to ada@/,
  );
});

test("a binary message, which cannot be masked, ends the WebSocket where a policy masks", async (t) => {
  const setup = await start(t);
  const live = await setup.gate.grant(AbortSignal.timeout(1_000));
  const bundle = { ...live.bundle, detectMasks: [email] };
  setup.gate.live = { ...live, bundle, prepared: prepare(bundle) };
  const client = await opened(setup);
  const heard: unknown[] = [];
  client.on("message", (data) => heard.push(data));
  client.send("binary");
  assert.equal((await closed(client)).code, 1008);
  assert.deepEqual(heard, []);
});

test("a policy that begins to mask, or no longer allows it, takes hold of an open WebSocket", async (t) => {
  const setup = await start(t);
  const client = await opened(setup);
  assert.equal(await ask(client, "send ada@example.com"), "ada@example.com");
  const live = setup.gate.live;
  assert.ok(live !== undefined);
  const masking = { ...live.bundle, detectMasks: [email] };
  setup.gate.live = { ...live, bundle: masking, prepared: prepare(masking) };
  assert.equal(await ask(client, "send ada@example.com"), "[redacted]");
  const denying = { ...live.bundle, rules: [] };
  setup.gate.live = { ...live, bundle: denying, prepared: prepare(denying) };
  client.send("once more");
  const { code, reason } = await closed(client);
  assert.equal(code, 1008);
  assert.match(reason, /no rule allows GET/);
});

for (const [cause, code] of [
  ["Quarantined", 1008],
  ["GrantEnded", 1008],
  ["ShuttingDown", 1001],
] as const)
  test(`an open WebSocket ends with ${code} when its session is over: ${cause}`, async (t) => {
    const setup = await start(t);
    const client = await opened(setup);
    const [peer] = setup.server.clients;
    const atUpstream = once(peer ?? client, "close") as Promise<[number]>;
    setup.gate.end(new ProxyError(cause, "why it is over"));
    assert.deepEqual(await closed(client), { code, reason: "why it is over" });
    assert.equal((await atUpstream)[0], 1001);
    await eventually("recorded", () => setup.operations().length === 1);
    assert.equal(setup.operations()[0]?.body.outcome?.error, cause);
  });

test("a client that does not answer a Close is cut", async (t) => {
  const setup = await start(t);
  const { socket } = await rawSocket(setup);
  setup.gate.end(new ProxyError("Quarantined", "now"));
  await once(socket, "close");
  await eventually("closed", () => setup.events().at(-1)?.type === "session-end");
});

for (const [what, limits, message, code] of [
  ["is silent longer than its limit", { idleTimeoutSeconds: 1 }, undefined, 1001],
  ["brings more than its limit", { bytesPerResult: 1_000 }, `send ${"x".repeat(190)}`, 1008],
] as const)
  test(`a WebSocket that ${what} ends with ${code}`, async (t) => {
    const setup = await start(t, { limits });
    const client = await opened(setup);
    if (message !== undefined) for (let times = 0; times < 6; times++) client.send(message);
    assert.equal((await closed(client)).code, code);
    await eventually("recorded", () => setup.operations().length === 1);
    assert.equal(setup.operations()[0]?.body.outcome?.error, "LimitExceeded");
  });

const stallMs = 400;

test("a slow reader holds the sender back instead of filling memory", async (t) => {
  const setup = await start(t);
  const client = await opened(setup);
  const [peer] = setup.server.clients;
  assert.ok(peer !== undefined);
  client.pause();
  const piece = Buffer.alloc(1_000_000);
  let sent = 0;
  for (let times = 0; times < 60; times++) peer.send(piece, () => (sent += 1));
  const before = process.memoryUsage().arrayBuffers;
  // Until nothing more is taken for as long as a busy machine may need to take the next.
  for (let was = -1; was !== sent; await new Promise((resolve) => setTimeout(resolve, stallMs)))
    was = sent;
  assert.ok(sent < 60, "not everything found room");
  assert.ok(process.memoryUsage().arrayBuffers - before < 40_000_000);
  let bytes = 0;
  client.on("message", (data: Buffer) => (bytes += data.length));
  client.resume();
  await eventually("all came", () => bytes === 60_000_000, 60_000);
  client.terminate();
});
