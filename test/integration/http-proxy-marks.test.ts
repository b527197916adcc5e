// Data-flow marks over HTTP: what an answer held decides what may go out on every other connection of the pod, from before its first byte is out.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request } from "node:http";
import type { ClientRequest, IncomingMessage } from "node:http";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { WebSocket, WebSocketServer } from "ws";

import type { DetectMask } from "../../policy/bundle.ts";
import { PodMarks } from "../../proxy/marks.ts";
import { eventually, send, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

const when = "session.marks.exists(m, m == 'pii')";
const email: DetectMask = {
  detector: "email",
  transform: { kind: "redact" },
  policy: "agents/policy",
  marks: [{ mark: "pii", policy: "agents/policy" }],
};
const person = JSON.stringify({ id: 7, mail: "jane.doe@example.com" });

interface Setup extends TestRoom {
  readonly marks: PodMarks;
  /** Bodies that arrived under /out, each as far as it came. */
  readonly arrived: string[];
  readonly ended: string[];
}

/** `/in` gives a person away in an answer, `/out` takes whatever comes, `/out/live` is a WebSocket. */
async function start(
  t: TestContext,
  outside: Partial<ConnectionSetup> = {},
  marks = new PodMarks(),
  inside: Partial<ConnectionSetup> = {},
): Promise<Setup> {
  const arrived: string[] = [];
  const ended: string[] = [];
  const upstream = createServer((incoming, outgoing) => {
    if (incoming.url?.startsWith("/in") === true) {
      incoming.resume();
      const type = incoming.url === "/in/clean" ? '{"id":7}' : person;
      outgoing.writeHead(200, { "content-type": "application/json" });
      outgoing.end(type);
      return;
    }
    const index = arrived.push("") - 1;
    incoming.on("data", (chunk: Buffer) => (arrived[index] += chunk.toString()));
    incoming.on("error", () => undefined);
    incoming.on("end", () => {
      ended.push(arrived[index] ?? "");
      outgoing.writeHead(200, { "content-type": "application/json" }).end(person);
    });
  });
  const sockets = new WebSocketServer({ server: upstream });
  sockets.on("connection", (peer) => {
    peer.on("error", () => undefined);
    peer.on("message", (data: Buffer) => arrived.push(data.toString()));
  });
  upstream.listen(0, "127.0.0.1");
  await once(upstream, "listening");
  const address = upstream.address();
  assert.ok(address !== null && typeof address === "object");
  const { port } = address;
  const room = await startRoom(t, [
    {
      name: "people",
      marks,
      detectMasks: [email],
      ...inside,
      upstream: { port, basePath: "/in" },
    },
    {
      name: "outside",
      marks,
      rules: [
        { name: "all", action: "Allow", http: {} },
        { name: "live", action: "Allow", http: { upgrades: ["websocket"] } },
        { name: "no-pii-out", action: "Deny", http: {}, when },
      ],
      ...outside,
      upstream: { port, basePath: "/out" },
    },
  ]);
  t.after(() => {
    for (const peer of sockets.clients) peer.terminate();
    upstream.closeAllConnections();
    upstream.close();
  });
  return { ...room, marks, arrived, ended };
}

function post(room: Setup, length?: number): ClientRequest {
  return request({
    host: "127.0.0.1",
    port: room.port,
    method: "POST",
    path: "/out",
    headers: {
      "content-type": "text/plain",
      ...(length !== undefined && { "content-length": length }),
    },
  });
}

/** Undefined where it was cut off. */
function answered(outgoing: ClientRequest): Promise<{ status: number; text: string } | undefined> {
  return new Promise((resolve) => {
    outgoing.on("error", () => resolve(undefined));
    outgoing.on("response", (incoming: IncomingMessage) => {
      let text = "";
      incoming.on("data", (chunk: Buffer) => (text += chunk.toString()));
      incoming.on("error", () => resolve(undefined));
      incoming.on("end", () => resolve({ status: incoming.statusCode ?? 0, text }));
    });
  });
}

test("an agent that read a finding and then posts to an unrelated place is refused, and the record says why", async (t) => {
  const room = await start(t);
  assert.equal((await send(room, { path: "/in/clean" })).status, 200);
  const before = await send(room, { method: "POST", path: "/out", body: "hello" });
  assert.equal(before.status, 200);
  const read = await send(room, { path: "/in" });
  assert.equal(read.text, '{"id":7,"mail":"[redacted]"}');
  const refused = await send(room, { method: "POST", path: "/out", body: "jane" });
  assert.equal(refused.status, 403);
  assert.match(refused.text, /this pod's session carries the mark pii/);
  assert.deepEqual(room.arrived, ["hello"]);
  const [mark] = room.events().filter(({ type }) => type === "mark");
  assert.deepEqual(mark?.body.mark, {
    name: "pii",
    policy: "agents/policy",
    detector: "email",
  });
  const last = room.operations().at(-1)?.body;
  assert.equal(last?.decision?.rule, "no-pii-out");
  assert.equal(last?.marks?.[0]?.connection, "agents/people");
  assert.equal(last?.marks?.[0]?.session, mark?.body.session);
  assert.equal(last?.marks?.[0]?.operation, "GET 127.0.0.1/in");
});

test("whatever is sent once the first byte of the answer is out is refused, however many requests run beside it", async (t) => {
  for (let round = 0; round < 10; round++) {
    const room = await start(t);
    let seen = false;
    const late: number[] = [];
    const poster = async (): Promise<void> => {
      for (let count = 0; count < 15; count++) {
        const isLate = seen;
        const { status } = await send(room, { method: "POST", path: "/out", body: "x" });
        if (isLate) late.push(status);
      }
    };
    const reader = async (): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, round));
      const outgoing = request({ host: "127.0.0.1", port: room.port, path: "/in" });
      outgoing.on("response", (incoming) => {
        seen = true;
        incoming.resume();
      });
      outgoing.end();
      await once(outgoing, "close");
    };
    await Promise.all([poster(), poster(), reader()]);
    assert.ok(seen);
    late.push((await send(room, { method: "POST", path: "/out", body: "x" })).status);
    assert.deepEqual(new Set(late), new Set([403]));
  }
});

test("an upload that began before the read ends with it: what is sent after never arrives", async (t) => {
  const room = await start(t);
  const upload = post(room);
  const answer = answered(upload);
  const first = "a".repeat(100_000);
  upload.write(first);
  await eventually("the beginning arrives", () => room.arrived[0]?.length === first.length);
  await send(room, { path: "/in" });
  upload.write("jane.doe@example.com");
  upload.end();
  const refused = await answer;
  assert.ok(refused === undefined || refused.status === 403);
  await eventually("it is recorded", () => room.operations().length === 2);
  assert.deepEqual(room.arrived, [first]);
  assert.deepEqual(room.ended, []);
  const upl = room.operations().find(({ body }) => body.connection?.name === "outside");
  assert.equal(upl?.body.outcome?.error, "Denied");
  assert.equal(upl?.body.marks?.[0]?.name, "pii");
});

test("a request whose body comes only after the read is not sent at all", async (t) => {
  const room = await start(t);
  const body = "jane.doe@example.com";
  const late = post(room, body.length);
  const answer = answered(late);
  late.flushHeaders();
  await eventually("it was decided", () => room.events().some(({ type }) => type === "intent"));
  await send(room, { path: "/in" });
  late.end(body);
  assert.equal((await answer)?.status, 403);
  assert.deepEqual(room.arrived, []);
});

test("a WebSocket that was open before the read ends before its next message is out", async (t) => {
  const room = await start(t);
  const socket = new WebSocket(`ws://127.0.0.1:${room.port}/out/live`);
  await once(socket, "open");
  socket.send("hello");
  await eventually("it arrives", () => room.arrived.length === 1);
  await send(room, { path: "/in" });
  const closed = once(socket, "close");
  socket.send("jane.doe@example.com");
  const [code] = (await closed) as [number];
  assert.equal(code, 1008);
  assert.deepEqual(room.arrived, ["hello"]);
});

test("the request that puts a mark is not refused by it: it was allowed before it read", async (t) => {
  const room = await start(t, {
    detectMasks: [email],
    rules: [
      { name: "all", action: "Allow", http: {}, marks: ["outside"] },
      { name: "once", action: "Deny", http: {}, when: "'outside' in session.marks" },
    ],
  });
  const body = "a".repeat(100_000);
  const first = await send(room, { method: "POST", path: "/out", body });
  assert.equal(first.status, 200);
  assert.deepEqual(room.ended, [body]);
  assert.equal((await send(room, { method: "POST", path: "/out", body })).status, 403);
});

test("a mask with a condition on marks holds from the moment that the mark is there", async (t) => {
  const room = await start(t, {
    rules: [{ name: "all", action: "Allow", http: {} }],
    detectMasks: [{ ...email, marks: [], when }],
  });
  assert.equal((await send(room, { method: "POST", path: "/out" })).text, person);
  await send(room, { path: "/in" });
  const masked = await send(room, { method: "POST", path: "/out" });
  assert.equal(masked.text, '{"id":7,"mail":"[redacted]"}');
});

for (const protocol of ["http", "openai"] as const)
  test(`a request over ${protocol} that came to need a mask while its body came is not sent without it`, async (t) => {
    const room = await start(t, {
      protocol,
      rules: [{ name: "all", action: "Allow" }],
      requestMasks: [{ ...email, marks: [], when }],
    });
    const body = JSON.stringify({
      model: "gpt-5",
      messages: [{ role: "user", content: "jane.doe@example.com" }],
    });
    const late = request({
      host: "127.0.0.1",
      port: room.port,
      method: "POST",
      path: "/out/chat/completions",
      headers: { "content-type": "application/json", "content-length": body.length },
    });
    const answer = answered(late);
    late.write(body.slice(0, 10));
    await send(room, { path: "/in/clean" });
    await send(room, { path: "/in" });
    late.end(body.slice(10));
    const refused = await answer;
    assert.equal(refused?.status, 403);
    assert.match(refused?.text ?? "", /send it again/);
    assert.deepEqual(room.arrived, []);
    const again = await send(room, {
      method: "POST",
      path: "/out/chat/completions",
      headers: { "content-type": "application/json" },
      body,
    });
    assert.equal(again.status, 200);
    assert.doesNotMatch(room.arrived.join(""), /jane/);
  });

test("an answer whose mark cannot be kept is not shown", async (t) => {
  const marks = new PodMarks({
    read: () => [],
    write: () => {
      throw new Error("no space left");
    },
  });
  const room = await start(t, {}, marks);
  const outgoing = request({ host: "127.0.0.1", port: room.port, path: "/in" });
  const answer = answered(outgoing);
  outgoing.end();
  assert.doesNotMatch((await answer)?.text ?? "", /redacted|jane/);
  assert.equal((await send(room, { method: "POST", path: "/out" })).status, 403);
});

test("an upload that no rule refuses for the mark goes on, where rules look at marks, too", async (t) => {
  const room = await start(t, {
    rules: [
      { name: "all", action: "Allow", http: {} },
      { name: "no-put", action: "Deny", http: { methods: ["PUT"] }, when },
    ],
  });
  const upload = post(room);
  const answer = answered(upload);
  const first = "a".repeat(100_000);
  upload.write(first);
  await eventually("the beginning arrives", () => room.arrived[0]?.length === first.length);
  await send(room, { path: "/in" });
  upload.end("b");
  assert.equal((await answer)?.status, 200);
  assert.deepEqual(room.ended, [`${first}b`]);
});

test("where no rule looks at marks, nothing is asked again", async (t) => {
  const room = await start(t, { rules: [{ name: "all", action: "Allow", http: {} }] });
  const upload = post(room);
  const answer = answered(upload);
  upload.write("a");
  await send(room, { path: "/in" });
  upload.end("b");
  assert.equal((await answer)?.status, 200);
  assert.deepEqual(room.ended, ["ab"]);
});
