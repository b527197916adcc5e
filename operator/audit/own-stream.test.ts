import assert from "node:assert/strict";
import { test } from "node:test";
import { startOf, verifyChain } from "../../contract/chain.ts";
import type { EventBatch } from "../../contract/control.ts";
import type { StoredEvent } from "../../contract/event.ts";
import { OwnStream } from "./own-stream.ts";

function open(ingest: (batch: EventBatch) => Promise<number>) {
  const problems: unknown[] = [];
  const own = new OwnStream({
    stream: "operator/test",
    ingest: async (batch) => ({ acknowledged: await ingest(batch) }),
    sign: async (hash) => `signed:${hash}`,
    now: () => 1_795_000_000_000,
    onProblem: (error) => problems.push(error),
  });
  return { own, problems };
}

test("chains its events and signs the head of each batch", async () => {
  const stored: StoredEvent[] = [];
  const { own } = open(async (batch) => {
    stored.push(...batch.events);
    assert.equal(batch.head, `signed:${batch.events.at(-1)?.hash}`);
    return batch.events.at(-1)?.header.seq ?? 0;
  });
  for (let index = 0; index < 500; index += 1)
    own.record("request-opened", { request: { name: `r-${index}` } });
  assert.equal(await own.close(5_000), 0);
  assert.equal(stored.length, 500);
  assert.equal(verifyChain(stored, startOf("operator/test")).fault, undefined);
});

test("keeps events while the store is away, and counts what it cannot keep in a gap event", async () => {
  let isAway = true;
  const stored: StoredEvent[] = [];
  const { own, problems } = open(async (batch) => {
    if (isAway) throw new Error("away");
    stored.push(...batch.events);
    return batch.events.at(-1)?.header.seq ?? 0;
  });
  for (let index = 0; index < 10_010; index += 1)
    own.record("request-opened", { request: { name: `r-${index}` } });
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(problems.length > 0);
  isAway = false;
  while (stored.length < 10_000) await new Promise((resolve) => setTimeout(resolve, 20));
  own.record("request-opened", { request: { name: "after" } });
  assert.equal(await own.close(5_000), 0);
  assert.equal(stored.at(-2)?.header.type, "gap");
  assert.match(stored.at(-2)?.body.gap?.reason ?? "", /^10 events/);
  assert.equal(verifyChain(stored, startOf("operator/test")).fault, undefined);
});
