// The whole way of an event: spool on disk, shipper, an unreliable network, the store; and both ends restarting.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { EventAck, EventBatch } from "../../contract/control.ts";
import { createAuditReader } from "../../operator/audit/queries.ts";
import { type AuditStore, openStore } from "../../operator/audit/store.ts";
import { batchOf, recordsOf } from "../../contract/delivery.ts";
import { createShipper } from "../../proxy/audit/ship.ts";
import { openSpool } from "../../proxy/audit/spool.ts";
import { denied, statement } from "./audit-recorder.ts";

const stream = "agents/invoice-7c9d/6f1c";

/** Loses requests, loses answers, delivers twice, delivers a part, hangs: every fault a network has, in turn. */
function unreliable(
  store: () => AuditStore,
): (batch: EventBatch, signal: AbortSignal) => Promise<EventAck> {
  let calls = 0;
  return async (batch, signal) => {
    calls += 1;
    switch (calls % 7) {
      case 1:
        throw new Error("connection refused");
      case 2:
        await store().ingest(batch);
        throw new Error("socket hang up");
      case 3:
        await store().ingest(batch);
        return store().ingest(batch);
      case 4: {
        const events = batch.events.slice(0, Math.ceil(batch.events.length / 2));
        const last = events.at(-1)?.header.seq ?? 0;
        return store().ingest({
          ...batch,
          events,
          contents: batch.contents.filter((content) => content.seq <= last),
        });
      }
      case 5:
        return new Promise((_, reject) =>
          signal.addEventListener("abort", () => reject(new Error("timeout")), { once: true }),
        );
      default:
        return store().ingest(batch);
    }
  };
}

test("through every fault of a network and restarts of both ends, every event is stored once and the chain holds", async () => {
  const directory = mkdtempSync(join(tmpdir(), "delivery-"));
  try {
    const file = join(directory, "store", "store.sqlite");
    let store = await openStore(file);
    const send = unreliable(() => store);
    const expected: string[] = [];
    for (let life = 0; life < 4; life += 1) {
      const spool = openSpool({
        directory: join(directory, "spool"),
        stream,
        limits: { segmentBytes: 8 * 1024 },
      });
      const shipper = createShipper({
        spool,
        send: (batch, signal) =>
          send(batchOf({ ...batch, records: recordsOf(batch.lines) }), signal),
        sign: async (hash) => `e30.${Buffer.from(hash).toString("base64url")}.c2ln`,
        limits: { delayMs: 2, batchEvents: 20, backoffMs: 2, maxBackoffMs: 10, sendTimeoutMs: 200 },
      });
      for (let n = 0; n < 150; n += 1) {
        const summary = `SELECT ${life}.${n}`;
        expected.push(summary);
        if (n % 10 === 0) await spool.appendDurably("operation", denied("delivered", summary));
        else
          spool.append(
            "operation",
            statement("delivered", summary),
            n % 3 === 0 ? [{ part: "rows", text: `${life} ${n} `.repeat(n) }] : [],
          );
        if (n % 25 === 0) await new Promise((resolve) => setTimeout(resolve, 3));
      }
      // The operator restarts while events are on their way; the proxy ends with some unshipped.
      await store.close();
      store = await openStore(file);
      if (life === 3) assert.deepEqual(await shipper.flush(60_000), { unshipped: 0 });
      await shipper.close();
      await spool.close();
    }
    const reader = createAuditReader(store.db);
    const { events } = await reader.events({ limit: 1_000 });
    assert.deepEqual(
      events.map((event) => event.body.operation?.summary),
      expected,
    );
    assert.deepEqual(
      (await reader.verify()).map(({ stream: name, ok, events: count, gaps }) => [
        name,
        ok,
        count,
        gaps,
      ]),
      [[stream, true, 600, 0]],
    );
    const session = await reader.session("delivered");
    assert.deepEqual([session?.operations, session?.denied], [600, 60]);
    assert.equal((await reader.recording("delivered", false)).contents.length, 180);
    await store.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
});
