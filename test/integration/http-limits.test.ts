// What a policy lets one HTTP answer cost: too many bytes or too long a silence end it, and it never looks whole.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { Limits } from "../../policy/bundle.ts";
import { send, startRoom } from "./http-proxy-fixture.ts";
import type { TestRoom } from "./http-proxy-fixture.ts";

/** An upstream that answers each request in this way. */
async function limited(
  t: TestContext,
  limits: Limits,
  answer: (socket: Socket) => void,
): Promise<TestRoom> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", () => answer(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return startRoom(t, [{ upstream: { port: address.port }, limits }]);
}

const outcome = (room: TestRoom) => room.operations()[0]?.body.outcome;
const ofLength = (length: number, body = "x".repeat(length)) =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n${body}`;
const chunked = (...parts: string[]): string =>
  `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${parts
    .map((part) => `${part.length.toString(16)}\r\n${part}\r\n`)
    .join("")}`;

test("an answer that says it is longer than bytesPerResult is refused before any of it passes", async (t) => {
  const room = await limited(t, { bytesPerResult: 1_000 }, (s) => s.write(ofLength(1_001)));
  const answer = await send(room, {});
  assert.equal(answer.status, 429);
  assert.match(answer.text, /more than 1000 bytes \(limits\.bytesPerResult\)/);
  assert.doesNotMatch(answer.text, /xxx/);
  assert.equal(outcome(room)?.status, "error");
  assert.equal(outcome(room)?.error, "LimitExceeded");
});

test("an answer of unknown length is broken off where it goes over bytesPerResult", async (t) => {
  const room = await limited(t, { bytesPerResult: 1_000 }, (socket) => {
    socket.write(chunked("x".repeat(900)));
    setTimeout(() => socket.write(`65\r\n${"x".repeat(101)}\r\n0\r\n\r\n`), 50);
  });
  await assert.rejects(send(room, {}), /aborted|ECONNRESET/);
  assert.equal(outcome(room)?.error, "LimitExceeded");
});

test("an answer of exactly bytesPerResult passes, and so does HEAD whatever the length it tells", async (t) => {
  const whole = await limited(t, { bytesPerResult: 1_000 }, (s) => s.write(ofLength(1_000)));
  assert.equal((await send(whole, {})).text.length, 1_000);
  const head = await limited(t, { bytesPerResult: 1_000 }, (s) => s.write(ofLength(5_000, "")));
  const answer = await send(head, { method: "HEAD" });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["content-length"], "5000");
});

test("an upstream that is silent for idleTimeout before it answers is given up with the reason", async (t) => {
  const room = await limited(t, { idleTimeoutSeconds: 1 }, () => {});
  const answer = await send(room, {});
  assert.equal(answer.status, 429);
  assert.match(answer.text, /nothing of the answer came for 1 s \(limits\.idleTimeout\)/);
  assert.equal(outcome(room)?.status, "unknown");
});

test("an answer that stops for idleTimeout is broken off", async (t) => {
  const room = await limited(t, { idleTimeoutSeconds: 1 }, (s) => s.write(chunked("part")));
  await assert.rejects(send(room, {}), /aborted|ECONNRESET/);
});

test("an answer that keeps coming may take longer than idleTimeout", async (t) => {
  const room = await limited(t, { idleTimeoutSeconds: 1 }, (socket) => {
    socket.write(chunked("a"));
    let left = 5;
    const timer = setInterval(() => {
      left -= 1;
      socket.write(left > 0 ? "1\r\na\r\n" : "0\r\n\r\n");
      if (left === 0) clearInterval(timer);
    }, 400);
  });
  assert.equal((await send(room, {})).text, "aaaaa");
  assert.equal(outcome(room)?.status, "ok");
});
