import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { limitPerPeer } from "./per-peer.ts";

test("one address gets its share and no more, another still gets in, and what is closed can be opened again", async () => {
  const server = createServer((socket) => void socket.on("error", () => undefined));
  limitPerPeer(server, 2, () => false);
  server.listen(0, "0.0.0.0");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const sockets: Socket[] = [];
  const open = async (localAddress: string): Promise<{ socket: Socket; isKept: boolean }> => {
    const socket = connect({ port: address.port, host: "127.0.0.1", localAddress });
    sockets.push(socket);
    socket.on("error", () => undefined);
    socket.resume();
    await once(socket, "connect");
    const accepted = await Promise.race([
      once(socket, "close").then(() => false),
      new Promise<boolean>((resolve) => setTimeout(() => resolve(true), 100)),
    ]);
    return { socket, isKept: accepted };
  };
  try {
    const first = await open("127.0.0.2");
    assert.ok(first.isKept);
    assert.ok((await open("127.0.0.2")).isKept);
    assert.ok(!(await open("127.0.0.2")).isKept, "a third of the same address");
    assert.ok((await open("127.0.0.3")).isKept, "another address");
    const gone = once(first.socket, "close");
    first.socket.destroy();
    await gone;
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok((await open("127.0.0.2")).isKept, "after one was closed");
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});

test("callers of this machine are not counted", async () => {
  const server = createServer((socket) => void socket.on("error", () => undefined));
  limitPerPeer(server, 1);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const sockets = Array.from({ length: 5 }, () => connect(address.port, "127.0.0.1"));
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(sockets.every((socket) => !socket.destroyed && socket.readyState === "open"));
  for (const socket of sockets) socket.destroy();
  server.close();
});
