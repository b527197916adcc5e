// With `detail: Full` what is recorded of bodies has one bound, however many there are and however long they go on.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { test } from "node:test";

import { sha256 } from "../../contract/canonical.ts";
import { maxKeptBytes, uncountedTextBytes } from "../../proxy/http/body-budget.ts";
import { eventually, send, startRoom } from "./http-proxy-fixture.ts";

const open = 1_000;
const sent = "q".repeat(48 * 1024);
const said = "a".repeat(48 * 1024);

test("1,000 endless bodies each way keep what all may together; the rest is recorded by digest and size, and the next ones have room again", async (t) => {
  let arrived = 0;
  const server = createServer((request, response) => {
    if (request.url === "/after") {
      response.writeHead(200, { "content-type": "text/plain" }).end("whole");
      request.resume();
      return;
    }
    response.writeHead(200, { "content-type": "text/plain" });
    response.write(said);
    request.on("error", () => {});
    request.on("data", (chunk: Buffer) => (arrived += chunk.length));
  });
  server.listen(0, "127.0.0.1", 2 * open);
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const room = await startRoom(t, [{ upstream: { port: address.port }, detail: "Full" }]);
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const sockets: Socket[] = [];
  let heard = 0;
  for (let at = 0; at < open; at += 1) {
    const socket = connect(room.port, "127.0.0.1");
    sockets.push(socket);
    socket.on("error", () => {});
    socket.on("data", (chunk) => (heard += chunk.length));
    socket.write(
      `POST /endless HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n${sent.length.toString(16)}\r\n${sent}\r\n`,
    );
  }
  await eventually(
    "all of it has passed",
    () => arrived === open * sent.length && heard >= open * said.length,
    60_000,
  );
  for (const socket of sockets) socket.destroy();
  await eventually("all are recorded", () => room.operations().length === open, 30_000);

  const contents = room.operations().flatMap((one) => one.contents);
  assert.equal(contents.length, 2 * open);
  const counted = contents.reduce(
    (sum, { text }) => sum + Math.max(0, text.length - uncountedTextBytes),
    0,
  );
  assert.ok(counted <= maxKeptBytes, `${counted} bytes are kept`);
  const cut = contents.filter(({ truncated }) => truncated === true);
  assert.ok(cut.length > open, `${cut.length} found no room`);
  for (const { part, text, whole } of cut) {
    const all = part === "request" ? sent : said;
    assert.ok(all.startsWith(text) && text.length >= uncountedTextBytes);
    assert.deepEqual(whole, { sha256: sha256(all), bytes: all.length });
  }
  assert.ok(
    contents.every(({ text, truncated }) => truncated === true || text.length === 48 * 1024),
  );

  await send(room, {
    method: "POST",
    path: "/after",
    headers: { "content-type": "text/plain" },
    body: sent,
  });
  assert.equal(room.operations().at(-1)?.contents[0]?.text, sent);
});
