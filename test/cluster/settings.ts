/** The configuration files of the cluster's programs, as text; nothing here touches the machine. */
import path from "node:path";
import { NETWORK, NODE_NAME, OWN_NAME } from "./config.ts";
import type { ClusterConfig } from "./config.ts";

export const PAUSE_IMAGE = "localhost/chaperone-cluster/pause:1";

/** Loopback ports of the programs that have nothing better to say that they are ready. */
export const PORTS = {
  etcd: 12379,
  etcdPeer: 12380,
  dnsReady: 18181,
  volumes: 18182,
  kubelet: 10248,
  proxy: 10256,
} as const;

export interface Paths {
  readonly pki: string;
  readonly containerdSocket: string;
  readonly containerdConfig: string;
  readonly cniFolder: string;
  /** The node's own folder of CNI plugins: links to the machine's, so that what is added here goes with the cluster. */
  readonly cniPlugins: string;
  /** Where containerd mounts network namespaces. */
  readonly netns: string;
  /** Of the agent that loads rules of pods. */
  readonly mailbox: string;
  readonly kubeletConfig: string;
  readonly kubeletRoot: string;
  readonly proxyConfig: string;
  readonly corefile: string;
  readonly resolvConf: string;
  readonly volumes: string;
  readonly auditPolicy: string;
  /** Of the API server: writes to pods, tokens and our kinds, and what admission said of them. */
  readonly auditLog: string;
}

export function pathsOf({ state, run }: ClusterConfig): Paths {
  const etc = path.join(state, "etc");
  return {
    pki: path.join(state, "pki"),
    containerdSocket: path.join(run, "containerd.sock"),
    containerdConfig: path.join(etc, "containerd.toml"),
    cniFolder: path.join(etc, "cni"),
    cniPlugins: path.join(etc, "cni-plugins"),
    netns: path.join(run, "containerd/io.containerd.grpc.v1.cri/netns"),
    mailbox: path.join(run, "mailbox"),
    kubeletConfig: path.join(etc, "kubelet.json"),
    kubeletRoot: path.join(state, "kubelet"),
    proxyConfig: path.join(etc, "kube-proxy.json"),
    corefile: path.join(etc, "Corefile"),
    resolvConf: path.join(etc, "resolv.conf"),
    volumes: path.join(state, "volumes"),
    auditPolicy: path.join(etc, "audit-policy.json"),
    auditLog: path.join(state, "audit.log"),
  };
}

/** Every configuration file by its path. */
export function settings(config: ClusterConfig): Map<string, string> {
  const paths = pathsOf(config);
  return new Map([
    [paths.containerdConfig, containerd(config, paths)],
    [path.join(paths.cniFolder, "10-pods.conflist"), json(podNetwork(config))],
    [paths.kubeletConfig, json(kubelet(config, paths))],
    [paths.proxyConfig, json(proxy(paths))],
    [paths.corefile, corefile(paths)],
    [paths.auditPolicy, json(auditPolicy)],
    [paths.resolvConf, `nameserver ${NETWORK.dnsAddress}\n`],
  ]);
}

const auditPolicy = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived", "ResponseStarted"],
  rules: [
    {
      level: "Metadata",
      verbs: ["create", "update", "patch"],
      resources: [
        { group: "", resources: ["pods", "pods/*", "serviceaccounts/token"] },
        { group: "chaperone.dev" },
      ],
    },
    // Exec, attach and port-forward may come as GET.
    {
      level: "Metadata",
      verbs: ["get"],
      resources: [{ group: "", resources: ["pods/exec", "pods/attach", "pods/portforward"] }],
    },
    { level: "None" },
  ],
};

function containerd({ state, run }: ClusterConfig, paths: Paths): string {
  return `version = 2
root = "${state}/containerd"
state = "${run}/containerd"
[grpc]
  address = "${paths.containerdSocket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${state}/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
  stream_server_address = "127.0.0.1"
  # Network namespaces are mounted inside the run folder, so that what is left of them can be found.
  netns_mounts_under_state_dir = true
  # Without CAP_SYS_RESOURCE runc cannot lower oom_score_adj, and every sandbox would end with "can't get final child's PID".
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "${run}/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${paths.cniPlugins}"
    conf_dir = "${paths.cniFolder}"
`;
}

/**
 * Each pod gets a link of its own to the host, which routes between them. On a shared bridge the answer of a Service's pod would go
 * straight to its neighbour, past the address translation, wherever br_netfilter is missing.
 */
function podNetwork({ run }: ClusterConfig): unknown {
  return {
    cniVersion: "0.4.0",
    name: OWN_NAME,
    plugins: [
      {
        type: "ptp",
        ipMasq: false, // pods never leave the machine (network.ts)
        ipam: {
          type: "host-local",
          dataDir: path.join(run, "addresses"),
          ranges: [[{ subnet: NETWORK.podRange }]],
          routes: [{ dst: "0.0.0.0/0" }],
        },
      },
    ],
  };
}

function kubelet({ state }: ClusterConfig, paths: Paths): unknown {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    address: NETWORK.nodeAddress,
    healthzPort: PORTS.kubelet,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: `${paths.pki}/ca.crt` },
    },
    authorization: { mode: "Webhook" },
    tlsCertFile: `${paths.pki}/kubelet.crt`,
    tlsPrivateKeyFile: `${paths.pki}/kubelet.key`,
    containerRuntimeEndpoint: `unix://${paths.containerdSocket}`,
    cgroupDriver: "cgroupfs",
    cgroupRoot: `/${OWN_NAME}`,
    enforceNodeAllocatable: ["pods"],
    failCgroupV1: false,
    failSwapOn: false,
    clusterDomain: "cluster.local",
    clusterDNS: [NETWORK.dnsAddress],
    resolvConf: paths.resolvConf,
    podLogsDir: path.join(state, "pod-logs"),
    volumePluginDir: path.join(state, "volume-plugins"),
    makeIPTablesUtilChains: false, // kube-proxy uses nftables; nothing here reads iptables
    imageGCHighThresholdPercent: 100, // images come from archives and could not be pulled again
    evictionHard: {
      "memory.available": "50Mi",
      "nodefs.available": "1%",
      "nodefs.inodesFree": "1%",
      "imagefs.available": "1%",
    },
  };
}

function proxy(paths: Paths): unknown {
  return {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "nftables",
    clusterCIDR: NETWORK.podRange,
    hostnameOverride: NODE_NAME,
    clientConnection: { kubeconfig: `${paths.pki}/proxy.kubeconfig` },
    healthzBindAddress: `127.0.0.1:${PORTS.proxy}`,
    metricsBindAddress: "127.0.0.1:10249",
    nodePortAddresses: [NETWORK.nodeRange],
    conntrack: { maxPerCore: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" }, // leave the machine's own limits alone
  };
}

function corefile(paths: Paths): string {
  return `. {
  bind ${NETWORK.dnsAddress}
  errors
  ready 127.0.0.1:${PORTS.dnsReady}
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${paths.pki}/coredns.kubeconfig
    pods insecure
    fallthrough in-addr.arpa
    ttl 5
  }
  forward . /etc/resolv.conf
}
`;
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
