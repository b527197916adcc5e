import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createAuditReader } from "./queries.ts";
import { createRecorder } from "./record.ts";
import { openStore } from "./store.ts";

const directory = mkdtempSync(join(tmpdir(), "audit-record-"));
after(() => rmSync(directory, { recursive: true }));

test("the operator's events stand in the store as one verified stream", async () => {
  const store = await openStore(join(directory, "store.sqlite"));
  const recorder = createRecorder({ store, stream: "chaperone-system/operator-1/start" });
  for (let n = 0; n < 1_200; n += 1)
    recorder.record("grant", { grant: { id: `g${n}`, expiresAt: "2026-11-20T10:05:00.000Z" } });
  recorder.record("quarantine", {
    quarantine: { name: "q", reason: "half \ud800", state: "added" },
  });
  await recorder.recordDurably(
    "revoke",
    { grant: { id: "g1", expiresAt: "2026-11-20T10:05:00.000Z", reason: "policy deleted" } },
    AbortSignal.timeout(10_000),
  );
  const reader = createAuditReader(store.db);
  const [verdict] = await reader.verify();
  assert.deepEqual([verdict?.ok, verdict?.events], [true, 1_202]);
  const [quarantine] = (await reader.events({ limit: 1, type: "quarantine" })).events;
  assert.equal(quarantine?.body.quarantine?.reason, "half \ufffd");
  await recorder.close();
  await store.close();
});

test("a failing store is tried again, nothing is lost, and who cannot wait is told", async () => {
  const store = await openStore(join(directory, "failing.sqlite"));
  let failures = 0;
  let working = false;
  const recorder = createRecorder({
    stream: "chaperone-system/operator-2/start",
    store: {
      ingest: (batch) =>
        working ? store.ingest(batch) : Promise.reject(new Error("database is locked")),
    },
    onFailure: () => (failures += 1),
  });
  recorder.record("grant", { grant: { id: "g", expiresAt: "2026-11-20T10:05:00.000Z" } });
  await assert.rejects(
    recorder.recordDurably("revoke", {}, AbortSignal.timeout(20)),
    /event 2 .* was not committed in time/,
  );
  assert.ok(failures > 0);
  working = true;
  await recorder.close();
  assert.equal((await createAuditReader(store.db).verify())[0]?.events, 2);
  await store.close();
});

test("what finds no room is counted and stated once there is room", async () => {
  const store = await openStore(join(directory, "full.sqlite"));
  let working = false;
  const recorder = createRecorder({
    stream: "chaperone-system/operator-3/start",
    store: {
      ingest: (batch) => (working ? store.ingest(batch) : Promise.reject(new Error("down"))),
    },
  });
  for (let n = 0; n < 10_007; n += 1) recorder.record("grant", {});
  await assert.rejects(recorder.recordDurably("grant", {}, AbortSignal.timeout(1_000)), /no room/);
  working = true;
  await recorder.close();
  const reader = createAuditReader(store.db);
  const [verdict] = await reader.verify();
  assert.deepEqual([verdict?.ok, verdict?.events, verdict?.gaps], [true, 10_001, 1]);
  const [gap] = (await reader.events({ limit: 1, type: "gap" })).events;
  assert.match(gap?.body.gap?.reason ?? "", /^8 events/);
  await store.close();
});
