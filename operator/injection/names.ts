// The names that injection writes into a pod; admission policies, the proxy and people look for them.

import { rulesAnnotation } from "../../contract/redirect.ts";

export const injectLabel = "chaperone.dev/inject";

export const annotations = {
  addresses: "chaperone.dev/addresses",
  version: "chaperone.dev/version",
  chain: "chaperone.dev/chain",
  connections: "chaperone.dev/connections",
  interception: "chaperone.dev/interception",
  /** Who loads the rules under interception `redirect`: `init` or `node`. */
  redirectBy: "chaperone.dev/redirect-by",
  /** What a node's plugin loads; written by injection alone. */
  rules: rulesAnnotation,
  forwardProxy: "chaperone.dev/forward-proxy",
  /** How strongly the pod is held, as it was injected; the operator judges it anew at every grant. */
  tier: "chaperone.dev/tier",
  /** Why it is not held better. */
  tierReason: "chaperone.dev/tier-reason",
  /** On a policy: who wrote it last, stamped at admission. */
  author: "chaperone.dev/author",
  /** On a pod, and on the template that it is made from: who deployed the agent, stamped at admission. */
  deployedBy: "chaperone.dev/deployed-by",
  defaultContainer: "kubectl.kubernetes.io/default-container",
} as const;

/** The condition of a pod that says how strongly it is held; the operator alone writes it. */
export const podCondition = "chaperone.dev/Held";

export const proxyContainerName = "chaperone-proxy";

/** Both belong to interception `redirect`. */
export const initContainerName = "chaperone-init";
export const verifyContainerName = "chaperone-verify";

/** Nobody else may take them. */
export const containerNames: readonly string[] = [
  proxyContainerName,
  initContainerName,
  verifyContainerName,
];

export const volumeNames = {
  token: "chaperone-token",
  pod: "chaperone-pod",
  spool: "chaperone-spool",
  authority: "chaperone-ca",
  trust: "chaperone-trust",
} as const;

export const ourVolumes: readonly string[] = Object.values(volumeNames);

/** Where the proxy writes the roots that the agent shall trust; mounted read-only into every container of the agent. */
export const trustDirectory = "/etc/chaperone/trust";
export const trustFile = `${trustDirectory}/ca.crt`;
