// What a disk does to a spool besides taking lines: it is full, loses files, harms them, and is full again while that is mended.
import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { startOf } from "../../contract/chain.ts";
import { batchOf, recordsOf } from "../../contract/delivery.ts";
import type { EventBody, StoredEvent } from "../../contract/event.ts";
import { createShipper } from "./ship.ts";
import { openSpool, type Spool, type SpoolLimits } from "./spool.ts";
import { segmentFile, startLine } from "./segments.ts";

const stream = "agents/invoice-7c9d/6f1c";
const limit = { events: 1_000, bytes: 1 << 20 };
const body = (n: number): EventBody => ({
  session: "s1",
  operation: { kind: "sql", summary: `SELECT ${n}` },
});

function directoryFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "spool-faults-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function spoolIn(t: TestContext, directory: string, limits: Partial<SpoolLimits> = {}): Spool {
  const spool = openSpool({ directory, stream, limits: { segmentBytes: 2048, ...limits } });
  t.after(() => spool.close().catch(() => undefined));
  return spool;
}

function segmentsIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(".seg"))
    .sort()
    .map((name) => join(directory, name));
}

async function eventsFrom(
  spool: Spool,
  first: number,
  last = Number.MAX_SAFE_INTEGER,
): Promise<StoredEvent[]> {
  const events: StoredEvent[] = [];
  for (let next = first; next <= last;) {
    const batch = await spool.read(next, limit);
    if (batch === undefined) break;
    events.push(...batchOf({ ...batch, head: "", records: recordsOf(batch.lines) }).events);
    next = batch.last + 1;
  }
  return events;
}

const saying = (events: readonly StoredEvent[]): string[] =>
  events.map(({ header, body: { operation } }) => operation?.summary ?? header.type);

const statements = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, index) => `SELECT ${index + from}`);

test("while nothing can be written, what is on the disk is shipped, which makes room", async (t) => {
  const directory = directoryFor(t);
  const spool = spoolIn(t, directory, { recentBytes: 1 });
  for (let n = 1; n <= 12; n += 1) await spool.appendDurably("operation", body(n));
  // A segment that cannot be begun stops all writing. Which number it is for depends on the length of the lines.
  let last = 12;
  let blocked = "";
  for (let isTaken = true; isTaken;) {
    last += 1;
    blocked = segmentFile(directory, 0, last);
    mkdirSync(blocked);
    isTaken = await spool.appendDurably("operation", body(last)).then(
      () => true,
      () => false,
    );
    if (isTaken) rmdirSync(blocked);
  }
  assert.ok(spool.status().failure !== undefined);
  const durable = spool.status().durableSeq;
  assert.equal(durable, last - 1);
  assert.deepEqual(saying(await eventsFrom(spool, 1, durable)), statements(1, durable));
  await assert.rejects(spool.read(last, limit), { code: "RecordingUnavailable" });
  const before = spool.status().bytes;
  spool.acknowledge(durable);
  assert.ok(spool.status().bytes < before);
  rmdirSync(blocked);
  await spool.room();
  assert.deepEqual(saying(await eventsFrom(spool, durable + 1)), statements(last, last));
});

test("a first line longer than a segment does not begin its segment twice", async (t) => {
  const directory = directoryFor(t);
  // A process that was killed before its first event.
  mkdirSync(directory, { recursive: true });
  writeFileSync(segmentFile(directory, 0, 1), startLine({ after: startOf(stream), startedAt: 1 }));
  const spool = spoolIn(t, directory);
  await spool.appendDurably("operation", body(1), [{ part: "request", text: "x".repeat(4_000) }]);
  spool.acknowledge(0);
  await spool.close();
  const again = spoolIn(t, directory);
  assert.deepEqual(saying(await eventsFrom(again, 1)), statements(1, 1));
});

test("a restart that the disk does not let finish loses nothing, and is done once it does", async (t) => {
  const directory = directoryFor(t);
  const spool = spoolIn(t, directory, { recentBytes: 1 });
  for (let n = 1; n <= 20; n += 1) await spool.appendDurably("operation", body(n));
  const [first = "", second = ""] = segmentsIn(directory);
  writeFileSync(first, readFileSync(first, "utf8").replace("SELECT 2", "SELECT 9"));
  assert.notEqual(second, "");
  // Wherever the second of the new segments begins, it cannot be written.
  const blocked = Array.from({ length: 19 }, (_, index) => segmentFile(directory, 1, index + 2));
  for (const file of blocked) mkdirSync(file);
  await assert.rejects(spool.restart("damaged"), { code: "EISDIR" });
  for (const file of blocked) rmdirSync(file);
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.startsWith("000001-")),
    [],
    "nothing is left that takes room",
  );
  await spool.restart("damaged");
  assert.deepEqual(saying(await eventsFrom(spool, 1)), [
    "SELECT 1",
    "gap",
    ...statements(3, 20),
    "gap",
  ]);
});

test("a segment that is gone is stated as a gap, and everything else arrives", async (t) => {
  const directory = directoryFor(t);
  const spool = spoolIn(t, directory, { recentBytes: 1 });
  for (let n = 1; n <= 20; n += 1) await spool.appendDurably("operation", body(n));
  const [first = "", second = ""] = segmentsIn(directory);
  rmSync(first);
  const arrived: StoredEvent[] = [];
  const shipper = createShipper({
    spool,
    sign: async (hash) => hash,
    limits: { delayMs: 1, backoffMs: 1, maxBackoffMs: 2 },
    send: async (batch) => {
      arrived.push(...batchOf({ ...batch, records: recordsOf(batch.lines) }).events);
      return { acknowledged: batch.last };
    },
  });
  t.after(() => shipper.close());
  await shipper.flush(1_000);
  await shipper.flush(1_000);
  assert.equal(shipper.status().unshipped, 0, shipper.status().failure);
  const kept = Number(/(\d+)\.seg$/.exec(second)?.[1]);
  assert.deepEqual(saying(arrived), [
    ...Array.from({ length: kept - 1 }, () => "gap"),
    ...statements(kept, 20),
    "gap",
  ]);
});

test("an operator that is away makes no gap of a harmed file whose events are in memory", async (t) => {
  const directory = directoryFor(t);
  const spool = spoolIn(t, directory);
  for (let n = 1; n <= 20; n += 1) await spool.appendDurably("operation", body(n));
  const [first = ""] = segmentsIn(directory);
  writeFileSync(first, readFileSync(first, "utf8").replace("SELECT 2", "SELECT 9"));
  const arrived: StoredEvent[] = [];
  let away = 3;
  const shipper = createShipper({
    spool,
    sign: async (hash) => hash,
    limits: { delayMs: 1, backoffMs: 1, maxBackoffMs: 2 },
    send: async (batch) => {
      if (away > 0) {
        away -= 1;
        throw new Error("connection refused");
      }
      arrived.push(...batchOf({ ...batch, records: recordsOf(batch.lines) }).events);
      return { acknowledged: batch.last };
    },
  });
  t.after(() => shipper.close());
  await shipper.flush(2_000);
  assert.deepEqual(saying(arrived), statements(1, 20));
  assert.equal(shipper.status().restarts, 0);
});

test("a restart takes from memory what a harmed file does not have any more", async (t) => {
  const directory = directoryFor(t);
  const spool = spoolIn(t, directory);
  for (let n = 1; n <= 20; n += 1) await spool.appendDurably("operation", body(n));
  for (const file of segmentsIn(directory)) rmSync(file);
  await spool.restart("the operator holds other events under this stream");
  assert.deepEqual(saying(await eventsFrom(spool, 1)), [...statements(1, 20), "gap"]);
});
