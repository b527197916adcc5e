// What an agent can send to hurt: memory stays bounded, the answer is a proper error, the other sessions go on, and an event says what happened.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { serialize } from "pg-protocol";
import { message, readyForQuery } from "../../proxy/postgres/messages.ts";
import { startFakeUpstream } from "./postgres-fake-upstream.ts";
import type { FakeUpstream } from "./postgres-fake-upstream.ts";
import { canMeasure, startProxyProcess } from "./postgres-proxy-process.ts";
import type { ProxyProcess } from "./postgres-proxy-process.ts";
import { errorsOf, field, rawClient, typesOf } from "./postgres-proxy-raw.ts";
import type { RawClient } from "./postgres-proxy-raw.ts";

/** What the container beside an agent may have (operator/injection/template.ts). */
const containerMiB = 256;
/** As many sessions as an attacker may want; each needs two sockets of the proxy. */
const sessions = 150;
const mebibyte = 1024 * 1024;

let upstream: FakeUpstream;
let proxy: ProxyProcess;

/** Answers a ping, sends rows for ever when asked for a flood, and leaves everything else without an answer. */
function answer(socket: Socket, chunk: Buffer): void {
  if (chunk.includes("SELECT 'ping'"))
    socket.write(Buffer.concat([message(0x43, Buffer.from("SELECT 0\0")), readyForQuery("I")]));
  else if (chunk.includes("SELECT 'flood'")) {
    const cell = Buffer.alloc(32 * 1024, "x");
    const head = Buffer.from([0, 1, 0, 0, 0x80, 0]);
    const row = message(0x44, Buffer.concat([head, cell]));
    const more = (): void => {
      while (!socket.destroyed && socket.write(row));
    };
    socket.on("drain", more);
    more();
  }
}

// A process of its own for each attack: the most memory it ever had is what that attack cost.
beforeEach(async () => {
  upstream = await startFakeUpstream(() => ({ onBytes: answer }));
  proxy = await startProxyProcess(upstream);
});

afterEach(async () => {
  await proxy?.stop();
  await upstream?.close();
});

async function many(count: number): Promise<RawClient[]> {
  const raws: RawClient[] = [];
  for (let at = 0; at < count; at += 1) raws.push(await rawClient(proxy.port));
  return raws;
}

/** Another session is served as if nothing was. */
async function assertServes(): Promise<void> {
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("SELECT 'ping'"));
  assert.equal(typesOf(await raw.ready()), "CZ");
  raw.socket.destroy();
}

function assertBounded(): void {
  if (process.env["BAD_INPUT_SHOW"]) process.stderr.write(`MiB ${proxy.peakMiB()}\n`);
  assert.ok(proxy.alive());
  if (canMeasure) assert.ok(proxy.peakMiB() < containerMiB, `${proxy.peakMiB()} MiB`);
}

/** Every upstream session but `left` ends with its client's. */
async function gone(raws: readonly RawClient[], left = 0): Promise<void> {
  for (const { socket } of raws) socket.destroy();
  const deadline = Date.now() + 20_000;
  while (upstream.open() > left && Date.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(upstream.open(), left);
}

/** Waits until nothing more is taken from these clients, or all was. */
async function sent(raws: readonly RawClient[]): Promise<void> {
  let before = -1;
  for (let left = Number.NaN; left !== before;) {
    before = left;
    await new Promise((resolve) => setTimeout(resolve, 300));
    left = raws.reduce((sum, { socket }) => sum + socket.writableLength, 0);
  }
}

test("150 half-sent statements of 1 MB fit into the container, and who does not finish is told", async () => {
  const raws = await many(sessions);
  const half = serialize.query(`SELECT '${"x".repeat(mebibyte - 100)}'`).subarray(0, -100);
  for (const raw of raws) raw.send(half);
  await sent(raws);
  await assertServes();
  const refused = await Promise.any(raws.map((raw) => raw.until(() => raw.closed)));
  assert.deepEqual(errorsOf(refused), ["54000"]);
  const [error] = refused;
  assert.match(
    error === undefined ? "" : (field(error, "M") ?? ""),
    /32 MiB of unfinished messages/,
  );
  assertBounded();
  await gone(raws);
  assert.ok(((await proxy.causes())["session-end LimitExceeded"] ?? 0) > 0);
});

test("half-sent parameters of 8 MiB do as well, and a whole one passes once there is room", async () => {
  const raws = await many(20);
  const parse = serialize.parse({ text: "SELECT $1", types: [17] });
  const bind = serialize.bind({ values: [Buffer.alloc(7 * mebibyte)] });
  for (const raw of raws) raw.send(parse, bind.subarray(0, -1), serialize.flush().subarray(0, 0));
  await sent(raws);
  await assertServes();
  const [patient] = await many(1);
  assert.ok(patient !== undefined);
  patient.send(serialize.query(`SELECT 'ping' -- ${"x".repeat(500_000)}`));
  assert.equal(patient.answers.length, 0);
  await gone(raws, 1);
  assertBounded();
  assert.match(typesOf(await patient.ready()), /^[CE]Z$/);
  await gone([patient]);
});

test("a flood of prepared statements is refused at its bound, over all sessions", async () => {
  const raws = await many(8);
  await Promise.all(
    raws.map(async (raw, session) => {
      // Together more than twice what all sessions may keep.
      for (let batch = 0; batch < 6; batch += 1) {
        const parts = Array.from({ length: 1_000 }, (_, at) => {
          const name = `s${session}_${batch}_${at}`;
          return serialize.parse({ name, text: `SELECT a AS ${name} FROM t${name}` });
        });
        raw.send(...parts);
        await sent([raw]);
      }
    }),
  );
  await assertServes();
  assertBounded();
  await gone(raws);
});

test("junk that keeps small requests company does not stay in memory with them", async () => {
  const raws = await many(20);
  const junk = serialize.copyData(Buffer.alloc(60_000));
  const request = Buffer.concat([
    serialize.bind({}),
    serialize.describe({ type: "P" }),
    serialize.execute({}),
    junk,
  ]);
  for (const raw of raws) raw.send(serialize.parse({ text: "SELECT 1" }));
  for (let round = 0; round < 6; round += 1) {
    for (const raw of raws) raw.send(...Array.from({ length: 5 }, () => request));
    await sent(raws);
  }
  await assertServes();
  assertBounded();
  await gone(raws);
});

test("floods of Sync, Flush and empty queries to a server that does not answer are bounded", async () => {
  for (const part of [serialize.sync(), serialize.flush(), serialize.query("")]) {
    const raws = await many(10);
    const flood = Buffer.concat(Array.from({ length: 40_000 }, () => part));
    for (const raw of raws) raw.send(flood);
    await sent(raws);
    await assertServes();
    assertBounded();
    // Nobody reads these clients, so that they left is seen when the server answers, or goes.
    upstream.cut();
    await Promise.all(raws.map((raw) => raw.until(() => raw.closed)));
  }
});

test("clients that never read hold the server back, not the memory", async () => {
  const raws = await many(40);
  for (const raw of raws) {
    raw.socket.pause();
    raw.send(serialize.query("SELECT 'flood'"));
  }
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  await assertServes();
  assertBounded();
  await gone(raws);
});

test("sessions that say nothing, or not enough, hold no other up", async () => {
  await proxy.stop();
  proxy = await startProxyProcess(upstream, 2_000);
  const silent = await Promise.all(
    Array.from({ length: sessions }, async (_, at) => {
      const socket = connect({ port: proxy.port, host: "127.0.0.1" });
      socket.on("error", () => undefined);
      await once(socket, "connect");
      if (at % 2 === 1) socket.write(Buffer.from([0, 0, 0]));
      return socket;
    }),
  );
  await assertServes();
  assertBounded();
  // The deadline of the startup, one byte a time or none.
  const drip = setInterval(() => {
    for (const socket of silent) if (socket.writable) socket.write("\0");
  }, 300);
  drip.unref();
  await Promise.all(
    silent.map((socket) => new Promise((resolve) => socket.once("close", resolve))),
  );
  clearInterval(drip);
  assert.equal((await proxy.causes())["session-start"], 1, "none of them became a session");
});
