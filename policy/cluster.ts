// Which restrictions of the cluster count for a subject on a connection, and what of them its protocol can hold.
import type { ClusterAccessPolicy, Connection } from "../crds/types.gen.ts";
import type { Protocol } from "./operation.ts";
import { compilePattern, matches } from "./pattern.ts";

/** No namespace is called so: whoever reads the name of a policy in an event knows where it stands. */
export const clusterScope = "*";

/** As decisions, events and access requests name it. */
export function clusterPolicyName({ metadata }: ClusterAccessPolicy): string {
  return `${clusterScope}/${metadata.name}`;
}

/** Either side counts: neither moving the agent nor moving the connection to another namespace leaves it behind. */
export function restricts(
  policy: ClusterAccessPolicy,
  connection: Pick<Connection, "metadata">,
  subject: { readonly namespace: string },
): boolean {
  return (
    restrictsNamespace(policy, connection.metadata.namespace) ||
    restrictsNamespace(policy, subject.namespace)
  );
}

/** Whether it counts for connections and for agents of the namespace. */
export function restrictsNamespace({ spec }: ClusterAccessPolicy, namespace: string): boolean {
  return spec.namespaces?.some((pattern) => matches(compilePattern(pattern), namespace)) ?? true;
}

/**
 * Whether answers have columns, and whether requests can be masked. Where they do not, a mask of the whole cluster is about
 * nothing, while one of a policy that names the connection is a mistake (crds/conditions.ts).
 */
const maskable: Readonly<
  Record<Protocol, { readonly columns: boolean; readonly requests: boolean }>
> = {
  postgres: { columns: true, requests: false },
  http: { columns: false, requests: true },
  openai: { columns: false, requests: true },
  anthropic: { columns: false, requests: true },
  gemini: { columns: false, requests: true },
  bedrock: { columns: false, requests: true },
  mcp: { columns: false, requests: true },
  passthrough: { columns: false, requests: false },
};

/** The policy without the masks that have nothing to be about on such a connection. Detectors stay: what cannot be looked into is refused. */
export function heldOn(
  protocol: Protocol,
  spec: ClusterAccessPolicy["spec"],
): ClusterAccessPolicy["spec"] {
  if (spec.masking === undefined) return spec;
  const { columns, requests } = maskable[protocol];
  const masking = spec.masking.flatMap((entry) => {
    if (entry.columns !== undefined) return columns ? [entry] : [];
    if (requests || entry.direction === "response") return [entry];
    return entry.direction === "both" ? [{ ...entry, direction: "response" as const }] : [];
  });
  return { ...spec, masking };
}
