import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import {
  type ChainPosition,
  IngestRefused,
  isSuccessor,
  startOf,
  verifyChain,
} from "../../contract/chain.ts";
import type { EventAck, EventBatch } from "../../contract/control.ts";
import type { EventBody, StoredEvent } from "../../contract/event.ts";
import { batchOf, recordsOf } from "../../contract/delivery.ts";
import { createShipper, type Shipper, type ShipperOptions, type SignedBatch } from "./ship.ts";
import { openSpool, type Spool } from "./spool.ts";

const stream = "agents/invoice-7c9d/6f1c";
const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

function spoolIn(where: string): Spool {
  const spool = openSpool({
    directory: where,
    stream,
    limits: { segmentBytes: 2048, recentBytes: 1024 },
  });
  ends.push(() => spool.close());
  return spool;
}

function newSpool(): Spool {
  return spoolIn(newDirectory());
}

function newDirectory(): string {
  const where = mkdtempSync(join(tmpdir(), "ship-"));
  ends.push(async () => rmSync(where, { recursive: true }));
  return where;
}

function shipper(options: Omit<ShipperOptions, "sign">): Shipper {
  const made = createShipper({
    sign: async (hash) => `signed ${hash}`,
    ...options,
    limits: { delayMs: 1, backoffMs: 2, maxBackoffMs: 5, ...options.limits },
  });
  ends.push(() => made.close());
  return made;
}

const body = (n: number): EventBody => ({
  session: "s1",
  operation: { kind: "sql", summary: `SELECT ${n}` },
});

const received = (batch: SignedBatch): EventBatch =>
  batchOf({ ...batch, records: recordsOf(batch.lines) });

/** What the operator promises of POST /v1/events, in memory. */
class Operator {
  readonly streams = new Map<string, StoredEvent[]>();
  readonly heads: string[] = [];
  inFlight = 0;
  mostInFlight = 0;

  readonly take = async (batch: SignedBatch): Promise<EventAck> => {
    this.inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
    await new Promise((resolve) => setImmediate(resolve));
    this.inFlight -= 1;
    return this.ingest(received(batch));
  };

  ingest(batch: EventBatch): EventAck {
    const held = this.streams.get(batch.stream) ?? [];
    const at = position(batch.stream, held);
    const refuse = (
      code: "SequenceGap" | "StreamConflict" | "AlteredEvent",
      message: string,
    ): never => {
      throw new IngestRefused({ code, stream: batch.stream, expected: at.seq + 1, message });
    };
    for (const event of batch.events) {
      const same = held.find((known) => known.header.seq === event.header.seq);
      if (same !== undefined && same.hash !== event.hash) refuse("StreamConflict", "other events");
    }
    const fresh = batch.events.filter((event) => event.header.seq > at.seq);
    const { fault } = verifyChain(fresh, at);
    if (fault !== undefined)
      refuse(fault.kind === "gap" ? "SequenceGap" : "AlteredEvent", fault.message);
    this.streams.set(batch.stream, [...held, ...fresh]);
    this.heads.push(batch.head);
    return { acknowledged: position(batch.stream, this.streams.get(batch.stream) ?? []).seq };
  }

  summaries(): readonly string[] {
    return [...this.streams.values()]
      .flat()
      .flatMap((event) => event.body.operation?.summary ?? []);
  }
}

function position(name: string, events: readonly StoredEvent[]): ChainPosition {
  const last = events.at(-1);
  return last === undefined
    ? startOf(name)
    : { stream: name, seq: last.header.seq, hash: last.hash };
}

const statements = (from: number, to: number): readonly string[] =>
  Array.from({ length: to - from + 1 }, (_, index) => `SELECT ${index + from}`);

test("an event is sent within 100 ms, signed at its head, and its room is freed", async () => {
  const spool = newSpool();
  const operator = new Operator();
  let sent = 0;
  const made = createShipper({
    spool,
    sign: async (hash) => `signed ${hash}`,
    send: async (batch) => {
      sent = performance.now();
      return operator.take(batch);
    },
  });
  ends.push(() => made.close());
  const delays: number[] = [];
  for (let n = 1; n <= 5; n += 1) {
    const start = performance.now();
    spool.append("operation", body(n));
    while (spool.acknowledgedSeq < n) await new Promise((resolve) => setTimeout(resolve, 1));
    delays.push(sent - start);
  }
  // The quickest of five: a busy machine may hold up any one of them, but not make a slow shipper quick.
  assert.ok(Math.min(...delays) < 100, delays.join(" "));
  const events = operator.streams.get(stream) ?? [];
  assert.deepEqual(
    operator.heads,
    events.map((event) => `signed ${event.hash}`),
  );
});

test("everything arrives once and in order, in bounded batches, one in flight", async () => {
  const spool = newSpool();
  const operator = new Operator();
  let largest = 0;
  const ship = shipper({
    spool,
    limits: { batchEvents: 16 },
    send: async (batch) => {
      largest = Math.max(largest, batch.last - batch.first + 1);
      return operator.take(batch);
    },
  });
  for (let n = 1; n <= 200; n += 1) {
    spool.append("operation", body(n));
    if (n % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(await ship.flush(5_000), { unshipped: 0 });
  assert.deepEqual(operator.summaries(), statements(1, 200));
  assert.ok(largest <= 16);
  assert.equal(operator.mostInFlight, 1);
  assert.deepEqual([ship.status().unshipped, ship.status().shippedEvents], [0, 200]);
});

test("what a process could not ship, the next one does", async () => {
  const where = newDirectory();
  const first = spoolIn(where);
  for (let n = 1; n <= 30; n += 1) first.append("operation", body(n));
  await first.close();
  const operator = new Operator();
  const ship = shipper({ spool: spoolIn(where), send: operator.take });
  await ship.flush(5_000);
  assert.deepEqual(operator.summaries(), statements(1, 30));
});

const faults: Record<
  string,
  (send: (batch: EventBatch) => Promise<EventAck>, batch: EventBatch) => Promise<EventAck>
> = {
  "fails before the operator": async () => Promise.reject(new Error("connection refused")),
  "commits, but the answer is lost": async (send, batch) =>
    send(batch).then(() => Promise.reject(new Error("socket hang up"))),
  "never answers": () => new Promise(() => {}),
  "acknowledges a part": async (send, batch) => {
    const half = batch.events.slice(0, Math.ceil(batch.events.length / 2));
    return send({ ...batch, events: half });
  },
  "acknowledges nothing": async (_send, batch) => ({
    acknowledged: (batch.events[0]?.header.seq ?? 1) - 1,
  }),
  "acknowledges more than was sent": async (send, batch) => ({
    acknowledged: (await send(batch)).acknowledged + 1_000_000,
  }),
  "delivers twice": async (send, batch) => send(batch).then(() => send(batch)),
  "answers nonsense": async () => JSON.parse('{"acknowledged":"7"}') as EventAck,
};

for (const [name, fault] of Object.entries(faults)) {
  test(`a delivery that ${name} every other time loses and repeats nothing`, async () => {
    const spool = newSpool();
    const operator = new Operator();
    let attempts = 0;
    const ship = shipper({
      spool,
      limits: { batchEvents: 10, sendTimeoutMs: 20 },
      send: async (batch) => {
        attempts += 1;
        return attempts % 2 === 1
          ? fault(async (one) => operator.ingest(one), received(batch))
          : operator.take(batch);
      },
    });
    for (let n = 1; n <= 60; n += 1) spool.append("operation", body(n));
    while (ship.status().unshipped > 0) await new Promise((resolve) => setTimeout(resolve, 2));
    assert.deepEqual(operator.summaries(), statements(1, 60));
    assert.deepEqual([...operator.streams.keys()], [stream]);
    assert.equal(spool.acknowledgedSeq, 60);
  });
}

test("failures back off, are visible, and a nudge ends the wait", async () => {
  const spool = newSpool();
  const operator = new Operator();
  let working = false;
  let attempts = 0;
  const ship = shipper({
    spool,
    limits: { backoffMs: 60_000, maxBackoffMs: 60_000 },
    random: () => 1,
    send: async (batch) => {
      attempts += 1;
      return working ? operator.take(batch) : Promise.reject(new Error("no grant yet"));
    },
  });
  spool.append("operation", body(1));
  while (ship.status().failure === undefined) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.deepEqual(
    [attempts, ship.status().failure, ship.status().failures],
    [1, "no grant yet", 1],
  );
  working = true;
  ship.nudge();
  while (ship.status().unshipped > 0) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ship.status().failure, undefined);
});

test("flush ends at its deadline and says how much stays behind", async () => {
  const spool = newSpool();
  const ship = shipper({ spool, send: () => new Promise(() => {}) });
  for (let n = 1; n <= 5; n += 1) spool.append("operation", body(n));
  const start = performance.now();
  assert.deepEqual(await ship.flush(50), { unshipped: 5 });
  assert.ok(performance.now() - start < 1_000);
});

test("an operator that holds other events under this stream gets them under a successor", async () => {
  const operator = new Operator();
  const former = newSpool();
  former.append("operation", body(100));
  former.append("operation", body(101));
  const before = shipper({ spool: former, send: operator.take });
  await before.flush(5_000);
  const spool = newSpool();
  const ship = shipper({ spool, send: operator.take });
  for (let n = 1; n <= 3; n += 1) spool.append("operation", body(n));
  await ship.flush(5_000);
  await ship.flush(5_000);
  assert.deepEqual([...operator.streams.keys()], [stream, `${stream}.1`]);
  assert.deepEqual(
    operator.streams.get(`${stream}.1`)?.map((event) => event.header.type),
    ["operation", "operation", "operation", "gap"],
  );
  assert.equal(operator.streams.get(`${stream}.1`)?.[3]?.body.gap?.from, 3);
  assert.equal(ship.status().restarts, 1);
});

test("an operator that lost its store gets what the spool still has, and the rest is stated as a gap", async () => {
  const spool = newSpool();
  let operator = new Operator();
  const ship = shipper({ spool, send: (batch) => operator.take(batch) });
  for (let n = 1; n <= 40; n += 1) spool.append("operation", body(n));
  await ship.flush(5_000);
  assert.ok(spool.oldestSeq > 1);
  operator = new Operator();
  spool.append("operation", body(41));
  await ship.flush(5_000);
  await ship.flush(5_000);
  const [name = "", events = []] = [...operator.streams][0] ?? [];
  assert.ok(isSuccessor(name));
  assert.deepEqual(
    events.map((event) => event.header.type),
    ["operation", "gap"],
  );
  assert.deepEqual([events[1]?.body.gap?.from, events[1]?.body.gap?.to], [1, 40]);
});

test("an operator that loses its store again and again gets everything each time", async () => {
  const spool = newSpool();
  let operator = new Operator();
  const ship = shipper({ spool, send: (batch) => operator.take(batch) });
  for (let loss = 1; loss <= 12; loss += 1) {
    operator = new Operator();
    for (let n = 1; n <= 20; n += 1) spool.append("operation", body(n));
    const until = performance.now() + 5_000;
    while (ship.status().unshipped > 0 && performance.now() < until)
      await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal(ship.status().unshipped, 0, `loss ${loss}: ${ship.status().failure ?? ""}`);
    assert.deepEqual(operator.summaries().slice(-20), statements(1, 20));
  }
  assert.ok(ship.status().restarts > 8);
});

test("an operator whose store was set back a little is brought up to date from the spool", async () => {
  const spool = newSpool();
  const operator = new Operator();
  const ship = shipper({ spool, send: operator.take });
  for (let n = 1; n <= 4; n += 1) spool.append("operation", body(n));
  await ship.flush(5_000);
  operator.streams.set(stream, (operator.streams.get(stream) ?? []).slice(0, 2));
  spool.append("operation", body(5));
  await ship.flush(5_000);
  assert.deepEqual(operator.summaries(), statements(1, 5));
  assert.equal(ship.status().restarts, 0);
});

test("an event that was altered on the disk is not sent; the others are, and the gap is stated", async () => {
  const where = newDirectory();
  const first = spoolIn(where);
  for (let n = 1; n <= 30; n += 1) first.append("operation", body(n));
  await first.close();
  const [oldest = ""] = readdirSync(where)
    .filter((file) => file.endsWith(".seg"))
    .sort();
  const file = join(where, oldest);
  writeFileSync(file, readFileSync(file, "utf8").replace("SELECT 2", "SELECT 9"));
  const operator = new Operator();
  const ship = shipper({ spool: spoolIn(where), send: operator.take });
  await ship.flush(5_000);
  await ship.flush(5_000);
  assert.equal(operator.streams.has(stream), false);
  const events = operator.streams.get(`${stream}.1`) ?? [];
  assert.deepEqual(
    events.map((event) => event.body.operation?.summary ?? event.header.type),
    ["SELECT 1", "gap", ...statements(3, 30), "gap"],
  );
});

test("whatever byte of a segment is altered after it was written, everything else arrives and the gap is stated", async () => {
  for (let round = 0; round < 10; round += 1) {
    const where = newDirectory();
    const spool = spoolIn(where);
    // More than is kept in memory, and the last segment begun.
    for (let n = 1; n <= 30; n += 1) await spool.appendDurably("operation", body(n));
    const [oldest = ""] = readdirSync(where)
      .filter((file) => file.endsWith(".seg"))
      .sort();
    const file = join(where, oldest);
    const bytes = readFileSync(file);
    const at = Math.floor(Math.random() * bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 + Math.floor(Math.random() * 255));
    writeFileSync(file, bytes);
    const operator = new Operator();
    const ship = shipper({ spool, send: operator.take });
    await ship.flush(5_000);
    await ship.flush(5_000);
    const events = [...operator.streams.values()].flat();
    const arrived = new Set(events.flatMap((event) => event.body.operation?.summary ?? []));
    const missing = statements(1, 30).filter((statement) => !arrived.has(statement));
    const gaps = events.filter((event) => event.header.type === "gap");
    const place = `byte ${at} of ${bytes.length}`;
    assert.equal(ship.status().unshipped, 0, `${place}: ${ship.status().failure ?? ""}`);
    // A byte that is no newline any more, or has become one, takes a neighbour with it; the first line holds no event.
    assert.ok(missing.length <= 2, `${place}: ${missing.join()} missing`);
    assert.ok(missing.length === 0 || gaps.length > 0, `${place}: ${missing.join()} unsaid`);
    await ship.close();
    await spool.close();
  }
});

test("the bytes of a delivery that hangs stay what they are, however much is recorded meanwhile", async () => {
  const spool = newSpool();
  const sent: { readonly lines: readonly Buffer[]; readonly text: string }[] = [];
  const hangs = shipper({
    spool,
    limits: { sendTimeoutMs: 30 },
    send: async ({ lines }) => {
      sent.push({ lines, text: Buffer.concat([...lines]).toString() });
      return await new Promise(() => {});
    },
  });
  spool.append("operation", body(0));
  while (sent.length < 3) {
    for (let n = 1; n <= 100; n += 1) await spool.appendDurably("operation", body(n));
    await hangs.flush(20);
  }
  for (let n = 1; n <= 3_000; n += 1) {
    spool.append("operation", body(n));
    if (n % 500 === 0) await spool.appendDurably("operation", body(n));
  }
  for (const { lines, text } of sent) assert.equal(Buffer.concat([...lines]).toString(), text);
});

test("refusals that no new stream cures do not start streams for ever", async () => {
  const spool = newSpool();
  const ship = shipper({
    spool,
    limits: { backoffMs: 1, maxBackoffMs: 1 },
    send: async (batch) => {
      throw new IngestRefused({
        code: "AlteredEvent",
        stream: batch.stream,
        expected: 1,
        message: "no",
      });
    },
  });
  spool.append("operation", body(1));
  while (ship.status().failures < 20) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ship.status().restarts, 8);
  assert.equal(spool.stream, `${stream}.8`);
});
