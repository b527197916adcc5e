// Port-forwards into agents' pods: they would come out on the proxy's loopback listeners, where whoever speaks is taken for the agent.
import type { EventBody, EventType } from "../../contract/event.ts";
import type { AdmissionAnswer, AdmissionRequest } from "./review.ts";

export function isPortForward({ resource, subresource, operation }: AdmissionRequest): boolean {
  return resource === "pods" && subresource === "portforward" && operation === "CONNECT";
}

export interface PortForwards {
  /** Whether the pod asked for a proxy when it was created. */
  readonly isInjected: (namespace: string, name: string) => boolean;
  /** Audit events of the operator's own stream. */
  readonly record: (type: EventType, body: EventBody) => void;
}

export function admitPortForward(
  { namespace, name, user }: AdmissionRequest,
  { isInjected, record }: PortForwards,
): AdmissionAnswer {
  if (!isInjected(namespace, name)) return { allowed: true };
  const message = `${user.username} may not forward ports of pod ${namespace}/${name}: whoever reaches its proxy that way would act as the agent; use a Service, or kubectl exec in the agent's own container`;
  record("error", { error: { code: "PortForwardRefused", message } });
  return { allowed: false, code: 403, message };
}
