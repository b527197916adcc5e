// The names that injection writes into a pod; admission policies, the proxy and people look for them.

export const injectLabel = "chaperone.dev/inject";

export const annotations = {
  addresses: "chaperone.dev/addresses",
  version: "chaperone.dev/version",
  chain: "chaperone.dev/chain",
  connections: "chaperone.dev/connections",
  interception: "chaperone.dev/interception",
  forwardProxy: "chaperone.dev/forward-proxy",
  defaultContainer: "kubectl.kubernetes.io/default-container",
} as const;

export const proxyContainerName = "chaperone-proxy";

/** `chaperone-init` and `chaperone-verify` belong to interception `redirect`; nobody else may take them. */
export const containerNames: readonly string[] = [
  proxyContainerName,
  "chaperone-init",
  "chaperone-verify",
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
