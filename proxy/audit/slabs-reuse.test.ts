// The memory of lines over a long time: how many pieces are made for how many events.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { EventAck } from "../../contract/control.ts";
import { createShipper, type SignedBatch } from "./ship.ts";
import { slabBytes } from "./slabs.ts";
import { openSpool } from "./spool.ts";

type Answer = (batch: SignedBatch, attempt: number) => Promise<EventAck>;

/** Pieces made while so many events were recorded and shipped. */
async function piecesMade(t: TestContext, events: number, answer: Answer): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), "slabs-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const original = Buffer.allocUnsafeSlow;
  let made = 0;
  t.mock.method(Buffer, "allocUnsafeSlow", (size: number) => {
    if (size >= slabBytes) made += 1;
    return original(size);
  });
  const spool = openSpool({
    directory,
    stream: "agents/pod/uid",
    limits: { recentBytes: 1 << 20 },
  });
  let attempts = 0;
  const shipper = createShipper({
    spool,
    sign: async (hash) => hash,
    limits: { delayMs: 1, backoffMs: 1, maxBackoffMs: 1, sendTimeoutMs: 20 },
    send: (batch) => answer(batch, (attempts += 1)),
  });
  const summary = "SELECT total FROM invoices WHERE id = $1 ".repeat(4);
  for (let n = 1; n <= events; n += 1) {
    if (n % 500 === 0)
      await spool.appendDurably("operation", { operation: { kind: "sql", summary } });
    else spool.append("operation", { operation: { kind: "sql", summary } });
    if (n % 100 === 0) await turn();
    while (spool.full()) await turn();
  }
  const { unshipped } = await shipper.flush(30_000);
  await shipper.close();
  await spool.close();
  assert.equal(unshipped, 0);
  return made;
}

test("however many events are recorded and shipped, their lines stand in the same few pieces of memory", async (t) => {
  const made = await piecesMade(t, 100_000, async (batch) => ({ acknowledged: batch.last }));
  // What memory keeps of unshipped lines, a batch on its way, the piece being filled, and a segment read back.
  assert.ok(made <= 16, `${made} pieces`);
});

test("a delivery that was not taken whole costs the pieces of its own lines and no others", async (t) => {
  let lost = 0;
  const made = await piecesMade(t, 50_000, async (batch, attempt) => {
    if (![3, 9, 17].includes(attempt % 20)) return { acknowledged: batch.last };
    lost += Buffer.concat([...batch.lines]).length;
    if (attempt % 20 === 9) return { acknowledged: batch.first };
    if (attempt % 20 === 3) throw new Error("connection refused");
    return await new Promise(() => {});
  });
  assert.ok(lost > 0);
  // A batch ends and begins within a piece.
  const perByte = 3 / slabBytes;
  assert.ok(made <= 16 + lost * perByte, `${made} pieces for ${lost} bytes`);
});
