// An access request as others see it: its phase at this moment, its place, and the answer a proxy gets.
import type { RequestPhase, RequestState } from "../../contract/control.ts";
import type { AccessRequest } from "../../crds/types.gen.ts";
import { phaseOf } from "./decide.ts";

/** `namespace/name` of what a reference inside `namespace` means. */
export function qualify(reference: string, namespace: string): string {
  return reference.includes("/") ? reference : `${namespace}/${reference}`;
}

/** How `namespace/name` is written inside `within`. */
export function relative(namespace: string, name: string, within: string): string {
  return namespace === within ? name : `${namespace}/${name}`;
}

/** `name` or `namespace/name`, as said by someone in `within`. */
export function splitReference(
  reference: string,
  within: string,
): { readonly namespace: string; readonly name: string } {
  const slash = reference.indexOf("/");
  return slash < 0
    ? { namespace: within, name: reference }
    : { namespace: reference.slice(0, slash), name: reference.slice(slash + 1) };
}

/** The connection that the request is about, `namespace/name`. */
export function connectionOf(request: AccessRequest): string {
  return qualify(request.spec.connection, request.metadata.namespace);
}

/** The phase at `now`: time passes also while nobody writes it down. */
export function phaseAt(request: AccessRequest, now: number): RequestPhase {
  const phase = phaseOf(request);
  if (phase === "Pending" && Date.parse(request.spec.expiresAt) <= now) return "Expired";
  if (phase === "Approved" && !(Date.parse(request.status?.validUntil ?? "") > now))
    return "Expired";
  return phase;
}

/** What the proxy of a pod in `within` is told. */
export function stateOf(request: AccessRequest, within: string, now: number): RequestState {
  const decision =
    request.status?.decisions?.findLast(({ verdict }) => verdict === "Denied") ??
    request.status?.decisions?.at(-1);
  return {
    name: relative(request.metadata.namespace, request.metadata.name, within),
    phase: phaseAt(request, now),
    connection: connectionOf(request),
    digest: request.spec.digest,
    ...(decision === undefined ? {} : { by: decision.by }),
    ...(decision?.reason === undefined ? {} : { reason: decision.reason }),
    ...(request.status?.validUntil === undefined ? {} : { validUntil: request.status.validUntil }),
  };
}
