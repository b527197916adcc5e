// What the bodies of HTTP/2 can be made to hold: bounded together, within the container, and no other connection hears of it.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { connect as secure } from "node:tls";
import type { TLSSocket } from "node:tls";

import { maxPassingBodies } from "../../proxy/http/body-budget.ts";
import { readRequest } from "./http-byte-origin.ts";
import { ask, h2Name } from "./http2-fixture.ts";
import { canMeasure, startChild } from "./postgres-proxy-process.ts";
import type { ProxyProcess } from "./postgres-proxy-process.ts";

/** What the container beside an agent may have (operator/injection/template.ts). */
const containerMiB = 256;
/** Nothing here is about time: what takes longer than this, on however busy a machine, never happens. */
const hangsMs = 60_000;
const post = { ":method": "POST", "content-type": "application/json" };

let origin: Server;
let proxy: ProxyProcess | undefined;
const upstreams = new Set<Socket>();
/** Those of them that stopped reading. */
const stuck = new Set<Socket>();
const clients = new Set<TLSSocket>();
const sessions = new Set<ClientHttp2Session>();

/** Answers what ends, and stops reading what does not. */
function serve(socket: Socket): void {
  let pending = "";
  upstreams.add(socket);
  socket.on("error", () => undefined);
  socket.on("close", () => upstreams.delete(socket));
  socket.on("data", (chunk) => {
    if (stuck.has(socket)) return;
    pending += chunk.toString("latin1");
    if (pending.startsWith("POST /stuck")) {
      stuck.add(socket);
      socket.pause();
      return;
    }
    const one = readRequest(pending);
    if (one === undefined || one.cut) return;
    pending = pending.slice(one.bytes.length);
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong");
  });
}

beforeEach(async () => {
  origin = createServer(serve);
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
});

afterEach(async () => {
  for (const session of sessions) session.destroy();
  for (const client of clients) client.destroy();
  sessions.clear();
  clients.clear();
  await proxy?.stop();
  for (const socket of upstreams) socket.destroy();
  stuck.clear();
  origin.close();
});

// A process of its own for each attack: the most memory it ever had is what that attack cost.
async function start(...more: object[]): Promise<ProxyProcess> {
  const address = origin.address();
  assert.ok(address !== null && typeof address === "object");
  const rules = JSON.stringify([{ name: "all", action: "Allow" }, ...more]);
  const args = [String(address.port), "http", rules, "Statements", "h2"];
  proxy = await startChild("./http-proxy-child.ts", args);
  return proxy;
}

function socketTo({ port, ca }: ProxyProcess): TLSSocket {
  const to = { host: "127.0.0.1", port, servername: h2Name, ALPNProtocols: ["h2"] };
  const socket = secure({ ...to, ...(ca !== undefined && { ca }) });
  clients.add(socket);
  socket.on("error", () => undefined);
  return socket;
}

function client(on: ProxyProcess): ClientHttp2Session {
  const session = connect(`https://${h2Name}`, { createConnection: () => socketTo(on) });
  session.on("error", () => undefined);
  sessions.add(session);
  return session;
}

const piece = Buffer.alloc(16_384, "x");

/** Sends for as long as it is taken. */
function endless(session: ClientHttp2Session, path: string): ClientHttp2Stream {
  const stream = session.request({ ...post, ":path": path });
  stream.on("error", () => undefined);
  stream.resume();
  const more = (): void => {
    while (!stream.destroyed && stream.write(piece));
  };
  stream.on("drain", more);
  more();
  return stream;
}

async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMs = hangsMs,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Another connection is served as if nothing was, body and all, and nothing more is taken of the others by then. */
async function settled(on: ProxyProcess, others = [...clients]): Promise<void> {
  const bystander = client(on);
  const sent = (): number =>
    others.reduce((sum, one) => sum + one.bytesWritten - one.writableLength, 0);
  for (let before = -1, now = sent(); now !== before; now = sent()) {
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 500));
    const answer = await ask(bystander, { ...post, ":path": "/ping" }, '{"a":1}');
    assert.equal(answer.text, "pong");
  }
  bystander.close();
}

async function counted(on: ProxyProcess, cause: RegExp): Promise<number> {
  const causes = Object.entries(await on.causes());
  return causes.filter(([name]) => cause.test(name)).reduce((sum, [, count]) => sum + count, 0);
}

function assertBounded(on: ProxyProcess, mib = containerMiB): void {
  if (process.env["BAD_INPUT_SHOW"]) process.stderr.write(`MiB ${on.peakMiB()}\n`);
  assert.ok(on.alive());
  if (canMeasure) assert.ok(on.peakMiB() < mib, `${on.peakMiB()} MiB`);
}

for (const [connections, each] of [
  [10, 70],
  [1, 700],
] as const)
  test(`of ${connections * each} uploads over ${connections} connection(s) that never end, to an upstream that takes none of them, as many pass as may, the others are refused, and who sends little is served`, async () => {
    const on = await start();
    const uploads: ClientHttp2Stream[] = [];
    for (let one = 0; one < connections; one += 1) {
      const session = client(on);
      await once(session, "connect");
      for (let at = 0; at < each; at += 1) uploads.push(endless(session, "/stuck"));
    }
    const others = connections * each - maxPassingBodies;
    const refused = (): Promise<number> => counted(on, /^operation unknown LimitExceeded/);
    await until("the others are refused", async () => (await refused()) >= others);
    await settled(on);
    assert.equal(await refused(), others);
    assertBounded(on);
  });

test("who was refused because too many were sending is told 429, and is served once they have ended", async () => {
  const on = await start();
  const uploads: ClientHttp2Stream[] = [];
  const sessions = [client(on), client(on), client(on)];
  for (const session of sessions) {
    await once(session, "connect");
    const share = Math.ceil(maxPassingBodies / sessions.length);
    for (let at = 0; at < share && uploads.length < maxPassingBodies; at += 1)
      uploads.push(
        session.request({ ...post, ":path": "/stuck", "content-length": String(1024 ** 3) }),
      );
  }
  for (const upload of uploads) upload.on("error", () => undefined).write(piece);
  await until("the upstream has all of them", () => stuck.size === maxPassingBodies);
  const large = "x".repeat(200_000);
  const late = client(on);
  const lengthy = { ...post, ":path": "/ping", "content-length": String(large.length) };
  const refused = await ask(late, lengthy, large);
  assert.equal(refused.status, 429);
  assert.match(refused.text, /256 requests of this pod are still sending their bodies/);
  assert.equal((await ask(late, { ...post, ":path": "/ping" }, "{}")).text, "pong");
  for (const session of sessions) session.destroy();
  // Node may miss that a connection was reset while it wrote; then it is over when it gives no sign of life.
  const isServed = async (): Promise<boolean> => (await ask(late, lengthy, large)).status === 200;
  await until("one of them is over", isServed, 2 * hangsMs);
});

test("bodies that an approval would bind to and that never end hold what they may, who finds no room is refused, and others are served", async () => {
  const on = await start({ name: "ask", action: "RequireApproval", http: { paths: ["/held"] } });
  for (let one = 0; one < 10; one += 1) {
    const session = client(on);
    await once(session, "connect");
    for (let at = 0; at < 70; at += 1) endless(session, "/held");
  }
  await until("one is refused", async () => (await counted(on, /^refused LimitExceeded/)) > 0);
  const answer = await ask(client(on), { ...post, ":path": "/ping" }, '{"a":1}');
  assert.equal(answer.text, "pong");
  await settled(on);
  // More than the container has: seen are 240 to 290. What is held is 115 of it, the rest is what comes and goes and what malloc keeps.
  assertBounded(on, 340);
});
