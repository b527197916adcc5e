// Fields of an answer that say how long it is, where no length may stand: an agent whose reader believed one would take another answer out of the same bytes.
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { once } from "node:events";
import { test, type TestContext } from "node:test";

import { ask, h2Name, startH2Room } from "./http2-fixture.ts";
import { raw, startRoom } from "./http-proxy-fixture.ts";

/** Answers every request with these bytes. */
async function says(t: TestContext, bytes: string): Promise<{ readonly port: number }> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", () => socket.write(bytes, "latin1"));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return { port: address.port };
}

const get = "GET / HTTP/1.1\r\nHost: target\r\n\r\n";
const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const early = `HTTP/1.1 103 Early Hints\r\nContent-Length: 20\r\nLink: </a>\r\n\r\n${ok}`;
const empty = "HTTP/1.1 204 No Content\r\nContent-Length: 20\r\nX-Kept: 1\r\n\r\n";
const trailed =
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" +
  "Content-Length: 20\r\nContent-Encoding: gzip\r\nHost: other\r\nSet-Cookie: a=b\r\nX-Sum: 1\r\n\r\n";

test("an informational answer passes without a length", async (t) => {
  const upstream = await says(t, early);
  const { port } = await startRoom(t, [{ upstream }]);
  const text = await raw(port, get);
  assert.match(text, /^HTTP\/1\.1 103 Early Hints\r\nlink: <\/a>\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
  const room = await startH2Room(t, [{ upstream }]);
  assert.equal((await ask(room.connect(), { ":authority": h2Name })).text, "ok");
});

test("a 204 passes without the length that it said", async (t) => {
  const upstream = await says(t, empty);
  const { port } = await startRoom(t, [{ upstream }]);
  const text = await raw(port, get);
  assert.match(text, /^HTTP\/1\.1 204 No Content\r\nx-kept: 1\r\n/);
  assert.doesNotMatch(text, /content-length/);
  const room = await startH2Room(t, [{ upstream }]);
  const answer = await ask(room.connect(), { ":authority": h2Name });
  assert.deepEqual([answer.status, answer.headers["x-kept"]], [204, "1"]);
});

test("behind an answer stands nothing that only its head can say", async (t) => {
  const upstream = await says(t, trailed);
  const { port } = await startRoom(t, [{ upstream }]);
  const text = await raw(port, get);
  assert.match(text, /\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n$/);
  const room = await startH2Room(t, [{ upstream }]);
  const answer = await ask(room.connect(), { ":authority": h2Name });
  assert.deepEqual([answer.text, Object.keys(answer.trailers)], ["ok", ["x-sum"]]);
});
