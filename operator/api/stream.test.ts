import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { StreamMessage } from "../../contract/control.ts";
import { bundleCompiler } from "../grants/bundles.ts";
import type { Governing } from "../grants/govern.ts";
import { LiveGrants } from "../grants/live.ts";
import {
  clusterPolicy,
  connection,
  MemoryRequests,
  MemoryResources,
  policy,
  quarantine,
} from "./fixture.ts";
import { maxUnreadBytes, StreamHub, type StreamSink } from "./stream.ts";
import type { ViewPod } from "./views.ts";

class Sink implements StreamSink {
  readonly messages: StreamMessage[] = [];
  state: "open" | "ended" | "destroyed" = "open";
  /** Whether the peer takes what is written. */
  isReading = true;
  #unread = 0;
  #waiting: { readonly count: number; readonly resolve: () => void } | undefined;

  write(line: string): void {
    assert.equal(this.state, "open", "nothing is written to a stream that is over");
    assert.ok(line.endsWith("\n"));
    this.messages.push(JSON.parse(line));
    if (!this.isReading) this.#unread += line.length;
    if (this.#waiting !== undefined && this.messages.length >= this.#waiting.count)
      this.#waiting.resolve();
  }
  unread(): number {
    return this.#unread;
  }
  end(): void {
    this.state = "ended";
  }
  destroy(): void {
    this.state = "destroyed";
  }
  get types(): string[] {
    return this.messages.map(({ type }) => type);
  }
  reach(count: number): Promise<void> {
    if (this.messages.length >= count) return Promise.resolve();
    return new Promise((resolve) => (this.#waiting = { count, resolve }));
  }
}

const far = Date.parse("2100-01-01T00:00:00Z");

function pod(n: number, serviceAccount = "invoice-agent"): ViewPod {
  return { namespace: "agents", serviceAccount, pod: `pod-${n}`, podUid: `uid-${n}` };
}

describe("the hub of streams", () => {
  let view: MemoryResources;
  let hub: StreamHub;
  let live: LiveGrants;
  const revoked: string[] = [];

  beforeEach(() => {
    view = new MemoryResources();
    view.put(connection());
    view.put(policy());
    live = new LiveGrants(Date.now);
    revoked.length = 0;
    const governing: Governing = {
      view,
      compile: bundleCompiler(),
      now: Date.now,
      maskKey: () => "key",
      operatorNamespace: "chaperone-system",
    };
    hub = new StreamHub({
      governing,
      requests: new MemoryRequests(),
      live,
      record: (type, body) => void revoked.push(`${type} ${body.grant?.id}`),
      onProblem: (error) => assert.fail(String(error)),
    });
  });
  afterEach(() => hub.close());

  it("begins with hello, then names every quarantine in force, then says by a ping that these are all", () => {
    view.put(quarantine({ subjects: [{ pods: ["pod-1"] }] }));
    const sink = new Sink();
    hub.open(pod(1), far, sink);
    assert.deepEqual(sink.types, ["hello", "quarantined", "ping"]);
  });

  it("keeps one stream a pod: the newer one ends the older", () => {
    const [older, newer] = [new Sink(), new Sink()];
    const closeOlder = hub.open(pod(1), far, older);
    hub.open(pod(1), far, newer);
    assert.deepEqual([older.state, newer.state, hub.size], ["ended", "open", 1]);
    closeOlder?.();
    assert.equal(hub.size, 1, "the older one's end is not the newer one's");
  });

  it("drops a reader that does not read, and no other", () => {
    const [stuck, reading] = [new Sink(), new Sink()];
    stuck.isReading = false;
    hub.open(pod(1), far, stuck);
    hub.open(pod(2), far, reading);
    const reason = "r".repeat(1_000);
    for (let i = 0; i < maxUnreadBytes / 1_000; i += 1)
      view.put(quarantine({ all: true, reason: `${reason}${i}` }));
    assert.deepEqual([stuck.state, reading.state, hub.size], ["destroyed", "open", 1]);
  });

  it("tells a quarantine to 5,000 proxies within a second", () => {
    const sinks = Array.from({ length: 5_000 }, (_, n) => {
      const sink = new Sink();
      hub.open(pod(n), far, sink);
      return sink;
    });
    // Of the processor's time: what others on the machine take is not this.
    const before = process.cpuUsage();
    view.put(quarantine({ subjects: [{ serviceAccounts: ["invoice-agent"] }] }));
    const { user, system } = process.cpuUsage(before);
    const took = (user + system) / 1_000;
    assert.ok(sinks.every(({ types }) => types.at(-1) === "quarantined"));
    assert.ok(took < 1_000, `${Math.round(took)} ms`);
    view.delete("Quarantine", "agents", "stop");
    assert.ok(sinks.every(({ types }) => types.at(-1) === "lifted"));
  });

  it("tells a quarantine again only when it changed, and one that no longer reaches the pod as lifted", () => {
    const sink = new Sink();
    hub.open(pod(1), far, sink);
    view.put(quarantine({ subjects: [{ pods: ["pod-1"] }] }));
    view.put(quarantine({ subjects: [{ pods: ["pod-1"] }] }));
    view.put(quarantine({ subjects: [{ pods: ["pod-2"] }] }));
    assert.deepEqual(sink.types.slice(2), ["quarantined", "lifted"]);
  });

  it("tells a change to the pods whose rules it changes, and records what it revoked", async () => {
    const [ours, other] = [new Sink(), new Sink()];
    hub.open(pod(1), far, ours);
    hub.open(pod(2, "other-agent"), far, other);
    live.add({
      id: "g",
      podUid: "uid-1",
      namespace: "agents",
      serviceAccount: "invoice-agent",
      pod: "pod-1",
      connection: "agents/orders-db",
      policies: [],
      expiresAt: far,
    });
    view.put(policy({ limits: { rowsPerResult: 3 } }));
    await ours.reach(3);
    assert.deepEqual(ours.types.slice(2), ["changed"]);
    view.delete("AccessPolicy", "agents", "invoice-agent");
    await ours.reach(4);
    assert.deepEqual(ours.types.slice(2), ["changed", "revoked"]);
    assert.deepEqual(revoked, ["revoke g"]);
    // Of the other agent nothing was known before, so it may be told once; what it is told is that it may not.
    assert.ok(
      other.types.slice(2).every((type) => type === "revoked"),
      other.types.join(),
    );
  });

  it("tells each of several changes that belong together once", async () => {
    const sink = new Sink();
    hub.open(pod(1), far, sink);
    for (let i = 1; i <= 50; i += 1) view.put(policy({ limits: { rowsPerResult: i } }));
    await sink.reach(3);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(sink.types.slice(2), ["changed"]);
  });

  it("tells the old targets of a policy that now names others", async () => {
    view.put(connection({}, "payroll"));
    const sink = new Sink();
    hub.open(pod(1), far, sink);
    view.put(policy({ limits: { rowsPerResult: 1 } }));
    await sink.reach(4); // hello, ping, and what is now known of both connections
    view.put(
      policy({ targetRefs: [{ group: "chaperone.dev", kind: "Connection", name: "payroll" }] }),
    );
    await sink.reach(6);
    const told = sink.messages
      .slice(4)
      .map((message) => `${message.type} ${"connection" in message ? message.connection : ""}`);
    assert.deepEqual(told.sort(), ["changed agents/payroll", "revoked agents/orders-db"]);
  });

  it("tells a restriction of the whole cluster to everybody whose rules it changes", async () => {
    const sink = new Sink();
    hub.open(pod(1), far, sink);
    view.put(policy({ limits: { rowsPerResult: 1 } }));
    await sink.reach(3);
    view.putCluster(clusterPolicy({ limits: { rowsPerResult: 1, requestsPerMinute: 5 } }));
    await sink.reach(4);
    view.deleteCluster("guard");
    await sink.reach(5);
    assert.deepEqual(sink.types.slice(2), ["changed", "changed", "changed"]);
  });

  it("ends the stream of a pod that is gone", () => {
    const sink = new Sink();
    hub.open(pod(1), far, sink);
    hub.forgetPod("uid-1");
    assert.deepEqual([sink.state, hub.size], ["ended", 0]);
  });

  it("ends every stream when it closes", async () => {
    const sink = new Sink();
    hub.open(pod(1), far, sink);
    await hub.close();
    assert.equal(sink.state, "ended");
  });
});
