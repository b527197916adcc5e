import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import fastify from "fastify";
import { boundBodies } from "./body-budget.ts";

const limit = 1_000;

async function server() {
  const app = fastify();
  boundBodies(app, { totalBytes: limit, peerBytes: limit });
  app.post("/mutate", async () => ({ ok: true }));
  await app.listen({ host: "127.0.0.1", port: 0 });
  const address = app.server.address();
  assert.ok(typeof address === "object" && address !== null);
  return { app, port: address.port };
}

/** Says that so many bytes come, and sends one. */
async function slow(port: number, bytes: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(
    `POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${bytes}\r\n\r\n{`,
  );
  return socket;
}

async function post(port: number, body: string): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${port}/mutate`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  await answer.text();
  return answer.status;
}

test("bodies that are never finished do not gather: what finds no room is told to try again, and there is room once they end", async () => {
  const { app, port } = await server();
  try {
    assert.equal(await post(port, "{}"), 200);
    const hog = await slow(port, limit - 10);
    let status = 200;
    for (let tries = 0; status === 200 && tries < 100; tries += 1)
      status = await post(port, JSON.stringify({ pad: "x".repeat(100) }));
    assert.equal(status, 503);
    assert.equal(await post(port, "{}"), 200, "a small one still finds room");
    hog.destroy();
    for (let tries = 0; status !== 200 && tries < 100; tries += 1)
      status = await post(port, JSON.stringify({ pad: "x".repeat(100) }));
    assert.equal(status, 200);
  } finally {
    await app.close();
  }
});

test("a body that does not say how long it is, is refused", async () => {
  const { app, port } = await server();
  try {
    const socket = connect(port, "127.0.0.1");
    socket.write(
      "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
    );
    const [answer] = (await once(socket, "data")) as [Buffer];
    assert.match(answer.toString(), /^HTTP\/1\.1 411 /);
    socket.destroy();
  } finally {
    await app.close();
  }
});
