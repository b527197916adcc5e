// The spool against a model that makes every line itself: each byte that leaves must be the one that was recorded, whoever holds what meanwhile.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { type ChainPosition, firstPrev, startOf } from "../../contract/chain.ts";
import type { EventBody, EventType } from "../../contract/event.ts";
import type { Content } from "../pipeline.ts";
import { RecordWriter, type WrittenRecord } from "./record-writer.ts";
import { openSpool, type Spool, type SpoolBatch } from "./spool.ts";

const base = "agents/invoice-7c9d/6f1c";
const now = Date.parse("2026-11-20T10:00:00.000Z");
const time = new Date(now).toISOString();
const limits = { segmentBytes: 400 * 1024, recentBytes: 300 * 1024 };
const crashed =
  "the proxy ended without closing its spool; what it recorded in its last milliseconds and did not have to be durable may be missing";

/** What happens to writes: nothing, only a part is taken at a time, the disk is full after a part. */
type Disk = "sound" | "slow" | "full";

interface Held {
  readonly batch: SpoolBatch;
  readonly expected: Buffer;
}

class Model {
  spool: Spool;
  #where: string;
  #stream = base;
  #records: (WrittenRecord & { readonly line: Buffer })[] = [];
  readonly #writer = new RecordWriter();
  readonly #held: Held[] = [];
  readonly #waiting: Promise<unknown>[] = [];
  readonly #directories: string[] = [];

  constructor() {
    this.#where = this.#directory();
    this.spool = this.#open();
  }

  #directory(): string {
    const made = mkdtempSync(join(tmpdir(), "spool-model-"));
    this.#directories.push(made);
    return made;
  }

  #open(): Spool {
    return openSpool({ directory: this.#where, stream: base, limits, clock: () => now });
  }

  get #head(): ChainPosition {
    const last = this.#records.at(-1)?.event;
    return last === undefined
      ? startOf(this.#stream)
      : { stream: this.#stream, seq: last.header.seq, hash: last.hash };
  }

  #keep(record: WrittenRecord): void {
    this.#records.push({ ...record, line: Buffer.from(record.line) });
  }

  #expect(type: EventType, body: EventBody, contents: readonly Content[] = []): void {
    this.#keep(this.#writer.make(this.#head, { type, body, contents, time }));
  }

  append(texts: readonly number[], durably: boolean): void {
    const seq = this.#head.seq + 1;
    const body: EventBody = { session: "s", operation: { kind: "sql", summary: `SELECT ${seq}` } };
    const contents = texts.map((length, at): Content => {
      return { part: "rows", text: String.fromCodePoint(97 + ((seq + at) % 26)).repeat(length) };
    });
    this.#expect("operation", body, contents);
    if (durably)
      // While the disk is full it is refused, and recorded all the same.
      this.#waiting.push(
        this.spool.appendDurably("operation", body, contents).catch(() => undefined),
      );
    else this.spool.append("operation", body, contents);
    assert.equal(this.spool.lastSeq, seq);
  }

  /** Also what is acknowledged, where it is still there. */
  async read(part: number, events: number, bytes: number): Promise<void> {
    const { oldestSeq, lastSeq } = this.spool;
    const from = oldestSeq + Math.floor(part * (lastSeq - oldestSeq + 1));
    const batch = await this.spool.read(from, { events, bytes }).catch((error: unknown) => {
      assert.ok(from > this.spool.status().durableSeq, String(error));
      return undefined;
    });
    if (batch === undefined) return;
    const records = this.#records.filter(
      ({ event: { header } }) => header.seq >= batch.first && header.seq <= batch.last,
    );
    assert.deepEqual([batch.first, batch.stream], [from, this.#stream]);
    assert.equal(batch.hash, records.at(-1)?.event.hash);
    assert.ok(records.length <= events);
    const expected = Buffer.concat(records.map(({ line }) => line));
    assert.ok(expected.length <= bytes || records.length === 1);
    this.#held.push({ batch, expected });
    this.look();
  }

  /** However long ago they were given, and whatever happened since. */
  look(): void {
    for (const { batch, expected } of this.#held)
      assert.ok(Buffer.concat([...batch.lines]).equals(expected), `${batch.first}..${batch.last}`);
  }

  release(part: number): void {
    const [held] = this.#held.splice(Math.floor(part * this.#held.length), 1);
    held?.batch.release();
    this.look();
  }

  acknowledge(part: number): void {
    const { acknowledgedSeq } = this.spool;
    const { durableSeq } = this.spool.status();
    const seq = acknowledgedSeq + Math.floor(part * (durableSeq - acknowledgedSeq + 1));
    this.spool.acknowledge(seq);
    assert.equal(this.spool.acknowledgedSeq, Math.min(seq, durableSeq));
  }

  async restart(): Promise<void> {
    const done = await this.spool.restart("why not").then(
      () => true,
      () => false,
    );
    if (!done) return;
    const number = this.#stream === base ? 0 : Number(this.#stream.slice(base.length + 1));
    const from = this.spool.acknowledgedSeq;
    const kept = this.#records.filter(({ event }) => event.header.seq > from);
    this.#stream = `${base}.${number + 1}`;
    let after: ChainPosition = { stream: this.#stream, seq: from, hash: firstPrev };
    this.#records = [];
    for (const record of kept) {
      const again = this.#writer.rechain(after, record);
      this.#keep(again);
      after = { stream: this.#stream, seq: again.event.header.seq, hash: again.event.hash };
    }
    const own = after.seq + 1;
    const body: EventBody = { gap: { from: own, to: own, reason: "why not" } };
    this.#keep(this.#writer.make(after, { type: "gap", body, contents: [], time }));
  }

  /** Ends, in order or not, and opens what is left. */
  async reopen(isOrderly: boolean): Promise<void> {
    const { durableSeq } = this.spool.status();
    const former = this.spool;
    const where = this.#where;
    if (isOrderly) {
      const isClosed = await former.close().then(
        () => true,
        () => false,
      );
      this.spool = this.#open();
      if (!isClosed) this.#lose(durableSeq);
    } else {
      this.#where = this.#directory();
      cpSync(where, this.#where, { recursive: true });
      await former.close().catch(() => undefined);
      this.spool = this.#open();
      this.#lose(durableSeq);
    }
    this.look();
  }

  #lose(durableSeq: number): void {
    const last = this.spool.lastSeq;
    // Nothing was ever written: there is nothing to miss.
    if (last === 0) assert.equal(durableSeq, 0);
    assert.ok(last >= durableSeq);
    const kept = last === 0 ? 0 : last - 1;
    this.#records = this.#records.filter(({ event }) => event.header.seq <= kept);
    if (last > 0) {
      const body: EventBody = { gap: { from: last, to: last, reason: crashed } };
      this.#expect("gap", body);
    }
  }

  /** Everything that is not acknowledged, byte for byte. */
  async end(): Promise<void> {
    await Promise.all(this.#waiting);
    // What was under way on the full disk may fail even now, and is repeated.
    for (let isWritten = false; !isWritten;) {
      await this.spool.room();
      isWritten = await this.spool.read(this.spool.lastSeq + 1, { events: 1, bytes: 1 }).then(
        () => true,
        () => false,
      );
    }
    let from = this.spool.acknowledgedSeq + 1;
    const parts: Buffer[] = [];
    for (;;) {
      const batch = await this.spool.read(from, { events: 7, bytes: 100_000 });
      if (batch === undefined) break;
      parts.push(...batch.lines.map((line) => Buffer.from(line)));
      batch.release();
      from = batch.last + 1;
    }
    const expected = this.#records.filter(
      ({ event }) => event.header.seq > this.spool.acknowledgedSeq,
    );
    assert.equal(from, this.#head.seq + 1);
    assert.ok(Buffer.concat(parts).equals(Buffer.concat(expected.map(({ line }) => line))));
    this.look();
  }

  async close(): Promise<void> {
    await this.spool.close().catch(() => undefined);
    for (const made of this.#directories) rmSync(made, { recursive: true, force: true });
  }
}

/** The disk under every write of this process, until the test ends. */
function diskUnder(t: TestContext): (disk: Disk) => void {
  const original = fs.write.bind(fs);
  let disk: Disk = "sound";
  type Done = (error: Error | null, written: number) => void;
  const write = (
    fd: number,
    bytes: Buffer,
    offset: number,
    length: number,
    position: number,
    done: Done,
  ): void => {
    const part = disk === "sound" ? length : Math.ceil(length / 2);
    const isFull = disk === "full";
    original(fd, bytes, offset, part, position, (error, written) => {
      const full = Object.assign(new Error("ENOSPC: no space left"), { code: "ENOSPC" });
      setImmediate(() => done(isFull ? full : error, written));
    });
  };
  t.mock.method(fs, "write", write);
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  return (next) => (disk = next);
}

const part = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
/** Lengths of texts. Some hundred kilobytes at a time: what is written over is written over soon. */
const lines = fc.record({
  do: fc.constant("append" as const),
  count: fc.integer({ min: 1, max: 40 }),
  texts: fc.constantFrom([], [10], [3_000], [8_000]),
  durably: fc.boolean(),
});
/** A good part of a slab, more than one, more than a segment. */
const longLines = fc.record({
  do: fc.constant("append" as const),
  count: fc.integer({ min: 1, max: 2 }),
  texts: fc.constantFrom([90_000], [130_000, 140_000], [250_000, 250_000, 250_000]),
  durably: fc.boolean(),
});
const appends = fc.oneof({ arbitrary: lines, weight: 5 }, { arbitrary: longLines, weight: 1 });
const reads = fc.record({
  do: fc.constant("read" as const),
  part,
  events: fc.integer({ min: 1, max: 40 }),
  bytes: fc.constantFrom(1, 20_000, 1_000_000),
});
const others = fc.oneof(
  fc.record({ do: fc.constant("release" as const), part }),
  fc.record({ do: fc.constant("acknowledge" as const), part }),
  fc.record({ do: fc.constant("turn" as const), turns: fc.integer({ min: 1, max: 6 }) }),
);
const rare = fc.record({
  do: fc.constantFrom("restart" as const, "close" as const, "crash" as const, "damage" as const),
});
const usual = fc.oneof(
  { arbitrary: appends, weight: 5 },
  { arbitrary: reads, weight: 5 },
  { arbitrary: others, weight: 6 },
  { arbitrary: rare, weight: 1 },
);
type Step =
  | (typeof usual extends fc.Arbitrary<infer T> ? T : never)
  | { readonly do: "disk"; readonly disk: Disk };

async function take(model: Model, step: Step, disk: (next: Disk) => void): Promise<void> {
  switch (step.do) {
    case "append":
      for (let n = 0; n < step.count; n += 1) model.append(step.texts, step.durably && n % 3 === 0);
      return;
    case "read":
      return model.read(step.part, step.events, step.bytes);
    case "release":
      return model.release(step.part);
    case "acknowledge":
      return model.acknowledge(step.part);
    case "turn":
      for (let n = 0; n < step.turns; n += 1) await turn();
      return model.look();
    case "restart":
      return model.restart();
    case "damage": {
      const { acknowledgedSeq, lastSeq } = model.spool;
      assert.equal(await model.spool.damage(acknowledgedSeq + 1, lastSeq), undefined);
      return;
    }
    case "disk":
      return disk(step.disk);
    default:
      return model.reopen(step.do === "close");
  }
}

async function holds(steps: readonly Step[], disk: (next: Disk) => void): Promise<void> {
  const model = new Model();
  try {
    for (const step of steps) await take(model, step, disk);
    disk("sound");
    await model.end();
  } finally {
    disk("sound");
    await model.close();
  }
}

test("whatever is held, released, acknowledged, restarted or killed meanwhile, every byte that leaves is the one that was recorded", async (t) => {
  const disk = diskUnder(t);
  await fc.assert(
    fc.asyncProperty(fc.array(usual, { minLength: 15, maxLength: 40 }), (steps) =>
      holds(steps, disk),
    ),
    { numRuns: 30 },
  );
});

test("the same on a disk that takes lines in parts, or not at all for a while", async (t) => {
  const disk = diskUnder(t);
  const kinds = fc.record({
    do: fc.constant("disk" as const),
    disk: fc.constantFrom<Disk>("sound", "slow", "slow", "full"),
  });
  const step = fc.oneof({ arbitrary: usual, weight: 5 }, { arbitrary: kinds, weight: 1 });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 15, maxLength: 30 }), (steps) =>
      holds(steps, disk),
    ),
    { numRuns: 12 },
  );
});
