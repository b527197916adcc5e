import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { createDial } from "./dial.ts";
import { listen } from "./listen.ts";
import type { Resolver } from "./resolve.ts";

function fixed(...addresses: string[]): Resolver {
  return { resolve: async () => addresses, close: async () => {} };
}

async function target(t: TestContext, host = "127.0.0.1"): Promise<number> {
  const server = createServer((socket) => socket.on("error", () => {}).end("hello"));
  server.listen(0, host);
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return address.port;
}

const never = new AbortController().signal;
const deny = (): boolean => false;

test("connects, trying the addresses in order past one that refuses", async (t) => {
  const port = await target(t, "127.0.0.5");
  const dial = createDial({ resolver: fixed("127.0.0.4", "127.0.0.5"), deny, allowLoopback: true });
  const socket = await dial("target", port, never);
  const [data] = (await once(socket, "data")) as [Buffer];
  assert.equal(data.toString(), "hello");
});

test("an address that does not answer does not hold up the next one", async (t) => {
  const port = await target(t);
  // 192.0.2.0/24 is documentation space: no one answers (or the network says so at once).
  const dial = createDial({ resolver: fixed("192.0.2.1", "127.0.0.1"), deny, allowLoopback: true });
  const started = performance.now();
  const socket = await dial("target", port, never);
  socket.destroy();
  assert.ok(performance.now() - started < 5_000);
});

for (const address of [
  "127.0.0.1",
  "127.0.64.9",
  "::1",
  "::ffff:127.0.0.1",
  "169.254.169.254",
  "0.0.0.0",
  "::",
  "fe80::1",
  "224.0.0.1",
]) {
  test(`never dials ${address}`, async (t) => {
    const port = await target(t);
    const dial = createDial({ resolver: fixed(address), deny });
    await assert.rejects(dial("target", port, never), {
      code: "UpstreamUnreachable",
      message: /never dialled/,
    });
  });
}

test("never dials its own listener, also where loopback is allowed", async (t) => {
  const port = await target(t);
  const dial = createDial({
    resolver: fixed("127.0.0.1"),
    deny: (address, to) => address === "127.0.0.1" && to === port,
    allowLoopback: true,
  });
  await assert.rejects(dial("target", port, never), /never dialled/);
});

test("a refusal names host and port, an expired wait says so, an abort is the caller's own reason", async () => {
  const refused = createDial({ resolver: fixed("127.0.0.4"), deny, allowLoopback: true });
  await assert.rejects(refused("target", 1, never), {
    code: "UpstreamUnreachable",
    message: /target:1 cannot be reached: ECONNREFUSED/,
  });
  const hanging: Resolver = {
    resolve: (_host, signal) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener("abort", () => reject(signal.reason)),
      ),
    close: async () => {},
  };
  const slow = createDial({ resolver: hanging, deny, connectTimeoutMs: 20 });
  await assert.rejects(slow("target", 1, never), /did not answer in time/);
  const controller = new AbortController();
  const waiting = slow("target", 1, controller.signal);
  controller.abort(new Error("client gone"));
  await assert.rejects(waiting, /client gone/);
});

test("a listener that closes lets an open connection end, and cuts one that does not", async () => {
  const { connect } = await import("node:net");
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    onConnection: (socket) => socket.write("hi"),
  });
  const client = connect(listener.port, "127.0.0.1");
  await once(client, "data");
  const closed = listener.close(50);
  await once(client, "close");
  await closed;
});

test("a listener holds no more connections than it was given", async () => {
  const { connect } = await import("node:net");
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    maxConnections: 1,
    onConnection: (socket) => socket.write("hi"),
  });
  const first = connect(listener.port, "127.0.0.1");
  await once(first, "data");
  const second = connect(listener.port, "127.0.0.1");
  second.on("error", () => {});
  await once(second, "close");
  first.destroy();
  await listener.close(1_000);
});
