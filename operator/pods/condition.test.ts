// What the condition of a pod says of how it is held, and when it says nothing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { podOf } from "../injection/fixture.ts";
import type { JsonObject } from "../kube/objects.ts";
import { knownHeld, podHeld, type PodJudge } from "./condition.ts";

const judge: PodJudge = { notInjected: () => undefined, proxyUid: 64_535 };

const held = {
  runAsUser: 1000,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  seccompProfile: { type: "RuntimeDefault" },
};

function redirected(verifier: JsonObject, securityContext: JsonObject = held): JsonObject {
  return {
    ...podOf(
      { containers: [{ name: "agent", image: "agent:1", securityContext }] },
      { annotations: { "chaperone.dev/interception": "redirect" } },
    ),
    status: {
      phase: "Running",
      initContainerStatuses: [
        { name: "chaperone-proxy", state: { running: {} } },
        { name: "chaperone-verify", ...verifier },
      ],
    },
  };
}

const ended = (exitCode: number): JsonObject => ({ state: { terminated: { exitCode } } });

function said(pod: JsonObject, by: PodJudge = judge): string | undefined {
  const condition = podHeld(pod, by);
  return condition && `${condition.status} ${condition.reason}: ${condition.message}`;
}

test("a pod is held once the verifier got nowhere and its containers can gain nothing", () => {
  assert.match(said(redirected(ended(0))) ?? "", /^True Locked: /);
});

test("what is missing is named first, after the tier", () => {
  assert.match(
    said(redirected(ended(0), { ...held, runAsUser: 0 })) ?? "",
    /^False Redirected: Root: spec\.containers\[0\]/,
  );
  assert.match(said(podOf()) ?? "", /^False Cooperative: NotRedirected: /);
});

test("nothing is said before the verifier came to an end, and a failure is said while it is tried again", () => {
  assert.equal(said(redirected({ state: { waiting: { reason: "PodInitializing" } } })), undefined);
  assert.equal(said(redirected({ state: { running: {} } })), undefined);
  assert.equal(said({ ...redirected({}), status: {} }), undefined);
  assert.match(said(redirected(ended(1))) ?? "", /^False NotProven: /);
  const again = {
    state: { waiting: { reason: "CrashLoopBackOff" } },
    lastState: { terminated: { exitCode: 1 } },
  };
  assert.match(said(redirected(again)) ?? "", /^False NotProven: /);
});

test("a pod that only looks injected is said to be none, however it was told to be held", () => {
  const forged = { ...judge, notInjected: () => "it has another image" };
  assert.match(said(redirected(ended(0)), forged) ?? "", /^False NotInjected: .*another image$/);
});

test("what was said of a pod stays when it is over", () => {
  for (const phase of ["Succeeded", "Failed"])
    assert.equal(said({ ...podOf(), status: { phase } }), undefined);
});

test("the condition is read back without the fields that others fill in", () => {
  const ours = {
    type: "chaperone.dev/Held",
    status: "True",
    reason: "Locked",
    message: "m",
    lastTransitionTime: "2026-11-30T10:00:00Z",
  } as const;
  const conditions = [
    { type: "Ready", status: "True" },
    { ...ours, lastProbeTime: null },
  ];
  assert.deepEqual(knownHeld({ ...podOf(), status: { conditions } }), ours);
  assert.equal(knownHeld(podOf()), undefined);
});
