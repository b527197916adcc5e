// WebSockets that are asked for and not open yet: their upstream takes its time, and agents leave.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { eventually, startRoom } from "./http-proxy-fixture.ts";
import type { TestRoom } from "./http-proxy-fixture.ts";

const rule = { name: "live", http: { paths: ["/live"], upgrades: ["websocket"] } };
const handshake =
  "GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/** Of one proxy (proxy/http/websocket/websockets.ts). */
const most = 1_024;
/** Nothing here is about time: what takes longer than this never happens. */
const patienceMs = 20_000;

interface Silent extends TestRoom {
  /** Those that have heard a handshake and say nothing. */
  readonly asked: Set<Socket>;
  dial(): Promise<Socket>;
}

async function silent(t: TestContext): Promise<Silent> {
  const asked = new Set<Socket>();
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => asked.add(socket));
    socket.on("close", () => asked.delete(socket));
  });
  server.listen({ port: 0, host: "127.0.0.1", backlog: 2 * most });
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const room = await startRoom(t, [{ upstream: { port: address.port }, rules: [rule] }]);
  // A listener of its own: another takes no more connections than there may be WebSockets.
  const { gate } = room;
  const door = createServer((socket) =>
    room.room.accept(socket, { scheme: "http", select: () => gate }),
  );
  door.listen({ port: 0, host: "127.0.0.1", backlog: 2 * most });
  await once(door, "listening");
  const at = door.address();
  assert.ok(at !== null && typeof at === "object");
  const clients: Socket[] = [];
  t.after(() => {
    for (const client of clients) client.destroy();
    for (const socket of asked) socket.destroy();
    server.close();
    door.close();
  });
  const dial = async (): Promise<Socket> => {
    const client = connect(at.port, "127.0.0.1");
    clients.push(client);
    client.on("error", () => undefined);
    await once(client, "connect");
    client.write(handshake);
    return client;
  };
  return { ...room, asked, dial };
}

test("an agent that leaves before its WebSocket is open has left, and its upstream hears of it", async (t) => {
  const { asked, dial, operations, refusals } = await silent(t);
  const client = await dial();
  await eventually("the upstream is asked", () => asked.size === 1);
  client.destroy();
  await eventually("it is recorded", () => operations().length === 1);
  assert.equal(operations()[0]?.body.outcome?.error, "ClientGone");
  assert.deepEqual(refusals, []);
  await eventually("the upstream is let go", () => asked.size === 0);
});

test("handshakes under way count among the WebSockets there may be, and one that ends makes room", async (t) => {
  const { asked, dial } = await silent(t);
  const clients = await Promise.all(Array.from({ length: most }, dial));
  await eventually("all are asked", () => asked.size === most, patienceMs);
  const beyond = await dial();
  const [answer] = (await once(beyond, "data")) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 429 [^]*1024 WebSockets are open/);
  assert.equal(asked.size, most);
  clients[0]?.destroy();
  await eventually("one has ended", () => asked.size === most - 1, patienceMs);
  await dial();
  await eventually("another is asked", () => asked.size === most, patienceMs);
});
