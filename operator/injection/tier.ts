// How strongly a pod is held, read from what it is: the first thing that is missing says why it is not held better. Pure. What stands here
// is proven in the pod itself: without chaperone-verify having got nowhere, no container of the agent starts.
import type { Interception } from "../../contract/addresses.ts";
import type { Tier } from "../../policy/tier.ts";
import { fieldAt, listAt, textAt, type JsonObject } from "../kube/objects.ts";
import { agentContainers, nameOf, volumesOf, type PlacedContainer } from "./pod.ts";

export type TierReason =
  | "NotRedirected"
  | "HostPath"
  | "Privileged"
  | "CapabilitiesAdded"
  | "CapabilitiesKept"
  | "PrivilegeEscalation"
  | "UserUnset"
  | "Root"
  | "ProxyUser"
  | "SeccompUnset";

export interface TierJudgement {
  readonly tier: Tier;
  /** Why it is not the next one; undefined of the strongest. */
  readonly missing?: { readonly reason: TierReason; readonly message: string };
}

type Missing = NonNullable<TierJudgement["missing"]>;

/** @param proxyUid whoever can become this user is not held at all */
export function judgeTier(
  pod: JsonObject,
  interception: Interception,
  proxyUid: number,
): TierJudgement {
  if (interception !== "redirect")
    return {
      tier: "Cooperative",
      missing: {
        reason: "NotRedirected",
        message: `interception ${interception} leads agents to the proxy and keeps none from going elsewhere; use redirect`,
      },
    };
  const missing = missingForLocked(pod, proxyUid);
  return missing === undefined ? { tier: "Locked" } : { tier: "Redirected", missing };
}

type Check = (placed: PlacedContainer, pod: JsonObject, proxyUid: number) => Missing | undefined;

/** Of every container of the agent, those added to a running pod as well. */
const checks: readonly Check[] = [
  privileged, // has all there is
  added, // NET_ADMIN takes the rules away, NET_RAW writes around them, SETUID becomes the proxy
  kept, // a container has NET_RAW, SETUID and SETGID unless it gives them up
  escalation, // a setuid program could give them back
  user, // an image may say any user, the proxy's too
  seccomp, // AF_VSOCK passes by the rules of any network, to the machine's own hypervisor
];

function missingForLocked(pod: JsonObject, proxyUid: number): Missing | undefined {
  const hostPath = volumesOf(pod).find((volume) => volume["hostPath"] !== undefined);
  if (hostPath !== undefined)
    return {
      reason: "HostPath",
      message: `volume ${nameOf(hostPath)} is a hostPath, by which a node's files can be reached, the proxy's among them: use another kind of volume`,
    };
  for (const check of checks)
    for (const placed of agentContainers(pod)) {
      const missing = check(placed, pod, proxyUid);
      if (missing !== undefined) return missing;
    }
  return undefined;
}

function privileged({ container, where }: PlacedContainer): Missing | undefined {
  if (fieldAt(container, "securityContext", "privileged") !== true) return undefined;
  return {
    reason: "Privileged",
    message: `${where}.securityContext.privileged: container ${nameOf(container)} can do what the node can: remove it`,
  };
}

/** Lets a program listen on a low port, and do nothing else. */
const harmless: ReadonlySet<string> = new Set(["NET_BIND_SERVICE"]);

function added({ container, where }: PlacedContainer): Missing | undefined {
  const found = capabilities(container, "add").find((name) => !harmless.has(name));
  return found === undefined
    ? undefined
    : {
        reason: "CapabilitiesAdded",
        message: `${where}.securityContext.capabilities.add: container ${nameOf(container)} has ${found}: remove it`,
      };
}

function kept({ container, where }: PlacedContainer): Missing | undefined {
  if (capabilities(container, "drop").includes("ALL")) return undefined;
  return {
    reason: "CapabilitiesKept",
    message: `${where}.securityContext.capabilities.drop: container ${nameOf(container)} keeps capabilities that containers have by default (NET_RAW, SETUID, SETGID among them): drop ALL`,
  };
}

function escalation({ container, where }: PlacedContainer): Missing | undefined {
  if (fieldAt(container, "securityContext", "allowPrivilegeEscalation") === false) return undefined;
  return {
    reason: "PrivilegeEscalation",
    message: `${where}.securityContext.allowPrivilegeEscalation: container ${nameOf(container)} may gain privileges: set it to false`,
  };
}

function user(
  { container, where }: PlacedContainer,
  pod: JsonObject,
  proxyUid: number,
): Missing | undefined {
  const uid =
    fieldAt(container, "securityContext", "runAsUser") ??
    fieldAt(pod, "spec", "securityContext", "runAsUser");
  const at = `${where}.securityContext.runAsUser: container ${nameOf(container)}`;
  if (uid === 0) return { reason: "Root", message: `${at} runs as root: name another user` };
  if (uid === proxyUid)
    return { reason: "ProxyUser", message: `${at} runs as the proxy's user: name another` };
  return typeof uid === "number"
    ? undefined
    : {
        reason: "UserUnset",
        message: `${at} runs as whoever its image says, be it root or the proxy's user: name a user`,
      };
}

/** Of the container or of the pod; a runtime's own profile refuses the address families that no rule of a network sees. */
function seccomp({ container, where }: PlacedContainer, pod: JsonObject): Missing | undefined {
  const type =
    textAt(container, "securityContext", "seccompProfile", "type") ??
    textAt(pod, "spec", "securityContext", "seccompProfile", "type");
  if (type === "RuntimeDefault" || type === "Localhost") return undefined;
  return {
    reason: "SeccompUnset",
    message: `${where}.securityContext.seccompProfile: container ${nameOf(container)} may open sockets of every family, those to the node's hypervisor (AF_VSOCK) too, which no rule of a network sees: set type RuntimeDefault`,
  };
}

/** As the kernel's headers name them, which runtimes take as well. */
function capabilities(container: JsonObject, list: "add" | "drop"): readonly string[] {
  return listAt(container, "securityContext", "capabilities", list).map((name) =>
    String(name).toUpperCase().replace(/^CAP_/, ""),
  );
}
