import assert from "node:assert/strict";
import { test } from "node:test";

import type { AccessPolicy } from "../../crds/types.gen.ts";
import type { KnownView } from "../api/views.ts";
import type { TierJudgement } from "../injection/tier.ts";
import { heldCondition, heldPods } from "./held.ts";

function policy(spec: Partial<AccessPolicy["spec"]> = {}): AccessPolicy {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessPolicy",
    metadata: { name: "p", namespace: "agents" },
    spec: {
      targetRefs: [{ group: "chaperone.dev", kind: "Connection", name: "orders-db" }],
      mode: "Enforce",
      ...spec,
    },
  };
}

function view(pod: string, connection = "agents/orders-db", namespace = "agents"): KnownView {
  return {
    pod: { namespace, serviceAccount: "invoice", pod, podUid: pod },
    receivedAt: 0,
    view: {
      generation: 1,
      proxyVersion: "1",
      features: [],
      connections: [{ connection, bundle: "", activeSessions: 0 }],
    },
  };
}

const kept: TierJudgement = {
  tier: "Redirected",
  missing: { reason: "CapabilitiesKept", message: "drop ALL" },
};
const tierOf = ({ pod }: KnownView["pod"]): TierJudgement | undefined =>
  pod === "gone" ? undefined : pod === "kept" ? kept : { tier: "Locked" };

test("pods count that serve a Connection of the policy to its subjects, whether they got a grant or not", () => {
  const views = [
    view("a"),
    view("kept"),
    view("gone"),
    view("b", "agents/another"),
    view("c", "agents/orders-db", "elsewhere"),
  ];
  const pods = heldPods(policy(), views, tierOf);
  assert.deepEqual(
    pods.map(({ pod }) => pod),
    ["agents/a", "agents/kept"],
  );
});

test("the weakest pod says how the policy's pods are held, and whether that is enough", () => {
  const pods = heldPods(policy(), [view("a"), view("kept")], tierOf);
  const said = (minimumTier?: "Redirected" | "Locked") =>
    heldCondition(policy(minimumTier === undefined ? {} : { minimumTier }), pods).map(
      ({ type, status, reason, message }) => [type, status, reason, message],
    );
  const message = "2 pods: 1 Redirected, 1 Locked; agents/kept: drop ALL";
  assert.deepEqual(said(), [["Held", "True", "Redirected", message]]);
  assert.deepEqual(said("Redirected"), [["Held", "True", "Redirected", message]]);
  assert.deepEqual(said("Locked"), [["Held", "False", "Redirected", message]]);
  assert.deepEqual(heldCondition(policy(), []), []);
});
