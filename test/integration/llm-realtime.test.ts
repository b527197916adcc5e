// Sessions with a model over a WebSocket: decided at the upgrade as the operation `realtime`, carried until a policy says otherwise.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage } from "node:http";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { WebSocket, WebSocketServer } from "ws";

import type { BundleRule } from "../../policy/bundle.ts";
import { eventually, send, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

const upgrade = {
  connection: "upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
};

async function start(
  t: TestContext,
  rule: Partial<BundleRule>,
  setup: Partial<ConnectionSetup> = {},
): Promise<{ room: TestRoom; upgrades: IncomingMessage[] }> {
  const upgrades: IncomingMessage[] = [];
  const http = createServer();
  const server = new WebSocketServer({ noServer: true });
  http.on("upgrade", (request, socket, head) => {
    upgrades.push(request);
    server.handleUpgrade(request, socket, head, (peer) => {
      peer.on("error", () => undefined);
      peer.send(JSON.stringify({ type: "session.created", session: { id: "s" } }));
      peer.on("message", () =>
        peer.send(JSON.stringify({ type: "response.output_text.done", text: "hello" })),
      );
    });
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  t.after(() => {
    for (const peer of server.clients) peer.terminate();
    http.close();
  });
  const address = http.address();
  assert.ok(address !== null && typeof address === "object");
  const room = await startRoom(t, [
    {
      protocol: "openai",
      lease: { kind: "headers", headers: [{ name: "Authorization", value: "Bearer sk-real" }] },
      rules: [{ name: "r", ...rule }],
      ...setup,
      upstream: { port: address.port, basePath: "/v1" },
    },
  ]);
  return { room, upgrades };
}

test("a client holds a session where a rule names it, with the real key and recorded as one operation", async (t) => {
  const { room, upgrades } = await start(t, {
    llm: { operations: ["realtime"], models: ["gpt-realtime"] },
  });
  const url = new URL(`ws://127.0.0.1:${room.port}/v1/realtime?model=gpt-realtime`);
  const socket = new WebSocket(url, { headers: { authorization: "Bearer held" } });
  const [created] = (await once(socket, "message")) as [Buffer];
  assert.equal((JSON.parse(created.toString()) as { type: string }).type, "session.created");
  socket.send(JSON.stringify({ type: "response.create" }));
  const [said] = (await once(socket, "message")) as [Buffer];
  assert.match(said.toString(), /hello/);
  socket.close();
  await once(socket, "close");
  assert.equal(upgrades.at(-1)?.headers.authorization, "Bearer sk-real");
  await eventually("it is recorded", () => room.operations().length >= 1);
  const facts = room.operations().at(-1)?.body.operation?.facts ?? {};
  assert.deepEqual([facts["operation"], facts["model"]], ["realtime", "gpt-realtime"]);
});

test("a key among the subprotocols, where browsers put it, is dropped like one in a header", async (t) => {
  const { room, upgrades } = await start(t, { llm: { operations: ["realtime"] } });
  const url = `ws://127.0.0.1:${room.port}/v1/realtime?model=gpt-realtime`;
  const socket = new WebSocket(url, ["realtime", "openai-insecure-api-key.sk-of-the-agent"]);
  await once(socket, "message");
  socket.close();
  const { headers } = upgrades.at(-1) ?? assert.fail();
  assert.equal(headers["sec-websocket-protocol"], "realtime");
  assert.equal(headers.authorization, "Bearer sk-real");
});

for (const [what, rule, target] of [
  ["another model", { llm: { operations: ["realtime"], models: ["gpt-realtime"] } }, "model=gpt-9"],
  ["an Allow that names no operation", {}, "model=gpt-realtime"],
  ["two models", { llm: { operations: ["realtime"] } }, "model=a&model=b"],
] as const)
  test(`a session is refused in the API's own shape: ${what}`, async (t) => {
    const { room, upgrades } = await start(t, rule);
    const answer = await send(room, { path: `/v1/realtime?${target}`, headers: upgrade });
    assert.equal(answer.status, 403);
    assert.equal((JSON.parse(answer.text) as { error: { code: string } }).error.code, "Denied");
    assert.equal(upgrades.length, 0);
  });

test("other paths are no sessions", async (t) => {
  const { room, upgrades } = await start(t, { llm: { operations: ["*"] } });
  const answer = await send(room, { path: "/v1/models", headers: upgrade });
  assert.equal(answer.status, 403);
  assert.equal((JSON.parse(answer.text) as { error: { code: string } }).error.code, "NotSupported");
  assert.equal(upgrades.length, 0);
});
