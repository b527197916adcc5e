// Requests whose way to the upstream failed are sent again where that is safe and asked for, and never otherwise.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { allowAll, send, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

const good = (socket: Socket): void => {
  socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
};
const hangUp = (socket: Socket): void => {
  socket.resetAndDestroy();
};
const breakOff = (socket: Socket): void => {
  socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
  setImmediate(() => socket.resetAndDestroy());
};

interface Flaky {
  readonly room: TestRoom;
  /** Request lines that arrived. */
  readonly seen: string[];
}

/** An upstream that does each of these to one request, then answers. */
async function flaky(
  t: TestContext,
  turns: ((socket: Socket) => void)[],
  setup: Omit<ConnectionSetup, "upstream">,
): Promise<Flaky> {
  const seen: string[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      seen.push(bytes.toString("latin1").split("\r\n")[0] ?? "");
      (turns.shift() ?? good)(socket);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const room = await startRoom(t, [{ ...setup, upstream: { port: address.port } }]);
  return { room, seen };
}

for (const method of ["GET", "HEAD", "OPTIONS"])
  test(`${method} is sent again when the upstream hangs up before it answers, and recorded once`, async (t) => {
    const { room, seen } = await flaky(t, [hangUp, hangUp], { endpoint: { retries: 2 } });
    assert.equal((await send(room, { method, path: "/a" })).status, 200);
    assert.deepEqual(seen, Array(3).fill(`${method} /a HTTP/1.1`));
    assert.deepEqual(
      room.operations().map(({ body }) => body.outcome?.status),
      ["ok"],
    );
  });

test("a request is sent again as often as the Connection says, and no more", async (t) => {
  const { room, seen } = await flaky(t, [hangUp, hangUp, hangUp], { endpoint: { retries: 2 } });
  assert.equal((await send(room, {})).status, 502);
  assert.equal(seen.length, 3);
});

test("without being asked for, nothing is sent again", async (t) => {
  const { room, seen } = await flaky(t, [hangUp], {});
  assert.equal((await send(room, {})).status, 502);
  assert.equal(seen.length, 1);
});

for (const method of ["POST", "PUT", "PATCH", "DELETE"])
  test(`${method} is never sent again`, async (t) => {
    const { room, seen } = await flaky(t, [hangUp], { endpoint: { retries: 3 } });
    assert.equal((await send(room, { method, body: "{}" })).status, 502);
    assert.equal(seen.length, 1);
  });

test("an answer that has begun is broken off, not asked for again", async (t) => {
  const { room, seen } = await flaky(t, [breakOff], { endpoint: { retries: 3 } });
  await assert.rejects(send(room, {}), /aborted|ECONNRESET/);
  assert.equal(seen.length, 1);
});

test("what a person approved passes once, also when the upstream hangs up on it", async (t) => {
  const { room, seen } = await flaky(t, [hangUp], {
    endpoint: { retries: 3 },
    rules: [{ ...allowAll, action: "RequireApproval" }],
  });
  room.gate.decide = () => "Approved";
  assert.equal((await send(room, {})).status, 502);
  assert.equal(seen.length, 1);
});

test("an agent that leaves while a request waits to be sent again is not served", async (t) => {
  const { room, seen } = await flaky(t, [hangUp, hangUp, hangUp], { endpoint: { retries: 3 } });
  const controller = new AbortController();
  const asking = fetch(`http://127.0.0.1:${room.port}/`, { signal: controller.signal });
  while (seen.length === 0) await new Promise((resolve) => setImmediate(resolve));
  controller.abort();
  await assert.rejects(asking);
  while (room.operations().length === 0) await new Promise((resolve) => setImmediate(resolve));
  const sent = seen.length;
  // Longer than every pause that would have followed.
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal(seen.length, sent);
});
