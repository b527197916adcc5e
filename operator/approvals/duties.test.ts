// Who is kept from deciding because of what they did before: deploying the agent that asks, or writing the rule.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AccessPolicy, AccessRequest, ClusterAccessPolicy } from "../../crds/types.gen.ts";
import { readObject } from "../kube/objects.ts";
import { resourceTypes } from "../kube/resource-types.ts";
import { barredFrom, type DutiesView } from "./duties.ts";
import { mayDecide } from "./decide.ts";

const approvers = [{ group: "leads" }];

function request(policies: readonly string[]): AccessRequest {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessRequest",
    metadata: { name: "r", namespace: "agents" },
    spec: {
      requester: { namespace: "agents", serviceAccount: "a", pod: "agent", podUid: "uid-1" },
      connection: "orders-db",
      policies: policies.map((name) => ({ name, rule: "r", approvers, count: 1 })),
      digest: `sha256-${"a".repeat(43)}`,
      kind: "sql",
      summary: "UPDATE orders",
      session: "s",
      openedAt: "2026-11-30T10:00:00Z",
      expiresAt: "2026-11-30T11:00:00Z",
      validFor: "10m",
    },
  };
}

const by = (username: string | undefined) =>
  username === undefined ? {} : { annotations: { "chaperone.dev/author": username } };

function policy(name: string, namespace: string, author?: string): AccessPolicy {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessPolicy",
    metadata: { name, namespace, ...by(author) },
    spec: { targetRefs: [], mode: "Enforce" },
  };
}

function view(uid = "uid-1", deployedBy = "dora"): DutiesView {
  const pod = readObject(
    {
      metadata: {
        name: "agent",
        namespace: "agents",
        uid,
        resourceVersion: "1",
        ...(deployedBy === "" ? {} : { annotations: { "chaperone.dev/deployed-by": deployedBy } }),
      },
    },
    resourceTypes.Pod,
  );
  const { spec: _, ...cluster } = policy("guard", "", "carl");
  const guard: ClusterAccessPolicy = { ...cluster, kind: "ClusterAccessPolicy", spec: {} };
  return {
    policiesIn: (namespace) => [
      policy("own", namespace, `author-of-${namespace}`),
      policy("unstamped", namespace),
    ],
    clusterPolicies: () => [guard],
    pod: (key) => (key === "agents/agent" ? pod : undefined),
  };
}

const names = (of: DutiesView, asked: AccessRequest): readonly string[] =>
  barredFrom(of, asked).map(({ username }) => username);

test("the deployer of the pod and the last author of each policy that asks are kept out", () => {
  assert.deepEqual(names(view(), request(["own", "unstamped", "data/own", "*/guard", "gone"])), [
    "dora",
    "author-of-agents",
    "author-of-data",
    "carl",
  ]);
});

test("a pod of the same name that was made since, or without a stamp, says nothing of who deployed the one that asked", () => {
  assert.deepEqual(names(view("uid-2"), request([])), []);
  assert.deepEqual(names(view("uid-1", ""), request([])), []);
});

test("they are told why, and others decide", () => {
  const asked = request(["own"]);
  const decide = (username: string) =>
    mayDecide({
      request: asked,
      approver: { username, groups: ["leads"], isServiceAccount: false, local: false },
      barred: barredFrom(view(), asked),
      now: Date.parse("2026-11-30T10:30:00Z"),
    });
  assert.match(JSON.stringify(decide("dora")), /SegregationOfDuties.*you deployed this agent/);
  assert.match(JSON.stringify(decide("author-of-agents")), /you wrote policy own last/);
  assert.deepEqual(decide("lena"), { allowed: true });
});
