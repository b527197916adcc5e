// What is wrong between objects: conditions on their status in a cluster, errors in `chaperone check`. Pure, so that both say the same.
import { clusterPolicyName, restrictsNamespace } from "../policy/cluster.ts";
import { shadowedRules } from "../policy/conflicts.ts";
import { llmProtocols, protocols } from "../policy/operation.ts";
import { ruleBlocks } from "../policy/when.ts";
import { dialledHosts, endpointAddress } from "./endpoint.ts";
import type { ProblemPath } from "./problem.ts";
import { selectsAllOf } from "./subjects.ts";
import type { AccessPolicy, ClusterAccessPolicy, Connection, PolicyRule } from "./types.gen.ts";

/** Stable; they stand in status and docs. Never reuse one. */
export type FindingReason = "TargetNotFound" | "Unenforceable" | "Shadowed" | "HostPortConflict";

export interface Finding {
  readonly reason: FindingReason;
  readonly path: ProblemPath;
  readonly message: string;
}

type Protocol = Connection["spec"]["protocol"];

/** Which protocols can enforce what a policy asks for. */
const enforcedBy = {
  sql: ["postgres"],
  http: ["http", ...llmProtocols],
  llm: llmProtocols,
  mcp: ["mcp"],
  passthrough: ["passthrough"],
  columns: ["postgres"],
  detect: ["postgres", "http", "mcp", ...llmProtocols],
  requestMasks: ["http", "mcp", ...llmProtocols],
  rowsPerResult: ["postgres"],
  requestsPerMinute: protocols,
  bytesPerResult: protocols,
  maxConnections: protocols,
  idleTimeout: protocols,
  statementTimeout: ["postgres"],
  tokensPerMinute: llmProtocols,
  tokensPerDay: llmProtocols,
  costPerDay: llmProtocols,
  repeats: ["postgres", "http", ...llmProtocols],
} satisfies Readonly<Record<string, readonly Protocol[]>>;

/** `connections`: those of the policy's namespace. */
export function policyFindings(
  policy: AccessPolicy,
  connections: readonly Connection[],
): readonly Finding[] {
  const byName = new Map(
    connections
      .filter((connection) => sameNamespace(policy, connection))
      .map((connection) => [connection.metadata.name, connection]),
  );
  const missing: Finding[] = [];
  const targets: Connection[] = [];
  for (const [index, { name }] of policy.spec.targetRefs.entries()) {
    const target = byName.get(name);
    if (target !== undefined) targets.push(target);
    else
      missing.push({
        reason: "TargetNotFound",
        path: ["spec", "targetRefs", index, "name"],
        message: `no Connection ${name} in namespace ${policy.metadata.namespace}`,
      });
  }
  // A rule may be meant for the target that is still to come.
  const rules =
    missing.length > 0
      ? []
      : (policy.spec.rules ?? []).flatMap((rule, index) => ruleFindings(rule, index, targets));
  return [...missing, ...rules, ...targets.flatMap((target) => targetFindings(policy, target))];
}

function sameNamespace(policy: AccessPolicy, other: Connection | AccessPolicy): boolean {
  return policy.metadata.namespace === other.metadata.namespace;
}

/** A rule is about those targets that speak its protocol; with none it can do nothing. */
function ruleFindings(
  rule: PolicyRule,
  index: number,
  targets: readonly Connection[],
): readonly Finding[] {
  const block = ruleBlocks.find((name) => rule[name] !== undefined);
  if (block === undefined) return [];
  const able: readonly Protocol[] = enforcedBy[block];
  if (targets.some(({ spec }) => able.includes(spec.protocol))) return [];
  const named = targets
    .map(({ metadata, spec }) => `${metadata.name} (${spec.protocol})`)
    .join(", ");
  return [
    {
      reason: "Unenforceable",
      path: ["spec", "rules", index, block],
      message: `a ${block} block needs a connection of protocol ${able.join(" or ")}, and the targets are ${named}`,
    },
  ];
}

/** Masks and limits count on every target: one that cannot enforce them would be an open door. */
function targetFindings(policy: AccessPolicy, target: Connection): readonly Finding[] {
  const { protocol } = target.spec;
  const findings: Finding[] = [];
  const cannot = (feature: keyof typeof enforcedBy): boolean =>
    !(enforcedBy[feature] as readonly Protocol[]).includes(protocol);
  const masking = policy.spec.masking ?? [];
  const asks = (feature: "columns" | "detect"): boolean =>
    masking.some((entry) => entry[feature] !== undefined) && cannot(feature);
  if (asks("columns") || asks("detect")) {
    const why =
      protocol === "passthrough"
        ? "masking on passthrough connections is impossible, since their TLS is not opened"
        : `answers of ${protocol} connections have no columns`;
    const instead = protocol === "passthrough" ? "without masking" : "that masks by detect";
    findings.push({
      reason: "Unenforceable",
      path: ["spec", "masking"],
      message: `${why}: give connection ${target.metadata.name} a policy ${instead}`,
    });
  }
  for (const [index, { direction = "response" }] of masking.entries())
    if (direction !== "response" && protocol !== "passthrough" && cannot("requestMasks"))
      findings.push({
        reason: "Unenforceable",
        path: ["spec", "masking", index, "direction"],
        message: `requests of ${protocol} connections are not masked: set direction to response, or give connection ${target.metadata.name} a policy of its own`,
      });
  for (const limit of [
    "rowsPerResult",
    "requestsPerMinute",
    "bytesPerResult",
    "maxConnections",
    "idleTimeout",
    "statementTimeout",
    "tokensPerMinute",
    "tokensPerDay",
    "costPerDay",
    "repeats",
  ] as const) {
    if (policy.spec.limits?.[limit] === undefined || !cannot(limit)) continue;
    findings.push({
      reason: "Unenforceable",
      path: ["spec", "limits", limit],
      message: `${protocol} connections cannot enforce ${limit}: give connection ${target.metadata.name} a policy without it`,
    });
  }
  return findings;
}

/** Rules of this policy that rules of other policies always overrule. */
export function shadowFindings(
  policy: AccessPolicy,
  policies: readonly AccessPolicy[],
): readonly Finding[] {
  if (policy.spec.mode !== "Enforce") return [];
  const rules = policy.spec.rules ?? [];
  const seen = new Set<number>();
  const findings: Finding[] = [];
  for (const other of policies) {
    if (
      other.metadata.name === policy.metadata.name ||
      other.spec.mode !== "Enforce" ||
      !sameNamespace(policy, other) ||
      !targetsAllOf(other, policy)
    )
      continue;
    const stronger = (other.spec.rules ?? []).filter((rule) =>
      selectsAllOf(other, policy, rule.action),
    );
    for (const { index, message } of shadowedRules(rules, other.metadata.name, stronger)) {
      if (seen.has(index)) continue;
      seen.add(index);
      findings.push({ reason: "Shadowed", path: ["spec", "rules", index], message });
    }
  }
  return findings;
}

/** Rules of this policy that restrictions of the cluster always overrule. */
export function clusterShadowFindings(
  policy: AccessPolicy,
  clusterPolicies: readonly ClusterAccessPolicy[],
): readonly Finding[] {
  const seen = new Set<number>();
  return clusterPolicies
    .filter((cluster) => restrictsNamespace(cluster, policy.metadata.namespace))
    .flatMap((cluster) =>
      shadowedRules(
        policy.spec.rules ?? [],
        clusterPolicyName(cluster),
        // What a person is asked about can still take effect.
        (cluster.spec.rules ?? []).filter(({ action }) => action === "Deny"),
      ),
    )
    .flatMap(({ index, message }): readonly Finding[] => {
      if (seen.has(index)) return [];
      seen.add(index);
      return [{ reason: "Shadowed", path: ["spec", "rules", index], message }];
    });
}

function targetsAllOf(wide: AccessPolicy, narrow: AccessPolicy): boolean {
  const names = new Set(wide.spec.targetRefs.map(({ name }) => name));
  return narrow.spec.targetRefs.every(({ name }) => names.has(name));
}

/** Other Connections of the namespace that claim a host and port of this one. Several urls may share them when their paths differ. */
export function connectionFindings(
  connection: Connection,
  connections: readonly Connection[],
): readonly Finding[] {
  const claim = claimOf(connection);
  if (claim === undefined) return [];
  return connections.flatMap((other): readonly Finding[] => {
    const { name, namespace } = other.metadata;
    if (namespace !== connection.metadata.namespace || name === connection.metadata.name) return [];
    const theirs = claimOf(other);
    const host = theirs === undefined ? undefined : sharedHost(claim, theirs);
    if (host === undefined) return [];
    const hint =
      claim.basePath === undefined
        ? "give one of them other hosts"
        : "give one of them other hosts or another path in its url";
    return [
      {
        reason: "HostPortConflict",
        path: claim.path,
        message: `connection ${name} also answers for ${host}:${claim.port}: ${hint}`,
      },
    ];
  });
}

interface Claim {
  readonly hosts: readonly string[];
  readonly port: number;
  /** Undefined when nothing but the address tells connections apart. */
  readonly basePath: string | undefined;
  readonly tls: string;
  readonly path: ProblemPath;
}

function claimOf({ spec }: Connection): Claim | undefined {
  const address = endpointAddress(spec);
  if (address === undefined) return undefined;
  const path =
    spec.hosts !== undefined
      ? ["spec", "hosts"]
      : ["spec", "endpoint", spec.endpoint.url === undefined ? "host" : "url"];
  // A url's path tells its connection apart; a host alone does not.
  const basePath = spec.endpoint.url === undefined ? undefined : address.basePath;
  return { hosts: dialledHosts(spec), port: address.port, basePath, tls: address.tls, path };
}

function sharedHost(a: Claim, b: Claim): string | undefined {
  if (a.port !== b.port) return undefined;
  const apart =
    a.basePath !== undefined &&
    b.basePath !== undefined &&
    a.basePath !== b.basePath &&
    a.tls === b.tls;
  return apart ? undefined : a.hosts.find((host) => b.hosts.includes(host));
}
