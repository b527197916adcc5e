// Who leaves, and who breaks off, through the agent's own TLS and through a CONNECT tunnel: the other side hears of it at once, and never as an end.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import { connect as tcp } from "node:net";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { connect as tls } from "node:tls";
import type { TLSSocket } from "node:tls";

import { createForwardProxy } from "../../proxy/http/forward-proxy.ts";
import type { ForwardProxy } from "../../proxy/http/forward-proxy.ts";
import { createPodAuthority } from "../../proxy/tls/authority.ts";
import { createTlsTerminator } from "../../proxy/tls/terminate.ts";
import { eventually, startRoom } from "./http-proxy-fixture.ts";
import type { TestRoom } from "./http-proxy-fixture.ts";

const name = "api.example";
const ways = ["TLS", "a tunnel"] as const;

interface Agent {
  readonly raw: Socket;
  readonly socket: TLSSocket;
}

interface Setup {
  readonly room: TestRoom;
  agent(): Promise<Agent>;
}

async function start(
  t: TestContext,
  way: (typeof ways)[number],
  answer: RequestListener,
): Promise<Setup> {
  const origin = createServer(answer);
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
  const address = origin.address();
  assert.ok(address !== null && typeof address === "object");
  const authority = await createPodAuthority({ names: [name, "other.example"], storage: "memory" });
  const terminator = createTlsTerminator({ authority });
  let forward: ForwardProxy | undefined;
  const room: TestRoom = await startRoom(t, [{ upstream: { port: address.port } }], {
    route: { scheme: "https" },
    secure: (socket, accept) =>
      forward === undefined ? terminator.accept(socket, accept) : forward.accept(socket),
  });
  if (way === "a tunnel")
    forward = createForwardProxy({
      authority,
      accept: (socket, route) => room.room.accept(socket, route),
      targetFor: (host) =>
        host === name
          ? { kind: "http", route: { scheme: "https", select: () => room.gate } }
          : undefined,
    });
  t.after(async () => {
    origin.closeAllConnections();
    origin.close();
    await terminator.close();
    await forward?.close();
  });
  return {
    room,
    async agent() {
      const raw = tcp(room.port, "127.0.0.1");
      raw.on("error", () => {});
      if (way === "a tunnel") {
        raw.write(`CONNECT ${name}:443 HTTP/1.1\r\nHost: ${name}:443\r\n\r\n`);
        await once(raw, "data");
      }
      const socket = tls({ socket: raw, servername: name, ca: authority.certificate });
      t.after(() => socket.destroy());
      socket.on("error", () => {});
      await once(socket, "secureConnect");
      return { raw, socket };
    },
  };
}

const leave = {
  closes: ({ socket }: Agent) => void socket.destroy(),
  "resets its connection": ({ raw }: Agent) => void raw.resetAndDestroy(),
} as const;

const head = `Host: ${name}\r\n`;
/** What the agent sends; the origin does by the path. */
const moments = {
  "before the answer": { bytes: `GET /silent HTTP/1.1\r\n${head}\r\n`, outcome: "unknown" },
  "amid the answer": { bytes: `GET /begins HTTP/1.1\r\n${head}\r\n`, outcome: "error" },
  "amid its upload": {
    bytes: `PUT /silent HTTP/1.1\r\n${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`,
    outcome: "unknown",
  },
} as const;

for (const way of ways)
  for (const [how, leaves] of Object.entries(leave))
    for (const [when, { bytes, outcome }] of Object.entries(moments))
      test(`through ${way}, an agent that ${how} ${when} is heard by the upstream at once`, async (t) => {
        const [begun, ended, whole] = [[] as string[], [] as string[], [] as string[]];
        const { room, agent } = await start(t, way, (incoming, response) => {
          const path = incoming.url ?? "";
          begun.push(path);
          incoming.on("error", () => {});
          incoming.on("end", () => whole.push(path));
          incoming.resume();
          incoming.socket.once("close", () => ended.push(path));
          if (path === "/begins") response.write("begun");
        });
        const one = await agent();
        one.socket.write(bytes);
        if (outcome === "error") await once(one.socket, "data");
        await eventually("it arrived", () => begun.length === 1, 30_000);
        leaves(one);
        await eventually("the upstream hears of it", () => ended.length === 1, 30_000);
        await eventually("it is recorded", () => room.operations().length === 1, 30_000);
        const [event] = room.operations();
        assert.equal(event?.body.outcome?.status, outcome);
        assert.equal(event?.body.outcome?.error, "ClientGone");
        if (when === "amid its upload") assert.deepEqual(whole, []);
        // Others go on.
        const other = await agent();
        other.socket.write(`GET /begins HTTP/1.1\r\n${head}\r\n`);
        const [text] = (await once(other.socket, "data")) as [Buffer];
        assert.match(text.toString(), /^HTTP\/1\.1 200 /);
      });

for (const way of ways)
  for (const framing of ["in chunks", "of a known length", "that lasts until its end"] as const)
    test(`through ${way}, an answer ${framing} that the upstream breaks off never looks whole`, async (t) => {
      const { room, agent } = await start(t, way, (_incoming, response) => {
        if (framing === "of a known length") response.setHeader("content-length", "100");
        const [socket] = [response.socket];
        if (framing !== "that lasts until its end") response.write("part");
        else socket?.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart");
        setTimeout(() => socket?.resetAndDestroy(), 50);
      });
      const { socket } = await agent();
      let text = "";
      let isEnded = false;
      socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
      socket.on("end", () => (isEnded = true));
      socket.write(`GET / HTTP/1.1\r\n${head}\r\n`);
      await once(socket, "close");
      assert.match(text, /^HTTP\/1\.1 200 [^]*part/);
      assert.doesNotMatch(text, /\r\n0\r\n/);
      // Without a length of its own or chunks the end of TLS would be the end of the answer.
      const isFramed = /\r\n(transfer-encoding: chunked|content-length: 100)\r\n/i.test(text);
      assert.ok(isFramed || !isEnded, text);
      await eventually("it is recorded", () => room.operations().length === 1, 30_000);
      assert.equal(room.operations()[0]?.body.outcome?.status, "error");
    });

for (const way of ways)
  test(`through ${way}, a request for another host than the handshake named is 421 and reaches nobody`, async (t) => {
    const seen: string[] = [];
    const { room, agent } = await start(t, way, (incoming, response) => {
      seen.push(incoming.url ?? "");
      response.end("ok");
    });
    for (const host of ["other.example", "other.example:443", "127.0.0.1", "evil.example"]) {
      const { socket } = await agent();
      socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      const [text] = (await once(socket, "data")) as [Buffer];
      assert.match(text.toString(), /^HTTP\/1\.1 421 /, host);
    }
    const { socket } = await agent();
    socket.write(`GET https://other.example/ HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
    const [text] = (await once(socket, "data")) as [Buffer];
    assert.match(text.toString(), /^HTTP\/1\.1 4\d\d /);
    assert.deepEqual(seen, []);
    assert.equal(room.operations().length, 0);
    await eventually("each is recorded", () => room.refusals.length === 5, 30_000);
  });
