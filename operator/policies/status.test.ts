import assert from "node:assert/strict";
import { test } from "node:test";
import type { AccessPolicy, Connection, Quarantine } from "../../crds/types.gen.ts";
import type { KnownView } from "../api/views.ts";
import { mergeConditions } from "../kube/conditions.ts";
import { enforcement } from "./enforcement.ts";
import { quarantineStatus } from "./quarantine-status.ts";
import { policyStatus, type PolicyFacts } from "./status.ts";

const now = Date.parse("2026-11-21T10:00:00Z");

const connection: Connection = {
  apiVersion: "chaperone.dev/v1alpha1",
  kind: "Connection",
  metadata: { name: "orders-db", namespace: "agents" },
  spec: { protocol: "postgres", endpoint: { host: "db.example" }, onFailure: "closed" },
};

function policy(spec: Partial<AccessPolicy["spec"]> = {}): AccessPolicy {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessPolicy",
    metadata: { name: "p", namespace: "agents", generation: 3 },
    spec: {
      targetRefs: [{ group: "chaperone.dev", kind: "Connection", name: "orders-db" }],
      mode: "Enforce",
      rules: [{ name: "read", action: "Allow", sql: { statements: ["select"] } }],
      ...spec,
    },
  };
}

function view(
  pod: string,
  bundle: string,
  receivedAt = now,
  serviceAccount = "invoice",
): KnownView {
  return {
    pod: { namespace: "agents", serviceAccount, pod, podUid: pod },
    receivedAt,
    view: {
      generation: 1,
      proxyVersion: "1",
      features: [],
      connections: [{ connection: "agents/orders-db", bundle, activeSessions: 0 }],
    },
  };
}

function conditionsOf(change: Partial<PolicyFacts> = {}): Record<string, string> {
  const facts: PolicyFacts = {
    policy: policy(),
    connections: [connection],
    clusterPolicies: [],
    policies: [],
    problems: [],
    enforcement: { proxies: 0, current: 0, oldestViewAt: undefined },
    now,
    ...change,
  };
  return Object.fromEntries(
    (policyStatus(facts).conditions ?? []).map(({ type, status, reason }) => [
      type,
      `${status} ${reason}`,
    ]),
  );
}

test("proxies count when they serve the policy's subjects and hold rules for its targets, and are current with the rules of now", () => {
  const views = [
    view("a", "new"),
    view("b", "old", now - 5_000),
    view("c", ""),
    view("d", "new", now, "other"),
  ];
  const counted = enforcement(
    policy({ subjects: [{ serviceAccounts: ["invoice"] }] }),
    views,
    () => "new",
  );
  assert.deepEqual(counted, { proxies: 2, current: 1, oldestViewAt: now - 5_000 });
});

test("Enforced says what the proxies said, and not more", () => {
  const counted = (proxies: number, current: number, oldestViewAt: number | undefined) =>
    conditionsOf({ enforcement: { proxies, current, oldestViewAt } })["Enforced"];
  assert.equal(counted(0, 0, undefined), "Unknown NoProxies");
  assert.equal(counted(3, 2, now), "False Pending");
  assert.equal(counted(3, 3, now), "True Enforced");
  assert.equal(counted(3, 3, now - 60_000), "Unknown StaleView");
});

test("a policy whose target is not there is neither accepted nor enforced", () => {
  assert.deepEqual(conditionsOf({ connections: [] }), {
    Accepted: "False TargetNotFound",
    Enforced: "False NotAccepted",
  });
});

test("a stored policy that validation refuses says so", () => {
  assert.equal(
    conditionsOf({ problems: [{ path: ["spec"], message: "is wrong", stage: "semantic" }] })[
      "Accepted"
    ],
    "False Invalid",
  );
});

test("a policy that only observes is not enforced, and a shadowed rule is told", () => {
  assert.equal(
    conditionsOf({ policy: policy({ mode: "Observe" }) })["Enforced"],
    "False Observing",
  );
  const deny: AccessPolicy = {
    ...policy({ rules: [{ name: "never", action: "Deny", sql: { statements: ["select"] } }] }),
    metadata: { name: "q", namespace: "agents" },
  };
  assert.equal(conditionsOf({ policies: [policy(), deny] })["Shadowed"], "True Shadowed");
});

test("a condition keeps its transition time until its status changes", () => {
  const [first] = mergeConditions(
    undefined,
    [{ type: "Ready", status: "True", reason: "A", message: "" }],
    1,
    now,
  );
  assert.ok(first !== undefined);
  const [same] = mergeConditions(
    [first],
    [{ type: "Ready", status: "True", reason: "B", message: "" }],
    2,
    now + 1_000,
  );
  assert.equal(same?.lastTransitionTime, first.lastTransitionTime);
  const [other] = mergeConditions(
    [first],
    [{ type: "Ready", status: "False", reason: "B", message: "" }],
    2,
    now + 1_000,
  );
  assert.notEqual(other?.lastTransitionTime, first.lastTransitionTime);
});

test("a quarantine is enforced when every proxy it reaches confirmed, and ended when its time is over", () => {
  const quarantine: Quarantine = {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "Quarantine",
    metadata: { name: "q", namespace: "agents" },
    spec: { all: true, reason: "odd" },
  };
  const reasons = (isActive: boolean, proxies: number, confirmed: number) =>
    (
      quarantineStatus(quarantine, isActive, { proxies, confirmed, oldestViewAt: now }, now)
        .conditions ?? []
    ).map(({ type, status, reason }) => `${type} ${status} ${reason}`);
  assert.deepEqual(reasons(true, 2, 1), ["Active True InForce", "Enforced False Waiting"]);
  assert.deepEqual(reasons(true, 2, 2), ["Active True InForce", "Enforced True Confirmed"]);
  assert.deepEqual(reasons(false, 2, 2), ["Active False Ended", "Enforced False Ended"]);
});

test("the time of the oldest view is written again only when it moved by a minute or with other news", () => {
  const quarantine: Quarantine = {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "Quarantine",
    metadata: { name: "q", namespace: "agents" },
    spec: { all: true, reason: "odd" },
    status: { proxies: 1, confirmed: 1, oldestView: new Date(now).toISOString() },
  };
  const oldest = (at: number, confirmed = 1) =>
    quarantineStatus(quarantine, true, { proxies: 1, confirmed, oldestViewAt: at }, now).oldestView;
  assert.equal(oldest(now + 5_000), quarantine.status?.oldestView);
  assert.notEqual(oldest(now + 61_000), quarantine.status?.oldestView);
  assert.notEqual(oldest(now + 5_000, 0), quarantine.status?.oldestView);
});
