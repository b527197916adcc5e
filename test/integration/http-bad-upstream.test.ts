// Upstreams that speak something else, lie about their bodies or never end: the agent sees an error or a break, never a success, and nothing of it
// is left for the next request.
import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent } from "node:http";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { after, before, test } from "node:test";

import { badAnswers } from "../corpus/http/answers.ts";
import type { BadAnswer } from "../corpus/http/answers.ts";
import { readRequest } from "./http-byte-origin.ts";
import { eventually, send, startRoom } from "./http-proxy-fixture.ts";
import type { Answer, TestRoom } from "./http-proxy-fixture.ts";

const good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

/** Nothing here takes longer than some milliseconds; after this it hangs. */
const hangsMs = 5_000;

interface Way {
  readonly name: string;
  readonly method: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** The three ways a request goes to an upstream: without a body, with one that is known, with one that streams. */
const ways: readonly Way[] = [
  { name: "a GET", method: "GET" },
  { name: "a POST with a length", method: "POST", body: "hello" },
  {
    name: "a POST in chunks",
    method: "POST",
    headers: { "transfer-encoding": "chunked" },
    body: "hello",
  },
];

let server: Server;
let room: TestRoom;
const cleanups: (() => Promise<void>)[] = [];
/** Answers by path; all others are answered well. */
const scripts = new Map<string, BadAnswer>();
const sockets = new Set<Socket>();
/** Where all pieces of an answer were sent. */
const said = new Set<Socket>();

before(async () => {
  server = createServer((socket) => {
    let pending = "";
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      pending += chunk.toString("latin1");
      for (let one = readRequest(pending); one?.cut === false; one = readRequest(pending)) {
        pending = pending.slice(one.bytes.length);
        void answer(socket, scripts.get(one.line.split(" ")[1] ?? ""));
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  room = await startRoom({ after: (hook) => void cleanups.push(hook as () => Promise<void>) }, [
    { upstream: { port: address.port } },
  ]);
});

after(async () => {
  for (const cleanup of cleanups) await cleanup();
  for (const socket of sockets) socket.destroy();
  server?.close();
});

async function answer(socket: Socket, script: BadAnswer | undefined): Promise<void> {
  if (script === undefined) {
    socket.write(good);
    return;
  }
  const pieces = typeof script.bytes === "string" ? [script.bytes] : script.bytes;
  for (const piece of pieces) {
    if (socket.destroyed) return;
    socket.write(piece, "latin1");
    if (pieces.length > 1) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  if (script.closes === true) socket.end();
  if (Array.isArray(script.bytes)) said.add(socket);
  const { endless } = script;
  if (endless === undefined) return;
  const more = (): void => {
    while (!socket.destroyed && socket.write(endless, "latin1"));
  };
  socket.on("drain", more);
  more();
}

for (const [index, script] of badAnswers.entries()) {
  test(`an upstream that ${script.name}: ${promised(script)}`, async () => {
    for (const way of ways) {
      const path = `/${index}/${way.name.replaceAll(" ", "-")}`;
      scripts.set(path, script);
      // A connection of the agent's own, which has to stay usable after a refusal.
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const through = { port: room.port, agent };
      room.gate.events.length = 0;
      const seen = await request(through, way, path);
      check(seen, script, way);
      await eventually("an event", () => room.operations().length > 0);
      const [operation] = room.operations();
      const status = operation?.body.outcome?.status;
      if (typeof script.agent === "string")
        assert.match(status ?? "", /^(error|unknown)$/, "the event tells that it failed");
      else assert.equal(status, "ok");
      await eventually(
        "the rest was said",
        () => said.size > 0 || typeof script.bytes === "string",
      );
      if (hasMore(script))
        await eventually("it hangs up", () => [...said].every((one) => one.destroyed));
      said.clear();
      // Whatever came behind the answer, or is still to come, is nobody's.
      for (let next = 0; next < 3; next += 1) {
        const after_ = await send(through, { path: "/good" });
        assert.equal(after_.text, "good", "the next request gets its own answer");
      }
      agent.destroy();
    }
  });
}

/** Bytes that no request asked for: on a connection that does not end by itself, the proxy has to. */
function hasMore({ bytes, agent }: BadAnswer): boolean {
  return Array.isArray(bytes) && typeof agent !== "string" && bytes.length === 2;
}

function promised({ agent }: BadAnswer): string {
  if (agent === "502") return "a 502 that says so";
  return agent === "abort" ? "the agent sees a break" : "the agent gets that answer";
}

async function request(
  through: Pick<TestRoom, "port" | "agent">,
  { method, headers, body }: Way,
  path: string,
): Promise<Answer | Error> {
  const late = setTimeout(() => through.agent.destroy(), hangsMs);
  try {
    return await send(through, {
      method,
      path,
      ...(headers !== undefined && { headers: { ...headers } }),
      ...(body !== undefined && { body }),
    });
  } catch (error) {
    assert.ok(error instanceof Error);
    return error;
  } finally {
    clearTimeout(late);
  }
}

function check(seen: Answer | Error, { agent }: BadAnswer, way: Way): void {
  if (agent === "abort") {
    assert.ok(seen instanceof Error, `${way.name}: a success: ${JSON.stringify(seen)}`);
    return;
  }
  assert.ok(!(seen instanceof Error), `${way.name}: ${seen instanceof Error ? seen.message : ""}`);
  if (agent === "502") {
    assert.equal(seen.status, 502, way.name);
    assert.match(seen.text, /Upstream(Protocol|Unreachable)/, way.name);
    assert.match(seen.text, /agents\/target/, "names the Connection");
    return;
  }
  assert.deepEqual([seen.status, seen.text], [agent.status, agent.body], way.name);
}
