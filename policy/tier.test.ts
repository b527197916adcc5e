import assert from "node:assert/strict";
import { test } from "node:test";

import type { AccessPolicy } from "../crds/types.gen.ts";
import { reaches, strongestDemand, tiers, type Tier } from "./tier.ts";

function demanding(name: string, minimumTier?: Tier): AccessPolicy {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessPolicy",
    metadata: { name, namespace: "agents" },
    spec: {
      targetRefs: [{ group: "chaperone.dev", kind: "Connection", name: "orders-db" }],
      mode: "Enforce",
      ...(minimumTier === undefined ? {} : { minimumTier }),
    },
  };
}

test("a tier reaches itself and those below", () => {
  const reached = tiers.map((tier) => tiers.filter((minimum) => reaches(tier, minimum)).length);
  assert.deepEqual(reached, [1, 2, 3]);
});

test("of several policies the strongest demand counts, and it is the first that makes it", () => {
  assert.equal(strongestDemand([demanding("a"), demanding("b")]), undefined);
  const policies = [
    demanding("a", "Redirected"),
    demanding("b", "Locked"),
    demanding("c", "Locked"),
  ];
  for (const order of [policies, policies.toReversed()])
    assert.equal(strongestDemand(order)?.tier, "Locked");
  assert.deepEqual(strongestDemand(policies), { tier: "Locked", policy: "agents/b" });
});
