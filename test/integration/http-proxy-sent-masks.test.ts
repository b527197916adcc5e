// Requests masked on their way out over `protocol: http`: no byte of what detectors find leaves, whatever the body is and however it is cut.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request } from "node:http";
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { WebSocket, WebSocketServer } from "ws";

import { cutAt, cuts, texts } from "../../policy/mask/stream-fixture.ts";
import { createStreamMasker } from "../../policy/mask/stream.ts";
import { allowAll, eventually, send, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

const masks = ["email", "credit-card", "us-ssn"].map((detector) => ({
  detector,
  transform: { kind: "redact" as const },
  policy: "agents/policy",
}));

interface Arrived {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface Setup extends TestRoom {
  readonly arrived: Arrived[];
}

async function start(t: TestContext, setup: Partial<ConnectionSetup> = {}): Promise<Setup> {
  const arrived: Arrived[] = [];
  const origin = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
    incoming.on("error", () => undefined);
    incoming.on("end", () => {
      const body = Buffer.concat(chunks).toString("latin1");
      arrived.push({ url: incoming.url ?? "", headers: incoming.headers, body });
      outgoing.end("taken");
    });
  });
  const sockets = new WebSocketServer({ server: origin });
  sockets.on("connection", (peer) => {
    peer.on("message", (data: Buffer) =>
      arrived.push({ url: "socket", headers: {}, body: data.toString() }),
    );
  });
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
  const address = origin.address();
  assert.ok(address !== null && typeof address === "object");
  const room = await startRoom(t, [
    { requestMasks: masks, detail: "Full", ...setup, upstream: { port: address.port } },
  ]);
  t.after(() => {
    for (const peer of sockets.clients) peer.terminate();
    origin.closeAllConnections();
    origin.close();
  });
  return { ...room, arrived };
}

const post = (
  room: Setup,
  type: string,
  body: string | Buffer,
  headers: OutgoingHttpHeaders = {},
) =>
  send(room, {
    method: "POST",
    path: "/notes",
    headers: { "content-type": type, ...headers },
    body,
  });

const text = "mail jane.doe@example.com or 123-45-6789";
const hidden = "mail [redacted] or [redacted]";

test("JSON, forms, lines and texts are masked as what they say, framed right, and recorded as they left", async (t) => {
  const room = await start(t);
  const cases: readonly (readonly [type: string, body: string, sent: string])[] = [
    ["application/json", JSON.stringify({ n: 1, text }), JSON.stringify({ n: 1, text: hidden })],
    ["application/json", '{"a":"\\u006aane.doe\\u0040example.com"}', '{"a":"[redacted]"}'],
    ["application/vnd.api+json; charset=utf-8", `["${text}"]`, `["${hidden}"]`],
    ["application/x-ndjson", `{"a":"${text}"}\n{"b":2}\n`, `{"a":"${hidden}"}\n{"b":2}\n`],
    ["application/x-www-form-urlencoded", "a=jane.doe%40example.com&b=2", "a=%5Bredacted%5D&b=2"],
    ["text/plain", text, hidden],
    ["application/xml", `<a>${text}</a>`, `<a>${hidden}</a>`],
  ];
  for (const [type, body, sent] of cases) {
    const answer = await post(room, type, body);
    assert.equal(answer.status, 200, `${type}: ${answer.text}`);
    const last = room.arrived.at(-1);
    assert.equal(last?.body, sent);
    assert.equal(last?.headers["content-length"], String(sent.length));
  }
  const recorded = JSON.stringify(room.events());
  assert.doesNotMatch(recorded, /jane\.doe|123-45/);
  assert.ok(recorded.includes(hidden));
  assert.deepEqual(room.operations()[0]?.body.outcome?.masked, {
    detected: { email: 1, "us-ssn": 1 },
  });
});

test("a body that streams is masked as it goes, in chunks, without waiting for its end", async (t) => {
  const room = await start(t);
  const filler = "word ".repeat(40_000);
  const outgoing = request({
    host: "127.0.0.1",
    port: room.port,
    method: "POST",
    path: "/",
    headers: { "content-type": "text/plain", "content-length": 2 * filler.length + text.length },
  });
  outgoing.write(filler);
  for (const piece of text.match(/.{1,3}/g) ?? []) outgoing.write(piece);
  outgoing.end(filler);
  const [answer] = (await once(outgoing, "response")) as [{ statusCode: number; resume(): void }];
  answer.resume();
  assert.equal(answer.statusCode, 200);
  assert.equal(room.arrived[0]?.body, filler + hidden + filler);
  assert.equal(room.arrived[0]?.headers["transfer-encoding"], "chunked");
  assert.equal(room.arrived[0]?.headers["content-length"], undefined);
});

test("however a body is cut into pieces, what arrives is the masked whole", async (t) => {
  const room = await start(t, { detail: "Statements" });
  const masker = createStreamMasker(masks, Buffer.alloc(32));
  await fc.assert(
    fc.asyncProperty(fc.array(texts, { maxLength: 3 }), cuts, async (all, cut) => {
      const value = all.map((one) => one.toWellFormed());
      const body = JSON.stringify(value);
      const outgoing = request({
        host: "127.0.0.1",
        port: room.port,
        agent: room.agent,
        method: "POST",
        path: "/",
        headers: { "content-type": "application/json" },
      });
      const bytes = Buffer.from(body).toString("latin1");
      for (const part of cutAt(bytes, cut)) outgoing.write(Buffer.from(part, "latin1"));
      outgoing.end();
      const [answer] = (await once(outgoing, "response")) as [{ resume(): void }];
      answer.resume();
      await once(outgoing, "close");
      const arrived = Buffer.from(room.arrived.at(-1)?.body ?? "", "latin1").toString();
      assert.deepEqual(
        JSON.parse(arrived),
        value.map((one) => masker.whole(one, {})),
      );
    }),
    { numRuns: 60 },
  );
});

test("what nobody can look into is refused, and nothing of it leaves", async (t) => {
  const room = await start(t);
  const refused: readonly (readonly [type: string, body: string | Buffer, OutgoingHttpHeaders?])[] =
    [
      ["application/json", "{'a': jane.doe@example.com}"],
      ["application/json", '{"a":'],
      ["application/octet-stream", "x"],
      ["image/png", "jane.doe@example.com"],
      [
        "multipart/form-data; boundary=b",
        '--b\r\ncontent-disposition: form-data; name="a"\r\n\r\nx\r\n--b--',
      ],
      ["", "x"],
      ["text/plain; charset=utf-16", "x"],
      ["text/plain", Buffer.from([0x61, 0xff, 0xfe])],
      ["application/x-www-form-urlencoded", "a=%zz"],
      ["text/plain", gzipSync(text), { "content-encoding": "gzip" }],
      ["text/plain", text, { "content-range": "bytes 0-9/40" }],
    ];
  for (const [type, body, headers] of refused) {
    const answer = await post(room, type, body, headers);
    assert.equal(answer.status, 403, `${type}: ${answer.text}`);
    assert.match(answer.text, /MaskNotProvable/);
    assert.match(answer.text, /the request cannot be masked/);
  }
  assert.deepEqual(room.arrived, []);
});

test("a body found to be no JSON amid its stream is broken off with the reason", async (t) => {
  const room = await start(t);
  const body = `["${"x".repeat(200_000)}", jane.doe@example.com]`;
  const answer = await post(room, "application/json", body);
  assert.equal(answer.status, 403, answer.text);
  assert.match(answer.text, /it is no JSON/);
  assert.deepEqual(room.arrived, []);
  await eventually("it is recorded", () => room.operations().length === 1);
  assert.equal(room.operations()[0]?.body.outcome?.error, "MaskNotProvable");
});

test("a finding in the target is refused by name before anything of it is recorded; values of headers are masked", async (t) => {
  const room = await start(t);
  for (const path of [
    "/people/jane.doe@example.com",
    "/people/jane.doe%40example.com",
    "/people?mail=jane.doe%40example.com",
    "/people?q=a+123-45-6789",
    "/people?jane.doe%40example.com",
  ]) {
    const answer = await send(room, { path });
    assert.equal(answer.status, 403, path);
    assert.match(answer.text, /its target holds what the detector (email|us-ssn) finds/);
  }
  assert.equal(room.arrived.length, 0);
  assert.doesNotMatch(JSON.stringify(room.events()), /jane/);
  const headers = {
    "x-note": text,
    digest: "sha-256=jane",
    "user-agent": "Chrome/120.0.0.0 (jane.doe@example.com)",
  };
  assert.equal((await send(room, { path: "/people?id=7", headers })).status, 200);
  assert.equal(room.arrived[0]?.headers["x-note"], hidden);
  assert.equal(room.arrived[0]?.headers["digest"], undefined);
  assert.equal(room.arrived[0]?.url, "/people?id=7");
});

test("a held request is shown, approved and sent in its masked form", async (t) => {
  const room = await start(t, {
    rules: [
      {
        name: "ask",
        action: "RequireApproval",
        http: { methods: ["POST"] },
        approval: { approvers: [], count: 1, holdSeconds: 5, validForSeconds: 60 },
      },
    ],
  });
  room.gate.decide = () => "Approved";
  assert.equal((await post(room, "text/plain", text)).status, 200);
  assert.equal(room.gate.requests[0]?.detail, hidden);
  assert.equal(room.arrived[0]?.body, hidden);
});

test("what an agent says in a WebSocket is masked message by message", async (t) => {
  const room = await start(t, {
    rules: [allowAll, { name: "live", action: "Allow", http: { upgrades: ["websocket"] } }],
  });
  const socket = new WebSocket(`ws://127.0.0.1:${room.port}/live`);
  await once(socket, "open");
  socket.send(text);
  await eventually("it arrives", () => room.arrived.length === 1);
  assert.equal(room.arrived[0]?.body, hidden);
  const closed = once(socket, "close");
  socket.send(Buffer.from(text));
  const [code] = (await closed) as [number];
  assert.equal(code, 1008);
  assert.equal(room.arrived.length, 1);
  await eventually("it is recorded", () => room.operations().length === 1);
  assert.doesNotMatch(JSON.stringify(room.events()), /jane/);
});

test("a finding in a request that passed puts its mark; in one that was refused it does not", async (t) => {
  const room = await start(t, {
    requestMasks: masks.map((mask) => ({
      ...mask,
      marks: [{ mark: "pii", policy: "agents/policy" }],
    })),
    rules: [
      allowAll,
      { name: "no-patch", action: "Deny", http: { methods: ["PATCH"] } },
      {
        name: "no-pii",
        action: "Deny",
        http: { methods: ["PUT"] },
        when: "'pii' in session.marks",
      },
    ],
  });
  const put = { method: "PUT", path: "/notes" };
  const headers = { "content-type": "text/plain" };
  await send(room, { method: "PATCH", path: "/notes", headers, body: text });
  assert.equal((await send(room, put)).status, 200);
  assert.equal((await post(room, "text/plain", text)).status, 200);
  const refused = await send(room, put);
  assert.equal(refused.status, 403);
  assert.match(refused.text, /carries the mark pii/);
});
