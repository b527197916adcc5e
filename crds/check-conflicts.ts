// The findings between objects, placed at the manifests that show them.
import type { Located } from "./check.ts";
import {
  clusterShadowFindings,
  connectionFindings,
  policyFindings,
  shadowFindings,
} from "./conditions.ts";
import type { Manifest } from "./manifest.ts";
import type { ProblemPath } from "./problem.ts";
import type { AccessPolicy, ClusterAccessPolicy, Connection } from "./types.gen.ts";

export interface PlacedProblem {
  readonly manifest: Manifest;
  readonly path: ProblemPath;
  readonly message: string;
}

/** `broken`: `namespace/name` of Connections that are there but wrong, which is said where they stand. */
export function conflictProblems(
  connections: readonly Located<Connection>[],
  policies: readonly Located<AccessPolicy>[],
  clusterPolicies: readonly ClusterAccessPolicy[],
  broken: ReadonlySet<string>,
): readonly PlacedProblem[] {
  const allConnections = byNamespace(connections);
  const allPolicies = byNamespace(policies);
  const aboutPolicies = policies.flatMap(({ object, manifest }) => {
    const { namespace } = object.metadata;
    const findings = [
      ...policyFindings(object, allConnections.get(namespace) ?? []),
      ...shadowFindings(object, allPolicies.get(namespace) ?? []),
      ...clusterShadowFindings(object, clusterPolicies),
    ];
    return findings
      .filter(
        ({ reason, path }) =>
          !(reason === "TargetNotFound" && broken.has(`${namespace}/${targetName(object, path)}`)),
      )
      .map(({ path, message }) => ({ manifest, path, message }));
  });
  const aboutConnections = connections.flatMap(({ object, manifest }) =>
    connectionFindings(object, allConnections.get(object.metadata.namespace) ?? []).map(
      ({ path, message }) => ({ manifest, path, message }),
    ),
  );
  return [...aboutPolicies, ...aboutConnections];
}

function byNamespace<T extends Connection | AccessPolicy>(
  located: readonly Located<T>[],
): ReadonlyMap<string, readonly T[]> {
  return Map.groupBy(
    located.map(({ object }) => object),
    ({ metadata }) => metadata.namespace,
  );
}

function targetName(policy: AccessPolicy, path: ProblemPath): string {
  return policy.spec.targetRefs[Number(path[2])]?.name ?? "";
}
