import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { EventBody } from "../../contract/event.ts";
import { LiveGrants, maxGrantsPerPod, type LiveEntry } from "./live.ts";
import { refusalPeriodMs, refusalRecorder } from "./refusals.ts";

function entry(overrides: Partial<LiveEntry>): LiveEntry {
  return {
    id: "1",
    podUid: "u",
    namespace: "agents",
    serviceAccount: "a",
    pod: "p",
    policies: ["agents/p1"],
    expiresAt: 100,
    ...overrides,
  };
}

describe("live grants", () => {
  it("count a renewed grant once, and an ended one not at all", () => {
    let now = 0;
    const live = new LiveGrants(() => now);
    live.add(entry({ connection: "agents/db" }));
    live.add(entry({ id: "2", connection: "agents/db", expiresAt: 200 }));
    live.add(entry({ id: "3", connection: "agents/db", podUid: "v" }));
    assert.equal(live.activeOn("agents/db"), 2);
    now = 150;
    assert.deepEqual(
      live.select({ connection: "agents/db" }).map(({ id }) => id),
      ["2"],
    );
    live.sweep();
    assert.equal(live.activeOn("agents/db"), 1);
  });

  it("are revoked by pod, connection or policy, and returned for the record", () => {
    const live = new LiveGrants(() => 0);
    live.add(entry({ id: "pod", policies: [] }));
    live.add(entry({ id: "db", connection: "agents/db" }));
    live.add(entry({ id: "api", connection: "agents/api", policies: ["agents/p2"] }));
    live.add(entry({ id: "other", connection: "agents/db", podUid: "v" }));
    assert.deepEqual(
      live.revoke({ policy: "agents/p2" }).map(({ id }) => id),
      ["api"],
    );
    assert.deepEqual(
      live.revoke({ podUid: "u", connection: "agents/db" }).map(({ id }) => id),
      ["db"],
    );
    assert.deepEqual(
      live.forgetPod("u").map(({ id }) => id),
      ["pod"],
    );
    assert.equal(live.activeOn("agents/db"), 1);
  });

  it("are bounded for each pod", () => {
    const live = new LiveGrants(() => 0);
    for (let i = 0; i < maxGrantsPerPod + 10; i += 1)
      live.add(entry({ id: String(i), connection: `agents/c${i}` }));
    assert.equal(live.select({ podUid: "u" }).length, maxGrantsPerPod);
    assert.equal(live.activeOn("agents/c0"), 0);
  });
});

describe("recorded refusals", () => {
  it("are one event at first and one with the count afterwards", () => {
    let now = 0;
    const events: EventBody[] = [];
    const refuse = refusalRecorder(
      (_type, body) => void events.push(body),
      () => now,
    );
    const refusal = {
      reason: "NoPolicy",
      message: "no",
      peerAddress: "10.0.0.1",
      connection: "agents/db",
    };
    for (let i = 0; i < 6; i += 1) refuse(refusal);
    assert.deepEqual(
      events.map(({ error }) => error?.message),
      ["grant refused to 10.0.0.1: no"],
    );
    now += refusalPeriodMs;
    refuse({ ...refusal, reason: "Quarantined" });
    assert.deepEqual(
      events.map(({ error }) => error?.code),
      ["NoPolicy", "NoPolicy", "Quarantined"],
    );
    assert.match(events[1]?.error?.message ?? "", /\(5 times within 10 s\)/);
  });

  it("cannot be made to grow without bound by many peers", () => {
    const events: EventBody[] = [];
    const refuse = refusalRecorder(
      (_type, body) => void events.push(body),
      () => 0,
    );
    for (let i = 0; i < 5_000; i += 1)
      refuse({ reason: "ProofMissing", message: "no", peerAddress: `10.0.${i >> 8}.${i & 255}` });
    assert.ok(events.length <= 1_001, String(events.length));
  });
});
