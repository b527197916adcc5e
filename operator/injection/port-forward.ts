// Port-forwards into agents' pods: they would come out on the proxy's loopback listeners, where whoever speaks is taken for the agent.
import type { AdmissionAnswer, AdmissionRequest } from "./review.ts";

export function isPortForward({ resource, subresource, operation }: AdmissionRequest): boolean {
  return resource === "pods" && subresource === "portforward" && operation === "CONNECT";
}

/** @param isInjected whether the pod asked for a proxy when it was created */
export function admitPortForward(
  { namespace, name, user }: AdmissionRequest,
  isInjected: (namespace: string, name: string) => boolean,
): AdmissionAnswer {
  if (!isInjected(namespace, name)) return { allowed: true };
  return {
    allowed: false,
    code: 403,
    message: `${user.username} may not forward ports of pod ${namespace}/${name}: whoever reaches its proxy that way would act as the agent; use a Service, or kubectl exec in the agent's own container`,
  };
}
