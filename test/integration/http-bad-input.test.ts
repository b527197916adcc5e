// What an agent, or an upstream, can send to hurt: memory stays bounded, the answer has a right status, the other connections go on, and an event
// says what happened.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { gzipSync } from "node:zlib";

import { readRequest } from "./http-byte-origin.ts";
import { canMeasure, startChild } from "./postgres-proxy-process.ts";
import type { ProxyProcess } from "./postgres-proxy-process.ts";

/** What the container beside an agent may have (operator/injection/template.ts). */
const containerMiB = 256;
const mebibyte = 1024 * 1024;
const allowAll = [{ name: "all", action: "Allow" }];

let origin: Server;
let originPort: number;
/** Connections of the proxy to the origin. */
const upstreams = new Set<Socket>();
/** Bytes that the origin could hand over. */
let flooded = 0;
let proxy: ProxyProcess | undefined;
const clients = new Set<Socket>();

/** Answers a ping, floods where it is asked to, and otherwise reads and says nothing. */
function serve(socket: Socket): void {
  let pending = "";
  upstreams.add(socket);
  socket.on("error", () => undefined);
  socket.on("close", () => upstreams.delete(socket));
  socket.on("data", (chunk) => {
    if (pending.length < mebibyte) pending += chunk.toString("latin1");
    if (pending.startsWith("GET /ping")) {
      const one = readRequest(pending);
      if (one === undefined || one.cut) return;
      pending = pending.slice(one.bytes.length);
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong");
    } else if (pending.startsWith("GET /flood")) {
      pending = "";
      flood(socket, pending === "" ? "text/plain" : "");
    } else if (pending.startsWith("GET /bomb")) {
      pending = "";
      socket.write(
        `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: ${bomb.length}\r\n\r\n`,
      );
      socket.write(bomb);
    } else if (pending.startsWith("POST /sink")) {
      const one = readRequest(pending);
      if (one === undefined || one.cut) return;
      pending = pending.slice(one.bytes.length);
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsunk");
    } else if (pending.startsWith("POST /early")) {
      pending = "";
      socket.write("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
    }
  });
}

/** 200 MB of text. */
function flood(socket: Socket, type: string): void {
  const piece = Buffer.alloc(65_536, "x");
  let left = 200 * mebibyte;
  socket.write(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${left}\r\n\r\n`);
  const more = (): void => {
    while (left > 0 && !socket.destroyed) {
      left -= piece.length;
      flooded += piece.length;
      if (!socket.write(piece)) return;
    }
  };
  socket.on("drain", more);
  more();
}

/** A thousand times as large when it is unpacked. */
const bomb = gzipSync(Buffer.alloc(256 * mebibyte), { level: 9 });

beforeEach(async () => {
  flooded = 0;
  origin = createServer(serve);
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
  const address = origin.address();
  assert.ok(address !== null && typeof address === "object");
  originPort = address.port;
});

afterEach(async () => {
  for (const client of clients) client.destroy();
  clients.clear();
  await proxy?.stop();
  for (const socket of upstreams) socket.destroy();
  origin.close();
});

// A process of its own for each attack: the most memory it ever had is what that attack cost.
async function start(
  protocol: "http" | "openai" = "http",
  rules: readonly object[] = allowAll,
  detail: "Statements" | "Full" = "Statements",
): Promise<ProxyProcess> {
  proxy = await startChild("./http-proxy-child.ts", [
    String(originPort),
    protocol,
    JSON.stringify(rules),
    detail,
  ]);
  return proxy;
}

interface Client {
  readonly socket: Socket;
  text(): string;
  readonly closed: Promise<unknown>;
}

async function client({ port }: ProxyProcess): Promise<Client> {
  const socket = connect(port, "127.0.0.1");
  clients.add(socket);
  let text = "";
  socket.on("error", () => undefined);
  socket.on("data", (chunk) => {
    if (text.length < mebibyte) text += chunk.toString("latin1");
  });
  const closed = new Promise((resolve) => socket.once("close", resolve));
  await once(socket, "connect");
  return { socket, text: () => text, closed };
}

async function many(on: ProxyProcess, count: number): Promise<Client[]> {
  const all: Client[] = [];
  for (let at = 0; at < count; at += 1) all.push(await client(on));
  return all;
}

const H = "Host: a\r\n";

/** Another connection is served as if nothing was. */
async function assertServes(on: ProxyProcess): Promise<void> {
  const one = await client(on);
  one.socket.write(`GET /ping HTTP/1.1\r\n${H}Connection: close\r\n\r\n`);
  await until("an answer", () => one.text().endsWith("pong"));
  assert.match(one.text(), /^HTTP\/1\.1 200 /);
}

function assertBounded(on: ProxyProcess): void {
  if (process.env["BAD_INPUT_SHOW"]) process.stderr.write(`MiB ${on.peakMiB()}\n`);
  assert.ok(on.alive());
  if (canMeasure) assert.ok(on.peakMiB() < containerMiB, `${on.peakMiB()} MiB`);
}

/** The proxy has come round: what is sent to it now, which is no request, has been answered. */
async function turn(on: ProxyProcess): Promise<void> {
  const one = await client(on);
  one.socket.write("?\r\n\r\n");
  await one.closed;
  clients.delete(one.socket);
  assert.match(one.text(), /^HTTP\/1\.1 400 /);
}

/** Waits until the proxy comes round and takes nothing more from these clients, or all was taken. */
async function sent(on: ProxyProcess, all: readonly Client[]): Promise<void> {
  let before = -1;
  for (let left = Number.NaN; left !== before;) {
    before = left;
    await new Promise((resolve) => setTimeout(resolve, 300));
    await turn(on);
    left = all.reduce((sum, { socket }) => sum + socket.writableLength, 0);
  }
}

/** Nothing here is about time: what takes longer than this, on however busy a machine, never happens. */
const hangsMs = 120_000;

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + hangsMs;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function counted(on: ProxyProcess, cause: RegExp): Promise<number> {
  const causes = Object.entries(await on.causes());
  return causes.filter(([name]) => cause.test(name)).reduce((sum, [, count]) => sum + count, 0);
}

test("1,000 clients in the middle of a head, of 30 KB each, fit into the container, and others are served", async () => {
  const on = await start();
  const all = await many(on, 1_000);
  for (const { socket } of all) socket.write(`GET / HTTP/1.1\r\n${H}X-A: ${"x".repeat(30_000)}`);
  await sent(on, all);
  await assertServes(on);
  assertBounded(on);
});

test("200 heads of 1 MB are 431, and each is recorded", async () => {
  const on = await start();
  const head = `GET / HTTP/1.1\r\n${H}X-A: ${"x".repeat(mebibyte)}\r\n\r\n`;
  for (let round = 0; round < 2; round += 1) {
    const all = await many(on, 100);
    for (const { socket } of all) socket.write(head);
    await Promise.all(all.map(({ closed }) => closed));
    for (const one of all) assert.match(one.text(), /^HTTP\/1\.1 431 |^$/);
  }
  await assertServes(on);
  assertBounded(on);
  assert.equal(await counted(on, /^refused TooLarge$/), 200);
});

test("1,000 bodies that never end hold what they may, and others are served", async () => {
  const on = await start();
  const all = await many(on, 1_000);
  for (const [at, { socket }] of all.entries()) {
    // Some known before they are sent on, some that stream, some in chunks.
    const framing =
      at % 3 === 0
        ? "Content-Length: 65000"
        : at % 3 === 1
          ? "Content-Length: 10000000"
          : "Transfer-Encoding: chunked";
    const start_ = at % 3 === 2 ? "fa00\r\n" : "";
    socket.write(
      `POST /drip HTTP/1.1\r\n${H}Content-Type: text/plain\r\n${framing}\r\n\r\n${start_}${"x".repeat(60_000)}`,
    );
  }
  await sent(on, all);
  await assertServes(on);
  assertBounded(on);
  for (const { socket } of all) socket.destroy();
  await until("the upstream hears of it", () => upstreams.size <= 1);
});

test("150 bodies of 1 MB that an approval would bind to are bounded together, and who does not fit in is told", async () => {
  const hold = { name: "ask", action: "RequireApproval", http: { methods: ["POST"] } };
  const on = await start("http", [...allowAll, hold]);
  const all = await many(on, 150);
  for (const { socket } of all)
    socket.write(
      `POST /held HTTP/1.1\r\n${H}Content-Length: ${mebibyte}\r\n\r\n${"x".repeat(mebibyte - 10)}`,
    );
  await sent(on, all);
  await assertServes(on);
  assertBounded(on);
  await until("a refusal", () => all.some((one) => one.text().startsWith("HTTP/1.1 429 ")));
});

test("1,000 bodies of 1 MB that an approval would bind to, sent on when they are refused, hold what they may, and others are served", async () => {
  const hold = { name: "ask", action: "RequireApproval", http: { methods: ["POST"] } };
  const on = await start("http", [...allowAll, hold]);
  const all = await many(on, 1_000);
  const size = 1_000_000;
  for (const { socket } of all) {
    socket.write(`POST /held HTTP/1.1\r\n${H}Content-Length: ${size}\r\n\r\n`);
    socket.write(Buffer.alloc(size - 10, "x"));
  }
  const refused = (): number => all.filter((one) => one.text().startsWith("HTTP/1.1 429 ")).length;
  // What the held ones leave room for: whoever is not among them hears so.
  const fit = Math.ceil((32 * mebibyte) / (size - 65_536));
  await until("all others are refused", () => refused() >= 1_000 - fit);
  await sent(on, all);
  await assertServes(on);
  assertBounded(on);
  assert.equal(await counted(on, /^refused LimitExceeded/), refused());
});

test("100 prompts of 4 MB are bounded together too", async () => {
  const on = await start("openai");
  const all = await many(on, 100);
  const size = 4 * mebibyte - 100;
  for (const { socket } of all)
    socket.write(
      `POST /chat/completions HTTP/1.1\r\n${H}Content-Type: application/json\r\nContent-Length: ${size}\r\n\r\n{"model":"x","p":"${"x".repeat(size - 1000)}`,
    );
  await sent(on, all);
  const one = await client(on);
  one.socket.write(`GET /models HTTP/1.1\r\n${H}Connection: close\r\n\r\n`);
  await until("the origin is asked", () => upstreams.size > 0);
  assertBounded(on);
  await until("a refusal", () => all.some((other) => other.text().startsWith("HTTP/1.1 403 ")));
});

test("40 clients that do not read 200 MB each hold the upstream back, not the memory", async () => {
  const on = await start();
  const all = await many(on, 40);
  for (const { socket } of all) {
    socket.pause();
    socket.write(`GET /flood HTTP/1.1\r\n${H}\r\n`);
  }
  let before = -1;
  for (; before !== flooded; await new Promise((resolve) => setTimeout(resolve, 300)))
    before = flooded;
  assert.ok(flooded < 40 * 24 * mebibyte, `${flooded} bytes were taken`);
  await assertServes(on);
  assertBounded(on);
  for (const { socket } of all) socket.destroy();
  await until("the upstream's sides are closed", () => upstreams.size <= 1);
  await until("all are recorded", async () => (await counted(on, /ClientGone/)) === 40);
});

test("a compressed bomb passes as it is, either way: nothing here unpacks it", async () => {
  const on = await start("http", allowAll, "Full");
  const one = await client(on);
  let received = 0;
  one.socket.on("data", (chunk: Buffer) => (received += chunk.length));
  one.socket.write(`GET /bomb HTTP/1.1\r\n${H}\r\n`);
  await until("the bomb arrives packed", () => received > bomb.length);
  assert.match(one.text(), /\r\ncontent-encoding: gzip\r\n/i);
  one.socket.write(
    `POST /sink HTTP/1.1\r\n${H}Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: ${bomb.length}\r\n\r\n`,
  );
  one.socket.write(bomb);
  await until("its answer", () => received > bomb.length + 200);
  await assertServes(on);
  assertBounded(on);
  if (canMeasure) assert.ok(on.peakMiB() < 160, `${on.peakMiB()} MiB`);
});

test("a packed prompt is unpacked no further than a prompt may be long, and refused", async () => {
  const on = await start("openai");
  const one = await client(on);
  one.socket.write(
    `POST /chat/completions HTTP/1.1\r\n${H}Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: ${bomb.length}\r\n\r\n`,
  );
  one.socket.write(bomb);
  await until("an answer", () => one.text() !== "");
  assert.match(one.text(), /^HTTP\/1\.1 413 /);
  assertBounded(on);
  assert.equal(upstreams.size, 0);
});

test("an upstream that answers before the request ends is heard, and the rest of the body is nobody's request", async () => {
  const on = await start();
  for (const framing of ["Content-Length: 1000000", "Transfer-Encoding: chunked"]) {
    const one = await client(on);
    one.socket.write(
      `POST /early HTTP/1.1\r\n${H}${framing}\r\n\r\n${framing.startsWith("T") ? "fffff\r\n" : ""}`,
    );
    one.socket.write("x".repeat(100_000));
    await until("the answer", () => one.text().includes("\r\n\r\nno"));
    assert.match(one.text(), /^HTTP\/1\.1 413 /);
    await until("the upstream connection is not used again", () => upstreams.size === 0);
    one.socket.destroy();
  }
  await assertServes(on);
  await until("both are recorded", async () => (await counted(on, /^operation error/)) === 2);
});

test("what an agent sends without reading its answers stays with it", async () => {
  const on = await start();
  const all = await many(on, 20);
  const flood_ = `GET /ping HTTP/1.1\r\n${H}\r\n`.repeat(100_000);
  for (const { socket } of all) {
    socket.pause();
    socket.write(flood_);
  }
  await sent(on, all);
  await assertServes(on);
  assertBounded(on);
});
