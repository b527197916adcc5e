// What a pod must be, beyond holding a valid token, before anything is granted to it: pure checks in order.
import { parseAddressMap } from "../../contract/addresses.ts";
import type { TierJudgement } from "../injection/tier.ts";
import { TokenRefused, type PodIdentity } from "../resources.ts";
import { fieldAt, isJsonObject, listAt, textAt, type KubeObject } from "./objects.ts";
import { secretsNamed } from "./pod-secrets.ts";
import { injectLabel } from "./resource-types.ts";
import type { PodClaims } from "./token-claims.ts";
import { hasEnded } from "./view.ts";

export const proxyContainer = "chaperone-proxy";
export const addressesAnnotation = "chaperone.dev/addresses";
export const chainAnnotation = "chaperone.dev/chain";

/** The kubelet deletes the pod this much after its grace at the latest; clocks differ by less. */
const graceMarginMs = 30_000;

export interface Standing {
  readonly pod: KubeObject;
  readonly claims: PodClaims;
  readonly peerAddress: string;
  readonly now: number;
  /** Off where the network between pods and operator rewrites source addresses. */
  readonly checksPeerAddress: boolean;
  /** Why the pod is not really injected, a sentence; undefined when it is. */
  readonly notInjected: (pod: KubeObject) => string | undefined;
  /** How strongly the pod is held; left out, not at all. */
  readonly tierOf?: (pod: KubeObject) => TierJudgement;
}

type Check = (standing: Standing) => void;

const checks: readonly Check[] = [
  isThatPod, // the one the token was made for, not another of its name
  isAlive, // not ended, and not past its grace
  isOurs, // opted in
  isInjected, // as admission left it, with our image
  isCaller, // and it is the pod itself that calls
];

/** Throws TokenRefused. */
export function identityOf(standing: Standing): PodIdentity {
  for (const check of checks) check(standing);
  const { pod, claims, tierOf } = standing;
  const chain = pod.metadata.annotations?.[chainAnnotation];
  const proxyStartedAt = startOf(pod);
  return {
    namespace: claims.namespace,
    serviceAccount: claims.serviceAccount,
    pod: claims.pod,
    podUid: claims.podUid,
    connections: connectionsOf(pod),
    secrets: [...new Set([...secretsNamed(pod)].map(({ secret }) => secret))],
    ...(tierOf === undefined ? {} : { tier: tierOf(pod) }),
    ...(hasOwnNameServers(pod) ? { ownNameServers: true } : {}),
    ...(chain === undefined ? {} : { chain }),
    ...(proxyStartedAt === undefined ? {} : { proxyStartedAt }),
  };
}

function hasOwnNameServers(pod: KubeObject): boolean {
  return (
    textAt(pod, "spec", "dnsPolicy") === "None" ||
    listAt(pod, "spec", "dnsConfig", "nameservers").length > 0
  );
}

function isThatPod({ pod, claims }: Standing): void {
  const serviceAccount = textAt(pod, "spec", "serviceAccountName");
  if (pod.metadata.uid !== claims.podUid || serviceAccount !== claims.serviceAccount) {
    throw new TokenRefused(
      "PodNotFound",
      `the pod that the token was made for, ${claims.namespace}/${claims.pod} with uid ${claims.podUid}, is gone`,
    );
  }
}

function isAlive({ pod, now }: Standing): void {
  const { deletionTimestamp, namespace = "", name } = pod.metadata;
  // `deletionTimestamp` is when the grace ends: until then the pod may finish what it does.
  if (
    hasEnded(pod) ||
    (deletionTimestamp !== undefined && Date.parse(deletionTimestamp) + graceMarginMs < now)
  ) {
    throw new TokenRefused("PodNotRunning", `pod ${namespace}/${name} has ended`);
  }
}

function isOurs({ pod }: Standing): void {
  if (pod.metadata.labels?.[injectLabel] === "true") return;
  throw new TokenRefused(
    "PodNotInjected",
    `pod ${pod.metadata.namespace ?? ""}/${pod.metadata.name} has no label ${injectLabel}: "true"`,
  );
}

function isInjected({ pod, notInjected }: Standing): void {
  const why = notInjected(pod);
  if (why === undefined) return;
  throw new TokenRefused(
    "PodNotInjected",
    `pod ${pod.metadata.namespace ?? ""}/${pod.metadata.name} only looks injected: ${why}`,
  );
}

function isCaller({ pod, peerAddress, checksPeerAddress }: Standing): void {
  if (!checksPeerAddress) return;
  const addresses = podAddresses(pod);
  if (addresses.includes(peerAddress)) return;
  const name = `${pod.metadata.namespace ?? ""}/${pod.metadata.name}`;
  if (addresses.length === 0)
    throw new TokenRefused(
      "PodAddressUnknown",
      `the address of pod ${name} is not reported yet; try again`,
      { temporary: true },
    );
  throw new TokenRefused(
    "PeerAddressMismatch",
    `${peerAddress} is not an address of pod ${name} (${addresses.join(", ")}); where the network rewrites source addresses, set identity.checkPeerAddress to false`,
  );
}

export function podAddresses(pod: KubeObject): string[] {
  return listAt(pod, "status", "podIPs").flatMap((entry) => textAt(entry, "ip") ?? []);
}

/** Start of our container as the kubelet reports it; absent while it has not. */
export function startOf(pod: KubeObject): string | undefined {
  const status = listAt(pod, "status", "initContainerStatuses").find(
    (entry) => isJsonObject(entry) && entry["name"] === proxyContainer,
  );
  const started = fieldAt(status, "state", "running", "startedAt");
  return typeof started === "string" ? started : undefined;
}

/** As fixed at injection; admission lets nobody change the annotation later. */
function connectionsOf(pod: KubeObject): readonly string[] {
  const annotation = pod.metadata.annotations?.[addressesAnnotation];
  try {
    return parseAddressMap(annotation ?? "").connections.map(({ connection }) => connection);
  } catch (cause) {
    throw new TokenRefused(
      "PodNotInjected",
      `pod ${pod.metadata.namespace ?? ""}/${pod.metadata.name} has no usable annotation ${addressesAnnotation}; delete it, so that it is made anew`,
      { cause },
    );
  }
}
