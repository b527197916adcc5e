// What an AccessPolicy's status says, from the policy, its neighbours and its proxies: pure.
import {
  clusterShadowFindings,
  policyFindings,
  shadowFindings,
  type Finding,
} from "../../crds/conditions.ts";
import { formatPath, formatProblem, type Problem } from "../../crds/problem.ts";
import type {
  AccessPolicy,
  AccessPolicyStatus,
  ClusterAccessPolicy,
  Connection,
} from "../../crds/types.gen.ts";
import { mergeConditions, type WantedCondition } from "../kube/conditions.ts";
import type { Enforcement } from "./enforcement.ts";
import { heldCondition, type HeldPod } from "./held.ts";

/** Proxies report every few seconds; a view older than this is worth telling. */
export const staleViewMs = 30_000;

export interface PolicyFacts {
  readonly policy: AccessPolicy;
  /** Of the policy's namespace, both. */
  readonly connections: readonly Connection[];
  readonly policies: readonly AccessPolicy[];
  readonly clusterPolicies: readonly ClusterAccessPolicy[];
  /** What validation says of the stored object, which admission may have let in before it knew better. */
  readonly problems: readonly Problem[];
  readonly enforcement: Enforcement;
  /** Those that it governs, as far as they are known. */
  readonly pods?: readonly HeldPod[];
  readonly now: number;
}

export function policyStatus(facts: PolicyFacts): AccessPolicyStatus {
  const { policy, now } = facts;
  const { generation } = policy.metadata;
  const acceptedNow = accepted(facts);
  const wanted = [
    acceptedNow,
    enforced(facts, acceptedNow),
    ...heldCondition(policy, facts.pods ?? []),
    ...shadowed(facts),
  ];
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    conditions: mergeConditions(policy.status?.conditions, wanted, generation, now),
  };
}

export interface ClusterPolicyFacts {
  readonly policy: ClusterAccessPolicy;
  readonly problems: readonly Problem[];
  readonly enforcement: Enforcement;
  readonly now: number;
}

/** What stands in the status of a ClusterAccessPolicy: it names no targets that could be missing. */
export function clusterPolicyStatus(facts: ClusterPolicyFacts): AccessPolicyStatus {
  const { policy, problems, enforcement, now } = facts;
  const { generation } = policy.metadata;
  const invalid = problems.map(formatProblem).join("; ");
  const wanted: readonly WantedCondition[] =
    problems.length > 0
      ? [
          { type: "Accepted", status: "False", reason: "Invalid", message: invalid },
          { type: "Enforced", status: "False", reason: "NotAccepted", message: invalid },
        ]
      : [
          {
            type: "Accepted",
            status: "True",
            reason: "Accepted",
            message: `it counts for ${policy.spec.namespaces?.join(", ") ?? "every namespace"}`,
          },
          byProxies(enforcement, now),
        ];
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    conditions: mergeConditions(policy.status?.conditions, wanted, generation, now),
  };
}

function accepted({ policy, connections, problems }: PolicyFacts): WantedCondition {
  const [problem] = problems;
  if (problem !== undefined) {
    return {
      type: "Accepted",
      status: "False",
      reason: "Invalid",
      message: problems.map(formatProblem).join("; "),
    };
  }
  const findings = policyFindings(policy, connections);
  const [first] = findings;
  if (first === undefined)
    return {
      type: "Accepted",
      status: "True",
      reason: "Accepted",
      message: "every target is there, and every rule can be enforced on it",
    };
  return {
    type: "Accepted",
    status: "False",
    reason: first.reason,
    message: findings.map(describe).join("; "),
  };
}

function shadowed(facts: PolicyFacts): readonly WantedCondition[] {
  const { policy, policies, clusterPolicies } = facts;
  const findings = [
    ...shadowFindings(policy, policies),
    ...clusterShadowFindings(policy, clusterPolicies),
  ];
  if (findings.length === 0) return [];
  return [
    {
      type: "Shadowed",
      status: "True",
      reason: "Shadowed",
      message: findings.map(describe).join("; "),
    },
  ];
}

/** What is said about a policy that is not accepted would be about rules that may not count. */
function enforced(
  { policy, enforcement, now }: PolicyFacts,
  acceptedNow: WantedCondition,
): WantedCondition {
  const type = "Enforced";
  if (acceptedNow.status === "False")
    return { type, status: "False", reason: "NotAccepted", message: acceptedNow.message };
  if (policy.spec.mode === "Observe")
    return {
      type,
      status: "False",
      reason: "Observing",
      message: "mode Observe: what it would decide is recorded, nothing is refused",
    };
  return byProxies(enforcement, now);
}

function byProxies(enforcement: Enforcement, now: number): WantedCondition {
  const type = "Enforced";
  const { proxies, current, oldestViewAt } = enforcement;
  if (proxies === 0)
    return {
      type,
      status: "Unknown",
      reason: "NoProxies",
      message: "no proxy holds its rules now; one that asks for a grant gets them",
    };
  const stale = oldestViewAt !== undefined && now - oldestViewAt > staleViewMs;
  const age = stale ? `; the oldest view is of ${new Date(oldestViewAt).toISOString()}` : "";
  const message = `${current} of ${proxies} proxies enforce it${age}`;
  if (current < proxies) return { type, status: "False", reason: "Pending", message };
  return stale
    ? { type, status: "Unknown", reason: "StaleView", message }
    : { type, status: "True", reason: "Enforced", message };
}

function describe({ path, message }: Finding): string {
  return `${formatPath(path)}: ${message}`;
}
