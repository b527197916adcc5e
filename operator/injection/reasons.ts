// Why a pod is left alone, or not admitted: stable codes for metrics and tests, and a sentence each that says what to do.
import { annotations, injectLabel } from "./names.ts";

export const skipReasons = {
  NotLabelled: `the pod has no label ${injectLabel}: "true"`,
  MirrorPod: "a static pod of a node cannot be changed at admission",
} as const;

export const refuseReasons = {
  HostNetwork:
    "hostNetwork shares the node's network, where the proxy's addresses would be everybody's: remove hostNetwork",
  HostPID: "hostPID lets the agent see into the proxy's process: remove hostPID",
  ShareProcessNamespace:
    "shareProcessNamespace lets the agent see into the proxy's process: remove shareProcessNamespace",
  Windows: "pods of Windows nodes cannot run the proxy: run the agent on Linux",
  ProxyUid: "no container but the proxy runs as its user id: choose another runAsUser",
  ContainerName:
    "the container names chaperone-proxy, chaperone-init and chaperone-verify belong to injection: rename the container",
  VolumeName:
    "volumes named chaperone-token, -pod, -spool, -ca and -trust belong to injection: rename the volume",
  ProxyVolume: "only the proxy mounts its volumes: remove the mount",
  ProxyAudience:
    "tokens of the audience chaperone.dev are for the proxy alone: remove the projected token or use another audience",
  MountPathTaken: "the mount path /etc/chaperone/trust belongs to injection: mount elsewhere",
  MeshSidecar:
    'Istio\'s sidecar and the proxy listen on the same ports of the pod (15020, 15001): keep the pod out of the mesh with the label sidecar.istio.io/inject: "false"',
  ProxyPort: "the port belongs to the proxy: let the container listen on another",
  ConnectionSecret:
    "the agent does not get the credential of a Connection, only the proxy does: remove the reference to the Secret",
  InterceptionUnknown: `the annotation ${annotations.interception} is endpoints, hosts or redirect`,
  InterceptionIPv6: `interception 'hosts' does not work in pods without IPv4, where names cannot resolve to 127.0.0.0/8: set the annotation ${annotations.interception}: endpoints (or redirect)`,
  RedirectByUnknown: `the annotation ${annotations.redirectBy} is init or node`,
  NodeRulesAbsent: `no node loads rules in this installation: set the chart's value node.enabled to true, or the annotation ${annotations.redirectBy}: init`,
  ForwardProxyUnknown: `the annotation ${annotations.forwardProxy} is "true" or "false"`,
  ConnectionsMalformed: `the annotation ${annotations.connections} is a list of names or namespace/name, separated by commas`,
  ConnectionNotFound: `a Connection named in the annotation ${annotations.connections} does not exist: create it, or remove the name`,
  ConnectionNotAllowed:
    "the Connection does not allow pods of this namespace: its owner has to name the namespace in spec.allowedNamespaces",
  TooManyConnections: `a pod has too many connections: name those it needs in the annotation ${annotations.connections}`,
} as const;

export type SkipReason = keyof typeof skipReasons;
export type RefuseReason = keyof typeof refuseReasons;

export interface Refusal {
  readonly reason: RefuseReason;
  readonly message: string;
}

/** `where`: the field or object it is about. */
export function refusal(reason: RefuseReason, where: string): Refusal {
  return { reason, message: `${where}: ${refuseReasons[reason]}` };
}
