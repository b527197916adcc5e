// By how many proxies a policy is enforced, counted from what the proxies themselves report.
import type { AccessPolicy, ClusterAccessPolicy } from "../../crds/types.gen.ts";
import { restrictsNamespace } from "../../policy/cluster.ts";
import { selectsSubject } from "../../policy/select.ts";
import type { KnownView } from "../api/views.ts";

export interface Enforcement {
  /** Proxies of the policy's subjects that hold rules for a connection it targets. */
  readonly proxies: number;
  /** Those whose rules are the ones that govern now. */
  readonly current: number;
  /** Milliseconds since 1970; undefined when there is no proxy. */
  readonly oldestViewAt: number | undefined;
}

/** Generation of the bundle that governs a subject on `namespace/name` now; undefined when nothing does. */
export type CurrentBundle = (
  subject: { readonly namespace: string; readonly serviceAccount: string },
  connection: string,
) => string | undefined;

/**
 * A proxy that holds no rules for the connection has nothing to be out of date: it asks on first use, and is not counted.
 */
export function enforcement(
  policy: AccessPolicy,
  views: readonly KnownView[],
  currentBundle: CurrentBundle,
): Enforcement {
  const targeted = new Set(
    policy.spec.targetRefs.map(({ name }) => `${policy.metadata.namespace}/${name}`),
  );
  return counted(
    (pod, connection) => selectsSubject(policy, pod) && targeted.has(connection),
    views,
    currentBundle,
  );
}

/** The same of a restriction of the cluster: proxies of either side count. */
export function clusterEnforcement(
  policy: ClusterAccessPolicy,
  views: readonly KnownView[],
  currentBundle: CurrentBundle,
): Enforcement {
  return counted(
    (pod, connection) =>
      restrictsNamespace(policy, pod.namespace) ||
      restrictsNamespace(policy, connection.slice(0, connection.indexOf("/"))),
    views,
    currentBundle,
  );
}

function counted(
  concerns: (pod: KnownView["pod"], connection: string) => boolean,
  views: readonly KnownView[],
  currentBundle: CurrentBundle,
): Enforcement {
  const known = new Map<string, string | undefined>();
  const bundleFor = (subject: KnownView["pod"], connection: string): string | undefined => {
    const key = `${subject.namespace}/${subject.serviceAccount} ${connection}`;
    if (!known.has(key)) known.set(key, currentBundle(subject, connection));
    return known.get(key);
  };
  let proxies = 0;
  let current = 0;
  let oldestViewAt: number | undefined;
  for (const { pod, view, receivedAt } of views) {
    const held = view.connections.filter(
      ({ connection, bundle }) => bundle !== "" && concerns(pod, connection),
    );
    if (held.length === 0) continue;
    proxies += 1;
    oldestViewAt = Math.min(oldestViewAt ?? receivedAt, receivedAt);
    if (held.every(({ connection, bundle }) => bundleFor(pod, connection) === bundle)) current += 1;
  }
  return { proxies, current, oldestViewAt };
}
