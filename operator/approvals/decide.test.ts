import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { AccessRequest, AccessRequestDecision } from "../../crds/types.gen.ts";
import {
  mayDecide,
  orderGroups,
  outcome,
  stampDecision,
  maxStoredGroups,
  type Approver,
  type Barred,
  type DecisionRefusal,
} from "./decide.ts";

const now = Date.parse("2026-11-20T10:00:00Z");
const alice: Approver = {
  username: "alice",
  uid: "1",
  groups: ["finance-leads"],
  isServiceAccount: false,
  local: false,
};
const bob: Approver = {
  username: "bob",
  uid: "2",
  groups: ["finance-leads"],
  isServiceAccount: false,
  local: false,
};

function request(
  status?: AccessRequest["status"],
  policies?: AccessRequest["spec"]["policies"],
): AccessRequest {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessRequest",
    metadata: { name: "orders-db-7k3f9q", namespace: "agents" },
    spec: {
      requester: { namespace: "agents", serviceAccount: "invoice-agent", pod: "p", podUid: "u" },
      connection: "orders-db",
      policies: policies ?? [
        {
          name: "invoice-agent",
          rule: "r",
          approvers: [{ group: "finance-leads" }, { user: "carol" }],
          count: 1,
        },
      ],
      digest: `sha256-${"a".repeat(43)}`,
      kind: "sql",
      summary: "UPDATE orders",
      session: "s",
      openedAt: "2026-11-20T09:59:00Z",
      expiresAt: "2026-11-20T10:59:00Z",
      validFor: "10m",
    },
    ...(status === undefined ? {} : { status }),
  };
}

function decision(
  by: Approver,
  verdict: "Approved" | "Denied" = "Approved",
  at = now,
): AccessRequestDecision {
  return stampDecision(by, verdict, undefined, at);
}

describe("who may decide", () => {
  const refusals: readonly (readonly [
    title: string,
    who: Approver,
    of: AccessRequest,
    reason: DecisionRefusal,
    barred?: readonly Barred[],
    at?: number,
  ])[] = [
    [
      "a service account, whatever its groups",
      { ...alice, isServiceAccount: true },
      request(),
      "ServiceAccount",
    ],
    [
      "a service account that only its name gives away",
      { ...alice, username: "system:serviceaccount:agents:ci" },
      request(),
      "ServiceAccount",
    ],
    [
      "the requester itself",
      { ...alice, username: "system:serviceaccount:agents:invoice-agent" },
      request(),
      "ServiceAccount",
    ],
    [
      "who deployed the agent",
      alice,
      request(),
      "SegregationOfDuties",
      [{ username: "alice", because: "you deployed this agent" }],
    ],
    [
      "who deployed the agent under a former name",
      alice,
      request(),
      "SegregationOfDuties",
      [{ username: "al", uid: "1", because: "you deployed this agent" }],
    ],
    ["who is in no listed group", { ...alice, groups: ["staff"] }, request(), "NotAnApprover"],
    ["who approved already", alice, request({ decisions: [decision(alice)] }), "AlreadyDecided"],
    [
      "who approved already under a former name",
      { ...alice, username: "alicia" },
      request({ decisions: [decision(alice)] }),
      "AlreadyDecided",
    ],
    ["anybody, once it is denied", alice, request({ phase: "Denied" }), "NotPending"],
    ["anybody, once it is approved", alice, request({ phase: "Approved" }), "NotPending"],
    [
      "anybody, once it is too late",
      alice,
      request(),
      "RequestExpired",
      [],
      Date.parse("2026-11-20T10:59:00Z"),
    ],
  ];
  for (const [title, approver, of, reason, barred = [], at = now] of refusals) {
    it(`is not ${title}`, () => {
      const answer = mayDecide({ request: of, approver, barred, now: at });
      assert.deepEqual(answer.allowed ? undefined : answer.refused, reason);
    });
  }

  it("is a listed group's member, and a listed user", () => {
    assert.equal(mayDecide({ request: request(), approver: alice, now }).allowed, true);
    assert.equal(
      mayDecide({ request: request(), approver: { ...alice, username: "carol", groups: [] }, now })
        .allowed,
      true,
    );
  });

  it("does not confuse two people whose provider gives no uid", () => {
    const nameless = { ...alice, uid: "" };
    const of = request({ decisions: [decision(nameless)] }, [
      { name: "p", rule: "r", approvers: [{ group: "finance-leads" }], count: 2 },
    ]);
    assert.equal(mayDecide({ request: of, approver: { ...bob, uid: "" }, now }).allowed, true);
    assert.equal(
      outcome(
        request(
          { decisions: [decision(nameless), decision({ ...bob, uid: "" })] },
          of.spec.policies,
        ),
        false,
      ).phase,
      "Approved",
    );
  });

  it("is, in local mode, the operating system's user without groups or duties", () => {
    const local: Approver = {
      username: "local:dev",
      groups: [],
      isServiceAccount: false,
      local: true,
    };
    assert.equal(
      mayDecide({
        request: request(),
        approver: local,
        now,
        barred: [{ username: "local:dev", because: "x" }],
      }).allowed,
      true,
    );
    assert.equal(outcome(request({ decisions: [decision(local)] }), true).phase, "Approved");
    assert.equal(outcome(request({ decisions: [decision(local)] }), false).phase, "Pending");
  });
});

describe("what decisions amount to", () => {
  const two = [{ name: "p", rule: "r", approvers: [{ group: "finance-leads" }], count: 2 }];

  it("is nothing before the count is reached, and validity from the last word on", () => {
    assert.deepEqual(outcome(request({ decisions: [decision(alice)] }, two), false), {
      phase: "Pending",
    });
    assert.deepEqual(
      outcome(
        request({ decisions: [decision(alice), decision(bob, "Approved", now + 60_000)] }, two),
        false,
      ),
      {
        phase: "Approved",
        validUntil: "2026-11-20T10:11:00.000Z",
      },
    );
  });

  it("counts one person once, also under two names or two uids", () => {
    assert.equal(
      outcome(request({ decisions: [decision(alice), decision(alice)] }, two), false).phase,
      "Pending",
    );
    assert.equal(
      outcome(
        request({ decisions: [decision(alice), decision({ ...alice, username: "alicia" })] }, two),
        false,
      ).phase,
      "Pending",
    );
    assert.equal(
      outcome(
        request({ decisions: [decision(alice), decision({ ...alice, uid: "9" })] }, two),
        false,
      ).phase,
      "Pending",
    );
  });

  it("needs every rule's own approvers", () => {
    const policies = [
      { name: "p", rule: "a", approvers: [{ group: "finance-leads" }], count: 1 },
      { name: "q", rule: "b", approvers: [{ user: "carol" }], count: 1 },
    ];
    assert.equal(
      outcome(request({ decisions: [decision(alice)] }, policies), false).phase,
      "Pending",
    );
    assert.equal(
      outcome(
        request(
          {
            decisions: [
              decision(alice),
              decision({ ...bob, username: "carol", uid: "3", groups: [] }),
            ],
          },
          policies,
        ),
        false,
      ).phase,
      "Approved",
    );
  });

  it("is a denial as soon as one says so", () => {
    assert.equal(
      outcome(request({ decisions: [decision(alice), decision(bob, "Denied")] }), false).phase,
      "Denied",
    );
  });

  it("keeps the group that counts when a person has more groups than fit", () => {
    const many = {
      ...alice,
      groups: [...Array.from({ length: 100 }, (_, i) => `g${i}`), "finance-leads"],
    };
    const stored = stampDecision(orderGroups(many, request()), "Approved", undefined, now);
    assert.equal(stored.groups?.length, maxStoredGroups);
    assert.equal(outcome(request({ decisions: [stored] }), false).phase, "Approved");
  });
});
