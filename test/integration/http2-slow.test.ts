// Clients of HTTP/2 that say too little or take too long: their connections end, and no other hears of it.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { eventually } from "./http-proxy-fixture.ts";
import { ask, h2Name, startH2Room } from "./http2-fixture.ts";
import { H2Wire, block, flag, frame, frameType } from "./http2-frames.ts";

/** Nothing here is about time: what takes longer than this never happens. */
const patienceMs = 60_000;

async function listening(t: TestContext, server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return address.port;
}

test("a connection that asks nothing, whose preface or head never comes or comes in crumbs, is closed after 75 seconds; one that waits for its answer is not", async (t) => {
  const now = performance.now.bind(performance);
  let later = 0;
  t.mock.method(performance, "now", () => now() + later);
  t.mock.timers.enable({ apis: ["setInterval"] });
  let answer = (): void => {};
  const origin = createServer((_request, response) => (answer = () => void response.end("late")));
  const port = await listening(t, origin);
  const at = await startH2Room(t, [{ upstream: { port } }]);
  const waiting = ask(at.connect(), { ":path": "/" });
  const before = answer;
  await eventually("it is asked", () => answer !== before, patienceMs);
  const [silent, idle, half, crumbs] = [
    new H2Wire(await at.socket()),
    new H2Wire(await at.socket()),
    new H2Wire(await at.socket()),
    new H2Wire(await at.socket()),
  ];
  const head = block([
    [":method", "GET"],
    [":scheme", "https"],
    [":path", "/half"],
    [":authority", h2Name],
  ]);
  for (const wire of [idle, half, crumbs]) wire.open();
  for (const wire of [half, crumbs]) wire.write(frame(frameType.headers, 0, 1, head));
  await silent.until("settings", () => silent.frames.length > 0, patienceMs);
  for (const wire of [idle, half, crumbs])
    await wire.until("settings are taken", () => wire.frames.length > 1, patienceMs);
  for (let second = 0; second < 70; second += 10) {
    crumbs.write(frame(frameType.continuation, 0, 1, block([["x", "y"]])));
    later += 10_000;
    t.mock.timers.tick(1_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const all = [silent, idle, half, crumbs];
  assert.ok(all.every(({ isClosed }) => !isClosed));
  // Those that have begun nothing are told to go; whose head is not whole gets a few seconds more.
  later += 6_000;
  t.mock.timers.tick(1_000);
  for (const wire of [silent, idle]) await wire.until("closed", () => false, patienceMs);
  for (const wire of [half, crumbs])
    await wire.until("GOAWAY", () => wire.goaway !== undefined, patienceMs);
  later += 5_000;
  t.mock.timers.tick(1_000);
  for (const wire of all) await wire.until("closed", () => false, patienceMs);
  assert.ok(all.every(({ isClosed }) => isClosed));
  assert.deepEqual(
    at.refusals.map(({ code }) => code),
    ["MalformedRequest", "MalformedRequest"],
  );
  assert.match(at.refusals[0]?.message ?? "", /did not end in time$/);
  answer();
  assert.equal((await waiting).text, "late");
});

test("a client that has asked and gives no sign of life for a minute and a half has left; one that answers a PING has not", async (t) => {
  const now = performance.now.bind(performance);
  let later = 0;
  t.mock.method(performance, "now", () => now() + later);
  t.mock.timers.enable({ apis: ["setInterval"] });
  let asked = 0;
  let left = 0;
  const answers: (() => void)[] = [];
  const origin = createServer((request, response) => {
    asked += 1;
    if (request.url === "/dead") response.on("close", () => (left += 1));
    else answers.push(() => void response.end("late"));
  });
  const at = await startH2Room(t, [{ upstream: { port: await listening(t, origin) } }]);
  const living = ask(at.connect(), { ":path": "/living" });
  const dead = new H2Wire(await at.socket());
  const head = block([
    [":method", "GET"],
    [":scheme", "https"],
    [":path", "/dead"],
    [":authority", h2Name],
  ]);
  dead.open();
  dead.write(frame(frameType.headers, flag.endHeaders | flag.endStream, 1, head));
  await eventually("both are asked", () => asked === 2, patienceMs);
  const pass = async (ms: number): Promise<void> => {
    later += ms;
    t.mock.timers.tick(1_000);
    for (let turns = 0; turns < 20; turns += 1)
      await new Promise((resolve) => setImmediate(resolve));
  };
  // What moved until now is seen first.
  await pass(0);
  await pass(30_000);
  await dead.until(
    "PING",
    () =>
      dead.frames.some(({ type, flags }) => type === frameType.ping && (flags & flag.ack) === 0),
    patienceMs,
  );
  await pass(1_000);
  await pass(58_000);
  assert.equal(left, 0);
  await pass(2_000);
  await eventually("the upstream hears that it has left", () => left === 1, patienceMs);
  for (const answer of answers) answer();
  assert.equal((await living).text, "late");
});
