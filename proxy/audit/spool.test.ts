import assert from "node:assert/strict";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import fc from "fast-check";
import { sha256 } from "../../contract/canonical.ts";
import { type ChainPosition, firstPrev, startOf, verifyChain } from "../../contract/chain.ts";
import type { EventBatch } from "../../contract/control.ts";
import { batchOf, recordsOf } from "../../contract/delivery.ts";
import type { EventBody } from "../../contract/event.ts";
import { ProxyError } from "../errors.ts";
import { maxContentBytes } from "./record.ts";
import { maxBodyBytes } from "./record-writer.ts";
import { openSpool, type Spool, type SpoolOptions } from "./spool.ts";

const stream = "agents/invoice-7c9d/6f1c";
const directories: string[] = [];
const open: Spool[] = [];

function directory(): string {
  const made = mkdtempSync(join(tmpdir(), "spool-"));
  directories.push(made);
  return made;
}

/** What a killed process leaves behind: the files as they are, while their writer still has lines in memory. */
function copyOf(where: string): string {
  const copy = directory();
  cpSync(where, copy, { recursive: true });
  return copy;
}

function spoolIn(where: string, options: Partial<SpoolOptions> = {}): Spool {
  const spool = openSpool({ directory: where, stream, ...options });
  open.push(spool);
  return spool;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((spool) => spool.close().catch(() => undefined)));
  for (const made of directories.splice(0)) rmSync(made, { recursive: true });
});

const body = (n: number): EventBody => ({
  session: "s1",
  operation: { kind: "sql", summary: `SELECT ${n}` },
  outcome: { status: "ok", rows: n },
});
const limit = { events: 1000, bytes: 1 << 20 };

type Batch = Pick<EventBatch, "stream" | "events" | "contents">;

async function read(
  spool: Spool,
  from: number,
  within: { readonly events: number; readonly bytes: number } = limit,
): Promise<Batch> {
  const batch = await spool.read(from, within);
  if (batch === undefined) return { stream: spool.stream, events: [], contents: [] };
  const parsed = batchOf({ ...batch, head: "", records: recordsOf(batch.lines) });
  assert.equal(batch.first, parsed.events[0]?.header.seq);
  assert.equal(batch.last, parsed.events.at(-1)?.header.seq);
  assert.equal(batch.hash, parsed.events.at(-1)?.hash);
  return parsed;
}

async function everything(spool: Spool): Promise<Batch> {
  const events = [];
  const contents = [];
  for (let from = spool.acknowledgedSeq + 1; ;) {
    const batch = await read(spool, from);
    if (batch.events.length === 0) return { stream: spool.stream, events, contents };
    events.push(...batch.events);
    contents.push(...batch.contents);
    from += batch.events.length;
  }
}

function assertLinks(batch: Batch, from: ChainPosition): void {
  const { fault } = verifyChain(batch.events, from);
  assert.equal(fault, undefined, fault?.message);
}

test("numbers and chains events from 1 on", async () => {
  const spool = spoolIn(directory());
  assert.deepEqual(
    [1, 2, 3].map((n) => spool.append("operation", body(n)).seq),
    [1, 2, 3],
  );
  const batch = await read(spool, 1);
  assert.equal(batch.events.length, 3);
  assert.equal(batch.events[0]?.header.prev, firstPrev);
  assertLinks(batch, startOf(stream));
});

test("the same events come back from memory and from the files", async () => {
  const where = directory();
  const spool = spoolIn(where, { limits: { segmentBytes: 4096 } });
  for (let n = 0; n < 100; n += 1)
    spool.append("operation", body(n), [{ part: "rows", text: `row ${n}` }]);
  const fresh = await everything(spool);
  await spool.close();
  const again = await everything(spoolIn(where));
  assert.deepEqual(again, fresh);
  assert.ok(readdirSync(where).length > 5);
});

test("after an orderly end the chain goes on without a gap event", async () => {
  const where = directory();
  const first = spoolIn(where);
  first.append("session-start", body(1));
  await first.close();
  const second = spoolIn(where);
  assert.equal(second.append("operation", body(2)).seq, 2);
  assertLinks(await everything(second), startOf(stream));
});

test("after a crash the chain goes on and says that something may be missing", async () => {
  const where = directory();
  const first = spoolIn(where);
  await first.appendDurably("operation", body(1));
  const second = spoolIn(where);
  const batch = await everything(second);
  assertLinks(batch, startOf(stream));
  assert.deepEqual(
    batch.events.map((event) => event.header.type),
    ["operation", "gap"],
  );
  assert.deepEqual([batch.events[1]?.body.gap?.from, batch.events[1]?.body.gap?.to], [2, 2]);
});

test("a torn last record is cut off at any byte and everything before it stays", async () => {
  const where = directory();
  const first = spoolIn(where);
  for (let n = 1; n <= 3; n += 1)
    first.append("operation", body(n), [{ part: "request", text: "zwölf\n" }]);
  await first.close();
  const [name] = readdirSync(where).filter((file) => file.endsWith(".seg"));
  assert.ok(name !== undefined);
  const file = join(where, name);
  const whole = readFileSync(file);
  const lastLine = whole.lastIndexOf(10, whole.length - 2) + 1;
  for (const cut of [lastLine, lastLine + 1, lastLine + 40, whole.length - 2, whole.length - 1]) {
    writeFileSync(file, whole.subarray(0, cut));
    const spool = spoolIn(where);
    assert.equal(spool.append("operation", body(9)).seq, 4, `cut at ${cut}`);
    const batch = await everything(spool);
    assertLinks(batch, startOf(stream));
    assert.deepEqual(
      batch.events.map((event) => event.header.type),
      ["operation", "operation", "gap", "operation"],
    );
    await spool.close();
  }
});

test("zeros that a loss of power left at the end are cut off", async () => {
  const where = directory();
  const first = spoolIn(where);
  await first.appendDurably("operation", body(1));
  await first.close();
  const [name = ""] = readdirSync(where).filter((file) => file.endsWith(".seg"));
  appendFileSync(join(where, name), Buffer.alloc(300));
  const spool = spoolIn(where);
  assert.equal(spool.append("operation", body(2)).seq, 2);
  assertLinks(await everything(spool), startOf(stream));
});

test("a segment whose first line was never written is no loss", async () => {
  const where = directory();
  const first = spoolIn(where);
  await first.appendDurably("operation", body(1));
  await first.close();
  writeFileSync(join(where, "000000-0000000000000002.seg"), '{"segment":1,"str');
  const spool = spoolIn(where);
  assert.equal(spool.append("operation", body(2)).seq, 2);
  assertLinks(await everything(spool), startOf(stream));
});

test("damage in the middle starts a successor stream in which the lost number is a gap and the others keep theirs", async () => {
  const where = directory();
  const first = spoolIn(where);
  for (let n = 1; n <= 5; n += 1) first.append("operation", body(n));
  await first.close();
  const [name = ""] = readdirSync(where).filter((file) => file.endsWith(".seg"));
  const file = join(where, name);
  writeFileSync(file, readFileSync(file, "utf8").replace("SELECT 3", "SELECT 4"));
  const spool = spoolIn(where);
  assert.equal(spool.stream, `${stream}.1`);
  const batch = await everything(spool);
  assertLinks(batch, startOf(`${stream}.1`));
  assert.deepEqual(
    batch.events.map((event) => [event.header.seq, event.header.type]),
    [
      [1, "operation"],
      [2, "operation"],
      [3, "gap"],
      [4, "operation"],
      [5, "operation"],
      [6, "gap"],
    ],
  );
  assert.ok(existsSync(join(where, "damaged.bin")));
  await spool.close();
  const again = spoolIn(where);
  assert.deepEqual([again.stream, again.append("operation", body(7)).seq], [`${stream}.1`, 7]);
});

test("a lost spool of a stream the operator knows starts a successor with a gap", async () => {
  const spool = spoolIn(directory(), { known: { stream: `${stream}.2`, seq: 57 } });
  spool.append("operation", body(1));
  const batch = await everything(spool);
  assert.equal(batch.stream, `${stream}.3`);
  assert.deepEqual([batch.events[0]?.header.type, batch.events[0]?.body.gap?.from], ["gap", 58]);
  assertLinks(batch, startOf(`${stream}.3`));
});

test("a restart under load keeps every event, its number and its contents", async () => {
  const where = directory();
  const spool = spoolIn(where, { limits: { segmentBytes: 4096 } });
  for (let n = 1; n <= 50; n += 1)
    spool.append("operation", body(n), [{ part: "rows", text: `row ${n}` }]);
  await spool.appendDurably("operation", body(51));
  spool.acknowledge(20);
  const pending = spool.appendDurably("intent", body(52));
  const restarted = spool.restart("the operator holds other events", { from: 21, to: 21 });
  const during = spool.append("operation", body(53));
  await restarted;
  assert.deepEqual([(await pending).seq, during.seq], [52, 53]);
  const batch = await everything(spool);
  assert.equal(batch.stream, `${stream}.1`);
  assertLinks(batch, startOf(`${stream}.1`));
  assert.deepEqual(
    batch.events.map((event) => event.header.seq),
    Array.from({ length: 34 }, (_, index) => index + 21),
  );
  assert.deepEqual(
    batch.contents.map((content) => content.text),
    Array.from({ length: 30 }, (_, index) => `row ${index + 21}`),
  );
  await spool.close();
  const again = spoolIn(where);
  assert.deepEqual((await everything(again)).events, batch.events);
});

test("a directory that holds another pod's stream is refused by name", async () => {
  const where = directory();
  const spool = spoolIn(where);
  spool.append("operation", body(1));
  await spool.close();
  assert.throws(
    () => openSpool({ directory: where, stream: "agents/other/1" }),
    /holds events of stream agents\/invoice-7c9d\/6f1c, not of agents\/other\/1/,
  );
});

test("acknowledged segments are deleted, and the chain goes on after all were", async () => {
  const where = directory();
  const spool = spoolIn(where, { limits: { segmentBytes: 2048 } });
  for (let n = 1; n <= 40; n += 1) await spool.appendDurably("operation", body(n));
  const before = spool.status().bytes;
  spool.acknowledge(40);
  assert.ok(spool.status().bytes < before / 4);
  assert.equal(spool.status().unshipped, 0);
  await spool.close();
  assert.equal(readdirSync(where).filter((file) => file.endsWith(".seg")).length, 1);
  const again = spoolIn(where);
  assert.equal(again.append("operation", body(41)).seq, 41);
});

test("a full spool says so, makes room wait, and then refuses; acknowledging lets everyone go on", async () => {
  const spool = spoolIn(directory(), { limits: { totalBytes: 16 * 1024, segmentBytes: 2048 } });
  while (!spool.full()) spool.append("operation", body(1));
  const waiting = spool.room();
  assert.throws(
    () => {
      for (;;) spool.append("operation", body(1));
    },
    (error) => error instanceof ProxyError && error.code === "RecordingUnavailable",
  );
  assert.ok(spool.status().bytes < 16 * 1024 + 1024, "bounded");
  const last = spool.lastSeq;
  await read(spool, last);
  spool.acknowledge(last);
  await waiting;
  assert.equal(spool.full(), false);
  assert.equal(spool.status().untaken, 1);
  assert.equal(spool.append("operation", body(1)).seq, last + 2, "after the gap that says so");
  const [gap] = (await read(spool, last + 1)).events;
  assert.match(gap?.body.gap?.reason ?? "", /^1 events found no room/);
});

test("who waits for room is refused when the caller gives up or the spool closes", async () => {
  const spool = spoolIn(directory(), { limits: { totalBytes: 8 * 1024, segmentBytes: 2048 } });
  while (!spool.full()) spool.append("operation", body(1));
  const unavailable = { code: "RecordingUnavailable" };
  const left = new AbortController();
  const leaving = spool.room(left.signal);
  left.abort();
  await assert.rejects(leaving, unavailable);
  const staying = spool.room();
  const closed = spool.close();
  await assert.rejects(staying, unavailable);
  await closed;
  assert.throws(() => spool.append("operation", body(1)), unavailable);
});

test("when the disk does not take a write, durable appends are refused, and nothing is lost once it does", async () => {
  const where = directory();
  const spool = spoolIn(where);
  rmSync(where, { recursive: true });
  await assert.rejects(spool.appendDurably("intent", body(1)), { code: "RecordingUnavailable" });
  assert.equal(spool.full(), true);
  assert.match(spool.status().failure ?? "", /ENOENT/);
  const { seq } = spool.append("operation", body(2));
  mkdirSync(where);
  await spool.room();
  const batch = await read(spool, 1);
  assert.deepEqual(
    batch.events.map((event) => event.header.seq),
    [1, seq],
  );
  assertLinks(batch, startOf(stream));
});

test("only durable events are read", async () => {
  const spool = spoolIn(directory());
  spool.append("operation", body(1));
  const { durableSeq } = spool.status();
  assert.equal(durableSeq, 0);
  const batch = await read(spool, 1);
  assert.equal(batch.events.length, 1);
  assert.equal(spool.status().durableSeq, 1);
});

test("read honours both limits and still gives one event that is larger than the limit", async () => {
  const spool = spoolIn(directory());
  for (let n = 1; n <= 10; n += 1) spool.append("operation", body(n));
  assert.equal((await read(spool, 3, { events: 4, bytes: 1 << 20 })).events.length, 4);
  assert.equal((await read(spool, 3, { events: 4, bytes: 1 })).events.length, 1);
  assert.equal((await read(spool, 11)).events.length, 0);
});

test("a batch that is released twice gives its memory back once", async () => {
  const spool = spoolIn(directory());
  spool.append("operation", body(1));
  const [first, second] = [await spool.read(1, limit), await spool.read(1, limit)];
  first?.release();
  first?.release();
  first?.release();
  spool.acknowledge(1);
  second?.release();
  assert.equal(spool.append("operation", body(2)).seq, 2);
});

test("contents are covered by the event through their digests, and cut at their bound between characters", async () => {
  const spool = spoolIn(directory());
  const long = "ö".repeat(maxContentBytes);
  spool.append("operation", body(1), [
    { part: "request", text: "hello" },
    { part: "response", text: long },
  ]);
  const { events, contents } = await read(spool, 1);
  const refs = events[0]?.body.operation?.content;
  assert.deepEqual(refs?.[0], { part: "request", sha256: sha256("hello"), bytes: 5 });
  assert.deepEqual([refs?.[1]?.truncated, refs?.[1]?.bytes], [true, maxContentBytes]);
  assert.equal(contents[1]?.sha256, sha256(contents[1]?.text ?? ""));
  assert.equal(contents[1]?.text, "ö".repeat(maxContentBytes / 2));
});

test("facts that do not fit are left out by name; half a surrogate pair is recorded as U+FFFD", async () => {
  const spool = spoolIn(directory());
  spool.append("operation", {
    operation: { kind: "llm", summary: "x", facts: { prompts: ["y".repeat(maxBodyBytes)] } },
  });
  spool.append("operation", {
    operation: { kind: "sql", summary: "SELECT '\ud800' \\ud800 \u{1f600}" },
  });
  const batch = await everything(spool);
  assertLinks(batch, startOf(stream));
  assert.match(JSON.stringify(batch.events[0]?.body), /"omitted":"\d+ bytes, more than 131072"/);
  assert.equal(batch.events[1]?.body.operation?.summary, "SELECT '\ufffd' \\ud800 \u{1f600}");
});

test("any sequence of appends, acknowledgements, crashes and orderly ends leaves one chain without a hole", async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("append" as const), count: fc.integer({ min: 1, max: 20 }) }),
    fc.record({
      do: fc.constant("acknowledge" as const),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    fc.record({ do: fc.constantFrom("close" as const, "crash" as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      let where = directory();
      let spool = spoolIn(where, { limits: { segmentBytes: 2048 } });
      let position = startOf(stream);
      for (const now of steps) {
        if (now.do === "append")
          for (let n = 0; n < now.count; n += 1) spool.append("operation", body(n));
        else if (now.do === "acknowledge") {
          const batch = await read(spool, position.seq + 1, {
            events: Math.ceil(now.part * 30) + 1,
            bytes: 1 << 20,
          });
          const result = verifyChain(batch.events, position);
          assert.equal(result.fault, undefined);
          position = result.position;
          spool.acknowledge(position.seq);
        } else {
          const durable = spool.status().durableSeq;
          if (now.do === "close") await spool.close();
          else where = copyOf(where);
          spool = spoolIn(where, { limits: { segmentBytes: 2048 } });
          assert.ok(spool.lastSeq >= durable);
        }
      }
      let rest = await read(spool, position.seq + 1);
      for (; rest.events.length > 0; rest = await read(spool, position.seq + 1)) {
        const result = verifyChain(rest.events, position);
        assert.equal(result.fault, undefined);
        position = result.position;
      }
      assert.equal(position.seq, spool.lastSeq);
    }),
    { numRuns: 30 },
  );
});
