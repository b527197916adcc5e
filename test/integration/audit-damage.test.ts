// What is read back from a damaged disk, seen with the operator's own eyes: whatever it refuses the proxy recognises, so that it is mended.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { IngestRefused } from "../../contract/chain.ts";
import type { EventAck } from "../../contract/control.ts";
import { openDelivery } from "../../contract/delivery.ts";
import { checkDelivery } from "../../operator/audit/check.ts";
import { createAuditReader } from "../../operator/audit/queries.ts";
import { type AuditStore, openStore } from "../../operator/audit/store.ts";
import { isIntact } from "../../proxy/audit/lines.ts";
import { createShipper, type Shipper, type SignedBatch } from "../../proxy/audit/ship.ts";
import { openSpool, type Spool } from "../../proxy/audit/spool.ts";
import type { Content } from "../../proxy/pipeline.ts";
import { Recorder } from "./audit-recorder.ts";

const stream = "agents/invoice-7c9d/6f1c";

/** Refused by the operator, for whatever reason. */
function isRefused(line: Buffer): boolean {
  try {
    checkDelivery({ stream, head: "", lines: Buffer.concat([line, Buffer.from("\n")]) });
    return false;
  } catch (error) {
    assert.ok(error instanceof IngestRefused, String(error));
    return true;
  }
}

const lines: Readonly<Record<string, Buffer>> = {
  "without texts": lineOf([]),
  "with texts": lineOf([
    { part: "request", text: 'SELECT "ö"\n' },
    {
      part: "rows",
      text: "1",
      truncated: true,
      whole: { sha256: `sha256-${"B".repeat(43)}`, bytes: 9 },
    },
  ]),
};

function lineOf(contents: readonly Content[]): Buffer {
  const [record] = new Recorder(stream).add({ contents }).records;
  assert.ok(record !== undefined);
  return Buffer.from(record.line.subarray(0, -1));
}

for (const [name, line] of Object.entries(lines))
  test(`of a line ${name} no byte can change so that the operator refuses it and the proxy finds it intact`, () => {
    assert.ok(isIntact(line, 1) && !isRefused(line));
    for (let at = 0; at < line.length; at += 1)
      // One bit, another letter, what JSON is made of, what is no UTF-8.
      for (const byte of [(line[at] ?? 0) ^ 1, 0x5a, 0x22, 0x2c, 0x5c, 0x7d, 0x0a, 0xff]) {
        if (byte === line[at]) continue;
        const changed = Buffer.from(line);
        changed[at] = byte;
        if (isRefused(changed))
          assert.ok(!isIntact(changed, 1), `byte ${at}: ${changed.toString()}`);
      }
  });

function directoryFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "damage-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

async function storeIn(t: TestContext, directory: string): Promise<AuditStore> {
  const store = await openStore(join(directory, "store.sqlite"));
  t.after(() => store.close());
  return store;
}

/** As the operator's API takes it. */
function deliver(
  store: AuditStore,
  { stream: name, head, lines: parts }: SignedBatch,
): Promise<EventAck> {
  const first = Buffer.from(`${JSON.stringify({ stream: name, head })}\n`);
  return store.ingest(openDelivery(Buffer.concat([first, ...parts])));
}

/** Nothing of what it writes is in memory for long. */
function spoolIn(directory: string, name: string): Spool {
  const limits = { segmentBytes: 4096, recentBytes: 1 };
  return openSpool({ directory, stream: name, limits });
}

function shipperOf(spool: Spool, send: (batch: SignedBatch) => Promise<EventAck>): Shipper {
  return createShipper({
    spool,
    send,
    sign: async (hash) => `e30.${Buffer.from(hash).toString("base64url")}.c2ln`,
    limits: { delayMs: 1, batchEvents: 5, backoffMs: 1, maxBackoffMs: 1 },
  });
}

async function shipped(shipper: Shipper, place: string): Promise<void> {
  const until = performance.now() + 10_000;
  while (shipper.status().unshipped > 0) {
    assert.ok(performance.now() < until, `${place}: ${JSON.stringify(shipper.status())}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const recorded = 12;

async function record(spool: Spool): Promise<void> {
  for (let n = 1; n <= recorded; n += 1)
    await spool.appendDurably(
      "operation",
      { session: "s", operation: { kind: "sql", summary: `SELECT ${n}` } },
      n % 3 === 0 ? [{ part: "rows", text: `row "${n}"\n` }] : [],
    );
}

/** Bytes of the first segment that are changed, one at a time: all of them take minutes. */
const places = Number(process.env["DAMAGED_PLACES"] ?? 40);

test("whatever byte of a segment is harmed before it is shipped, the store has every other event, and knows of the rest", async (t) => {
  const directory = directoryFor(t);
  const store = await storeIn(t, directory);
  const reader = createAuditReader(store.db);
  for (let place = 0; place < places; place += 1) {
    const name = `agents/harmed-${place}/uid`;
    const where = join(directory, `spool-${place}`);
    const spool = spoolIn(where, name);
    await record(spool);
    const [first = ""] = readdirSync(where)
      .filter((file) => file.endsWith(".seg"))
      .sort();
    const file = join(where, first);
    const bytes = readFileSync(file);
    const at = Math.floor(((place + Math.random()) / places) * bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 + Math.floor(Math.random() * 255));
    writeFileSync(file, bytes);
    const shipper = shipperOf(spool, (batch) => deliver(store, batch));
    const what = `byte ${at} of ${bytes.length} is ${bytes[at]}`;
    await shipped(shipper, what);
    assert.ok(shipper.status().restarts <= 1, `${what}: ${shipper.status().restarts} restarts`);
    await shipper.close();
    await spool.close();
    const rows = await store.db
      .selectFrom("event_headers")
      .innerJoin("event_bodies", "event_bodies.id", "event_headers.id")
      .select(["seq", "type", "body"])
      .where("stream", "like", `${name}%`)
      .execute();
    const operations = rows
      .filter(({ type }) => type === "operation")
      .map(({ seq }) => Number(seq));
    const gaps = rows.filter(({ type }) => type === "gap").map(({ seq }) => Number(seq));
    for (let seq = 1; seq <= recorded; seq += 1)
      assert.ok(operations.includes(seq) || gaps.includes(seq), `${what}: event ${seq} is unsaid`);
    // A newline that is none any more, or has become one, takes a neighbour with it.
    assert.ok(new Set(operations).size >= recorded - 2, `${what}: ${operations.join()}`);
  }
  const broken = (await reader.verify()).filter(({ ok }) => !ok);
  assert.deepEqual(broken, []);
});
