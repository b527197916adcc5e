// What a node's agent is told: the only file of it that reads the environment. The chart writes what is read here.

export interface NodeConfig {
  /** The runtime's folder of CNI configurations. */
  readonly confDirectory: string;
  /** The configuration to take; undefined: the first by name. */
  readonly confFile: string | undefined;
  /** Each folder as the node names it, and as the agent sees it. */
  readonly plugins: Place;
  readonly namespaces: Place;
  readonly mailbox: Place;
  readonly busybox: string;
  readonly daemonSet: { readonly namespace: string; readonly name: string };
  readonly api: { readonly host: string; readonly port: number };
  readonly accountDirectory: string;
}

export interface Place {
  readonly node: string;
  readonly agent: string;
}

/**
 * | variable | default |
 * | --- | --- |
 * | `CHAPERONE_NAMESPACE`, `CHAPERONE_DAEMON_SET` | required |
 * | `CHAPERONE_CNI_FILE` | none: the first by name |
 * | `CHAPERONE_CNI_PLUGINS`, `CHAPERONE_NETNS`, `CHAPERONE_MAILBOX` | `/opt/cni/bin`, `/var/run/netns`, `/run/chaperone-node`: as the node names them |
 * | `CHAPERONE_HOST` | `/host`; below it the agent sees `cni/conf`, `cni/plugins`, `netns` and `mailbox` |
 * | `CHAPERONE_BUSYBOX` | `/bin/busybox`: a static one |
 * | `CHAPERONE_ACCOUNT` | where the kubelet puts the service account |
 * | `KUBERNETES_SERVICE_HOST`, `KUBERNETES_SERVICE_PORT` | the kubelet's |
 *
 * @throws Error naming what is missing
 */
export function readNodeConfig(env: NodeJS.ProcessEnv): NodeConfig {
  const optional = (name: string): string | undefined => (env[name] === "" ? undefined : env[name]);
  const required = (name: string): string => {
    const value = optional(name);
    if (value === undefined) throw new Error(`${name} is not set (the chart sets it)`);
    return value;
  };
  const host = optional("CHAPERONE_HOST") ?? "/host";
  return {
    confDirectory: `${host}/cni/conf`,
    confFile: optional("CHAPERONE_CNI_FILE"),
    plugins: {
      node: optional("CHAPERONE_CNI_PLUGINS") ?? "/opt/cni/bin",
      agent: `${host}/cni/plugins`,
    },
    namespaces: {
      node: optional("CHAPERONE_NETNS") ?? "/var/run/netns",
      agent: `${host}/netns`,
    },
    mailbox: {
      node: optional("CHAPERONE_MAILBOX") ?? "/run/chaperone-node",
      agent: `${host}/mailbox`,
    },
    busybox: optional("CHAPERONE_BUSYBOX") ?? "/bin/busybox",
    daemonSet: {
      namespace: required("CHAPERONE_NAMESPACE"),
      name: required("CHAPERONE_DAEMON_SET"),
    },
    api: {
      host: required("KUBERNETES_SERVICE_HOST"),
      port: Number(optional("KUBERNETES_SERVICE_PORT") ?? 443),
    },
    accountDirectory:
      optional("CHAPERONE_ACCOUNT") ?? "/var/run/secrets/kubernetes.io/serviceaccount",
  };
}
