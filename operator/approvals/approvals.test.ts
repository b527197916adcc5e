import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import fc from "fast-check";
import type { OpenRequest } from "../../contract/control.ts";
import type { AccessRequest } from "../../crds/types.gen.ts";
import {
  alice,
  approvalRule,
  clusterPolicy,
  connection,
  MemoryRequests,
  MemoryResources,
  ordersDb,
  podIdentity,
  policy,
  type Recorded,
} from "../api/fixture.ts";
import { Approvals } from "./approvals.ts";
import type { Approver } from "./decide.ts";
import { memoryDetails } from "./details.ts";
import { pendingLifeMs, printable, requestName } from "./open.ts";
import { phaseAt, stateOf } from "./state.ts";

const never = new AbortController().signal;
const pod = podIdentity();
const open: OpenRequest = {
  connection: ordersDb,
  session: "s",
  digest: `sha256-${"a".repeat(43)}`,
  kind: "sql",
  summary: "UPDATE orders",
  detail: "[42]",
  approvals: [
    {
      policy: "agents/invoice-agent",
      rule: approvalRule.name,
      approvers: [],
      count: 1,
      validForSeconds: 1,
    },
  ],
};
const bob: Approver = { ...alice, username: "bob", uid: "uid-bob" };

describe("access requests", () => {
  let now: number;
  let view: MemoryResources;
  let store: MemoryRequests;
  let recorded: Recorded[];

  function make(
    options: { readonly isLocal?: boolean; readonly store?: MemoryRequests } = {},
  ): Approvals {
    return new Approvals({
      view,
      store: options.store ?? store,
      details: memoryDetails(),
      now: () => now,
      record: (type, body) => void recorded.push({ type, body }),
      isLocal: options.isLocal ?? false,
      withoutStanding: () => undefined,
    });
  }

  beforeEach(() => {
    now = Date.parse("2026-11-20T10:00:00Z");
    view = new MemoryResources();
    view.put(connection());
    view.put(policy());
    store = new MemoryRequests();
    recorded = [];
  });

  it("take their approvers from the cluster's policy where that asks, and name it so that nobody takes it for a namespace's", async () => {
    view.putCluster(
      clusterPolicy({ rules: [{ ...approvalRule, action: "RequireApproval", name: "guarded" }] }),
    );
    const [asked = assert.fail()] = open.approvals;
    const both = { ...open, approvals: [asked, { ...asked, policy: "*/guard", rule: "guarded" }] };
    const { spec } = await make().open(pod, both, never);
    assert.deepEqual(
      spec.policies.map(({ name, rule }) => [name, rule]),
      [
        ["invoice-agent", approvalRule.name],
        ["*/guard", "guarded"],
      ],
    );
    await assert.rejects(
      make().open(
        pod,
        {
          ...open,
          digest: `sha256-${"b".repeat(43)}`,
          approvals: [{ ...asked, policy: "*/guard" }],
        },
        never,
      ),
      /policy \*\/guard has no rule/,
    );
  });

  async function approved(approvals: Approvals): Promise<AccessRequest> {
    const { metadata } = await approvals.open(pod, open, never);
    const answer = await approvals.decide(
      { namespace: "agents", name: metadata.name, approver: alice, verdict: "Approved" },
      never,
    );
    return "request" in answer ? answer.request : assert.fail(JSON.stringify(answer));
  }

  it("stand in the connection's namespace, and a foreign pod knows them by namespace/name", async () => {
    view.put(connection({ allowedNamespaces: ["agents"] }, "shared", "data"));
    view.put(policy({}, "share", "data"));
    const request = await make().open(
      pod,
      {
        ...open,
        connection: "data/shared",
        approvals: [
          {
            policy: "data/share",
            rule: approvalRule.name,
            approvers: [],
            count: 1,
            validForSeconds: 1,
          },
        ],
      },
      never,
    );
    assert.equal(request.metadata.namespace, "data");
    assert.equal(stateOf(request, "agents", now).name, `data/${request.metadata.name}`);
    assert.equal(stateOf(request, "data", now).name, request.metadata.name);
  });

  it("are one for many that ask the same at once, also through two replicas", async () => {
    const replicas = [make(), make()];
    const requests = await Promise.all(
      Array.from({ length: 20 }, (_, i) => (replicas[i % 2] ?? make()).open(pod, open, never)),
    );
    assert.equal(new Set(requests.map(({ metadata }) => metadata.name)).size, 1);
    assert.equal(recorded.filter(({ type }) => type === "request-opened").length, 1);
  });

  it("are refused when the named rule does not ask for approval", async () => {
    for (const approvals of [
      [],
      [{ ...open.approvals[0], rule: "read" }],
      [{ ...open.approvals[0], policy: "agents/none" }],
    ]) {
      await assert.rejects(make().open(pod, { ...open, approvals: approvals as never }, never), {
        reason: "RuleNotFound",
      });
    }
    await assert.rejects(make().open(pod, { ...open, connection: "agents/none" }, never), {
      reason: "ConnectionNotFound",
    });
  });

  it("take the shortest validity of the rules that ask", async () => {
    view.put(
      policy(
        {
          rules: [
            {
              ...approvalRule,
              approval: { approvers: [{ user: "x" }], count: 2, hold: "1s", validFor: "2m" },
            },
          ],
        },
        "stricter",
      ),
    );
    const second = {
      policy: "agents/stricter",
      rule: approvalRule.name,
      approvers: [],
      count: 1,
      validForSeconds: 1,
    };
    const { spec } = await make().open(
      pod,
      { ...open, approvals: [...open.approvals, second] },
      never,
    );
    assert.equal(spec.validFor, "2m");
    assert.deepEqual(
      spec.policies.map(({ count }) => count),
      [1, 2],
    );
  });

  it("are spent once by fifty that try at the same time", async () => {
    const approvals = make();
    const { metadata } = await approved(approvals);
    const answers = await Promise.all(
      Array.from({ length: 50 }, () =>
        approvals.spend(pod, "agents", metadata.name, open.digest, never),
      ),
    );
    assert.equal(answers.filter(({ spent }) => spent).length, 1);
    assert.equal((await store.get("agents", metadata.name))?.status?.phase, "Spent");
  });

  it("are spent once by two replicas, and while somebody else keeps writing", async () => {
    const { metadata } = await approved(make());
    const meddling = (async () => {
      for (let i = 0; i < 20; i += 1) {
        const current = await store.get("agents", metadata.name);
        if (current !== undefined) await store.updateStatus(current).catch(() => undefined);
      }
    })();
    const answers = await Promise.all(
      [make(), make()].flatMap((replica) =>
        Array.from({ length: 10 }, () =>
          replica.spend(pod, "agents", metadata.name, open.digest, never),
        ),
      ),
    );
    await meddling;
    const spent = answers.filter((answer) => answer.spent).length;
    assert.ok(spent <= 1, `${spent} times`);
    const last = await make().spend(pod, "agents", metadata.name, open.digest, never);
    assert.equal(spent + (last.spent ? 1 : 0), 1, "and not lost either");
  });

  it("are spent by the same pod, for the same operation, in time, and not otherwise", async () => {
    const approvals = make();
    const { metadata } = await approved(approvals);
    const spend = (by: typeof pod, digest: string) =>
      approvals.spend(by, "agents", metadata.name, digest, never);
    assert.equal((await spend({ ...pod, podUid: "other" }, open.digest)).reason, "RequestNotFound");
    assert.equal((await spend(pod, `sha256-${"b".repeat(43)}`)).reason, "DigestMismatch");
    now += 10 * 60_000;
    assert.equal((await spend(pod, open.digest)).reason, "RequestExpired");
    now -= 1;
    assert.equal((await spend(pod, open.digest)).spent, true);
  });

  it("need two people when the rule says two, and record each word", async () => {
    view.put(
      policy({
        rules: [
          {
            ...approvalRule,
            approval: {
              approvers: [{ group: "finance-leads" }],
              count: 2,
              hold: "1s",
              validFor: "2m",
            },
          },
        ],
      }),
    );
    const approvals = make();
    const { metadata } = await approvals.open(pod, open, never);
    const decide = (approver: Approver) =>
      approvals.decide(
        { namespace: "agents", name: metadata.name, approver, verdict: "Approved" as const },
        never,
      );
    const answers = await Promise.all([decide(alice), decide(alice), decide(bob)]);
    assert.equal(answers.filter((answer) => "refused" in answer).length, 1, "alice counts once");
    assert.equal((await store.get("agents", metadata.name))?.status?.phase, "Approved");
    const people = recorded
      .filter(({ type }) => type === "request-decided")
      .map(({ body }) => body.request?.by);
    assert.deepEqual(new Set(people), new Set(["alice@example.com", "bob"]));
    assert.equal(people.length, 2);
  });

  it("do not let an authenticator claim local mode where there is none", async () => {
    const approvals = make();
    const { metadata } = await approvals.open(pod, open, never);
    const local: Approver = {
      username: "local:dev",
      groups: [],
      isServiceAccount: false,
      local: true,
    };
    const answer = await approvals.decide(
      { namespace: "agents", name: metadata.name, approver: local, verdict: "Approved" },
      never,
    );
    assert.equal("refused" in answer && answer.refused.refused, "NotAnApprover");
  });

  it("say in local mode that nothing was assured", async () => {
    const approvals = make({ isLocal: true });
    const { metadata } = await approvals.open(pod, open, never);
    const local: Approver = {
      username: "local:dev",
      groups: [],
      isServiceAccount: false,
      local: true,
    };
    await approvals.decide(
      { namespace: "agents", name: metadata.name, approver: local, verdict: "Approved" },
      never,
    );
    assert.deepEqual(
      recorded.map(({ type, body }) => [type, body.assurance]),
      [
        ["request-opened", "local"],
        ["request-decided", "local"],
      ],
    );
    assert.equal(
      (await approvals.spend(pod, "agents", metadata.name, open.digest, never)).spent,
      true,
    );
  });

  it("are settled when people decided past us", async () => {
    const approvals = make();
    const { metadata } = await approvals.open(pod, open, never);
    const current = (await store.get("agents", metadata.name)) ?? assert.fail();
    const byKubectl = await store.updateStatus({
      ...current,
      status: {
        decisions: [
          {
            verdict: "Approved",
            by: "alice",
            groups: ["finance-leads"],
            at: new Date(now).toISOString(),
          },
        ],
      },
    });
    await Promise.all([approvals.settle(byKubectl, never), make().settle(byKubectl, never)]);
    assert.equal((await store.get("agents", metadata.name))?.status?.phase, "Approved");
    assert.equal(recorded.filter(({ type }) => type === "request-decided").length, 1);
  });

  it("expire by time, are written down once, and say which kind of silence it was", async () => {
    const approvals = make();
    const first = await approved(approvals);
    await approvals.open(pod, { ...open, digest: `sha256-${"b".repeat(43)}` }, never);
    now += 10 * 60_000;
    assert.equal(phaseAt(first, now), "Expired");
    assert.equal(await approvals.expire(never), 1);
    now += pendingLifeMs;
    assert.equal(await approvals.expire(never), 1);
    assert.equal(await approvals.expire(never), 0);
    assert.deepEqual(
      recorded
        .filter(({ body }) => body.request?.verdict === "Expired")
        .map(({ body }) => body.request?.reason),
      ["the approval was not used in time", "nobody decided in time"],
    );
    assert.notEqual((await approvals.open(pod, open, never)).metadata.name, first.metadata.name);
  });

  it("forget the parameters when they are over", async () => {
    const approvals = make();
    const { metadata } = await approved(approvals);
    assert.equal(approvals.detail("agents", metadata.name), "[42]");
    await approvals.spend(pod, "agents", metadata.name, open.digest, never);
    assert.equal(approvals.detail("agents", metadata.name), undefined);
    assert.doesNotMatch(
      JSON.stringify(await store.get("agents", metadata.name)),
      /\[42\]/,
      "and never stood in the resource",
    );
  });
});

describe("names of access requests", () => {
  it("are DNS labels of at most 63 characters, whatever the connection is called", () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?$/),
        fc.nat(100),
        (name, earlier) => {
          const made = requestName(
            name,
            "uid",
            { connection: `agents/${name}`, digest: "d" },
            earlier,
          );
          assert.match(made, /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/);
          assert.ok(made.length <= 63);
        },
      ),
    );
  });
});

describe("what an approver reads", () => {
  it("holds no controls, no line breaks and nothing that turns text around", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        assert.doesNotMatch(printable(text), /[\p{Cc}\p{Cf}\u2028\u2029]/u);
      }),
    );
    assert.equal(printable("DELETE\u202E FROM\n\torders\u0007"), "DELETE  FROM orders");
  });
});

describe("kept details", () => {
  it("are bounded all together, oldest first", () => {
    const details = memoryDetails();
    const chunk = "x".repeat(256 * 1024);
    for (let i = 0; i < 200; i += 1) details.put(String(i), chunk);
    assert.equal(details.get("0"), undefined);
    assert.equal(details.get("199"), chunk);
    details.put("big", `${chunk}x`);
    assert.equal(details.get("big"), undefined);
  });
});
