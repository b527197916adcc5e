// What an agent can send to hurt: memory stays bounded, the answer is a proper error, the other sessions go on, and an event says what happened.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { serialize } from "pg-protocol";
import { errorResponse, message, readyForQuery } from "../../proxy/postgres/messages.ts";
import { startFakeUpstream } from "./postgres-fake-upstream.ts";
import type { FakeUpstream } from "./postgres-fake-upstream.ts";
import { canMeasure, startProxyProcess } from "./postgres-proxy-process.ts";
import type { ProxyProcess } from "./postgres-proxy-process.ts";
import { errorsOf, field, rawClient, typesOf } from "./postgres-proxy-raw.ts";
import type { Answer, RawClient } from "./postgres-proxy-raw.ts";

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

/** Answers each Parse and Sync, and refuses each Execute: only the proxy's own, of a portal that is none, comes. */
function answersParses(): (socket: Socket, chunk: Buffer) => void {
  let rest = Buffer.alloc(0);
  const said = new Map([
    [0x50, message(0x31, Buffer.alloc(0))],
    [0x45, errorResponse({ severity: "ERROR", sqlstate: "34000", message: "no such portal" })],
    [0x53, readyForQuery("I")],
    [0x51, Buffer.concat([message(0x43, Buffer.from("SELECT 0\0")), readyForQuery("I")])],
  ]);
  return (socket, chunk) => {
    const bytes = Buffer.concat([rest, chunk]);
    const answers: Buffer[] = [];
    let at = 0;
    for (let end = 0; at + 5 <= bytes.length; at = end) {
      end = at + 1 + bytes.readInt32BE(at + 1);
      if (end > bytes.length) break;
      answers.push(said.get(bytes[at] ?? 0) ?? Buffer.alloc(0));
    }
    rest = bytes.subarray(at);
    socket.write(Buffer.concat(answers));
  };
}

/** Prepares statements, `count` at most, until one is refused. Returns how many were prepared, and the refusal. */
async function flood(
  raw: RawClient,
  session: number,
  count: number,
): Promise<{ readonly prepared: number; readonly refused: Answer | undefined }> {
  let prepared = 0;
  while (prepared < count) {
    const parts = Array.from({ length: 500 }, (_, at) => {
      const name = `s${session}_${prepared + at}`;
      return serialize.parse({ name, text: `SELECT a AS ${name} FROM t${name}` });
    });
    raw.send(...parts, serialize.sync());
    const answers = await raw.ready();
    prepared += answers.filter(({ type }) => type === "1").length;
    const refused = answers.find(({ type }) => type === "E");
    if (refused !== undefined) return { prepared, refused };
  }
  return { prepared, refused: undefined };
}

const why = (refused: Answer | undefined): string[] =>
  refused === undefined ? [] : [field(refused, "C") ?? "", field(refused, "M") ?? ""];

test("a flood of prepared statements is refused at its bound, of a session and over all sessions", async () => {
  await Promise.all([proxy.stop(), upstream.close()]);
  upstream = await startFakeUpstream(() => ({ onBytes: answersParses() }));
  proxy = await startProxyProcess(upstream);
  const raws = await many(8);
  const [one, ...others] = raws;
  assert.ok(one !== undefined);
  const alone = await flood(one, 0, 20_000);
  assert.equal(why(alone.refused)[0], "54000");
  assert.match(
    why(alone.refused)[1] ?? "",
    /of this session exceed 16777216 bytes; close some first/,
  );
  assert.ok(alone.prepared * 2_048 < 16 * mebibyte && alone.prepared > 7_000, `${alone.prepared}`);
  const together = await Promise.all(others.map((raw, at) => flood(raw, at + 1, 7_000)));
  const all = together.reduce((sum, { prepared }) => sum + prepared, alone.prepared);
  assert.ok(all * 2_048 < 48 * mebibyte && all > 21_000, `${all}`);
  for (const { refused } of together) {
    assert.equal(why(refused)[0], "54000");
    assert.match(why(refused)[1] ?? "", /of all sessions of this pod exceed 50331648 bytes/);
  }
  assertBounded();
  // The refused go on, and what ends makes room.
  one.send(serialize.query("SELECT 'ping'"));
  assert.equal(typesOf(await one.ready()), "CZ");
  one.socket.destroy();
  const [other] = others;
  assert.ok(other !== undefined);
  const deadline = Date.now() + 20_000;
  while (upstream.open() > 7 && Date.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal((await flood(other, 9, 500)).prepared, 500);
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
