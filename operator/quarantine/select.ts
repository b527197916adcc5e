// Whom a Quarantine cuts off, and whether it is in force: pure, asked before every grant and for every stream message.
import type { Quarantine } from "../../crds/types.gen.ts";
import { compilePattern, matches } from "../../policy/pattern.ts";
import type { PodIdentity } from "../resources.ts";

/** As much of a pod as a quarantine can name. A chain is not among it: it is what the agent says of itself. */
export type QuarantinedPod = Pick<PodIdentity, "namespace" | "serviceAccount" | "pod">;

/** Everything, or `namespace/name` patterns of connections. */
export type Reach = "*" | readonly string[];

/**
 * What of `pod` the quarantine cuts off; undefined for nothing. `operatorNamespace` is where a quarantine reaches every
 * namespace (undefined where there is none, in local mode).
 *
 * | in namespace | plain name | `ns/name` |
 * | --- | --- | --- |
 * | the operator's | that name in every namespace | as written, `*` allowed |
 * | any other | of this namespace | counts only when `ns` is this namespace |
 */
export function reach(
  quarantine: Quarantine,
  pod: QuarantinedPod,
  operatorNamespace: string | undefined,
): Reach | undefined {
  const { namespace } = quarantine.metadata;
  const { subjects, connections, all } = quarantine.spec;
  const everywhere = namespace === operatorNamespace;
  const isOurPod = everywhere || pod.namespace === namespace;
  if (all === true) return isOurPod ? "*" : [`${namespace}/*`];
  if (subjects === undefined && connections === undefined) return undefined;
  const qualify = (name: string): string | undefined => qualified(name, namespace, everywhere);
  const isSubject = (subjects ?? [{}]).some(
    ({ serviceAccounts, pods }) =>
      named(serviceAccounts, `${pod.namespace}/${pod.serviceAccount}`, qualify) &&
      named(pods, `${pod.namespace}/${pod.pod}`, qualify),
  );
  if (!isSubject) return undefined;
  if (connections === undefined) return isOurPod ? "*" : undefined;
  const patterns = connections.flatMap((name) => qualify(name) ?? []);
  return patterns.length === 0 ? undefined : patterns;
}

/** Whether the quarantine cuts `pod` off, wholly or on `connection` (`namespace/name`). */
export function selects(
  quarantine: Quarantine,
  pod: QuarantinedPod,
  connection: string | undefined,
  operatorNamespace: string | undefined,
): boolean {
  const cut = reach(quarantine, pod, operatorNamespace);
  return cut !== undefined && covers(cut, connection);
}

/** Whether `cut` holds for `connection`; without one, whether it holds for everything. */
export function covers(cut: Reach, connection: string | undefined): boolean {
  if (cut === "*") return true;
  return (
    connection !== undefined && cut.some((pattern) => matches(compilePattern(pattern), connection))
  );
}

/** In force at `now`: not deleted, and not past its `until`. An `until` that cannot be read does not end it. */
export function isActive(quarantine: Quarantine, now: number): boolean {
  const { until } = quarantine.spec;
  return until === undefined || !(Date.parse(until) <= now);
}

export interface QuarantineOrder {
  /** `namespace/name`. */
  readonly name: string;
  readonly reason: string;
  readonly reach: Reach;
}

/** Every quarantine in force that cuts something of `pod` off. */
export function ordersFor(
  quarantines: readonly Quarantine[],
  pod: QuarantinedPod,
  now: number,
  operatorNamespace: string | undefined,
): QuarantineOrder[] {
  return quarantines.flatMap((quarantine) => {
    const cut = isActive(quarantine, now) ? reach(quarantine, pod, operatorNamespace) : undefined;
    return cut === undefined
      ? []
      : [{ name: quarantineName(quarantine), reason: quarantine.spec.reason, reach: cut }];
  });
}

export function quarantineName(quarantine: Quarantine): string {
  return `${quarantine.metadata.namespace}/${quarantine.metadata.name}`;
}

/** The sentence agents are told. */
export function quarantineMessage(order: Pick<QuarantineOrder, "name" | "reason">): string {
  return `quarantine ${order.name} cuts this off: ${order.reason}`;
}

function named(
  patterns: readonly string[] | undefined,
  text: string,
  qualify: (name: string) => string | undefined,
): boolean {
  if (patterns === undefined) return true;
  return patterns.some((name) => {
    const pattern = qualify(name);
    return pattern !== undefined && matches(compilePattern(pattern), text);
  });
}

/** `namespace/name` with exactly one slash on both sides of a match, so a `*` never crosses from one into the other. */
function qualified(name: string, namespace: string, everywhere: boolean): string | undefined {
  const slash = name.indexOf("/");
  if (slash < 0) return everywhere ? `*/${name}` : `${namespace}/${name}`;
  return everywhere || name.slice(0, slash) === namespace ? name : undefined;
}
