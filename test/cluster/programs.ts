/** The programs of a one-node Kubernetes: how each is started and when it is ready. */
import { readFile } from "node:fs/promises";
import http from "node:http";
import https from "node:https";
import path from "node:path";
import { NETWORK, NODE_NAME } from "./config.ts";
import type { ClusterConfig } from "./config.ts";
import { succeeds } from "./command.ts";
import { pathsOf, PORTS, type Paths } from "./settings.ts";
import type { Program } from "./processes.ts";

/** Starting takes seconds; a machine busy with a build may need a minute. */
const READY_WITHIN_MS = 90_000;

/** A program that is alive answers its health check at once. */
const HEALTH_TIMEOUT_MS = 2_000;

const ISSUER = "https://kubernetes.default.svc.cluster.local";

/** In the order in which they can be started; they are stopped the other way round. */
export const PROGRAM_NAMES = [
  "containerd",
  "etcd",
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "coredns",
  "volumes",
  "kubelet",
  "kube-proxy",
] as const;

export type ProgramName = (typeof PROGRAM_NAMES)[number];

type Settings = Record<string, string | number | boolean>;

export function programs(config: ClusterConfig): Record<ProgramName, Program> {
  const paths = pathsOf(config);
  const { pki } = paths;
  const serving = {
    "tls-cert-file": `${pki}/control-plane.crt`,
    "tls-private-key-file": `${pki}/control-plane.key`,
  };
  const controller = (name: string): Settings => ({
    ...serving,
    "bind-address": "127.0.0.1",
    kubeconfig: `${pki}/${name}.kubeconfig`,
    "authentication-kubeconfig": `${pki}/${name}.kubeconfig`,
    "authorization-kubeconfig": `${pki}/${name}.kubeconfig`,
    "leader-elect": false,
  });
  const own = (name: ProgramName, flags: Settings, isReady: Program["isReady"]): Program =>
    program(name, path.join(config.bin, name), flags, isReady);
  const authority = path.join(pki, "ca.crt");
  const etcd = `http://127.0.0.1:${PORTS.etcd}`;
  return {
    containerd: program("containerd", "containerd", { config: paths.containerdConfig }, () =>
      containerdAnswers(config),
    ),
    etcd: program(
      "etcd",
      "etcd",
      {
        name: NODE_NAME,
        "data-dir": `${config.state}/etcd`,
        "listen-client-urls": etcd,
        "advertise-client-urls": etcd,
        "listen-peer-urls": `http://127.0.0.1:${PORTS.etcdPeer}`,
        "initial-advertise-peer-urls": `http://127.0.0.1:${PORTS.etcdPeer}`,
        "initial-cluster": `${NODE_NAME}=http://127.0.0.1:${PORTS.etcdPeer}`,
      },
      () => answers(`${etcd}/health`),
    ),
    "kube-apiserver": own("kube-apiserver", { ...serving, ...apiserverFlags(paths, etcd) }, () =>
      apiserverAnswers(config),
    ),
    "kube-controller-manager": own(
      "kube-controller-manager",
      {
        ...controller("controller-manager"),
        "cluster-signing-cert-file": authority,
        "cluster-signing-key-file": `${pki}/ca.key`,
        "flex-volume-plugin-dir": `${config.state}/volume-plugins`,
        "root-ca-file": authority,
        "service-account-private-key-file": `${pki}/service-accounts.key`,
        "use-service-account-credentials": true,
      },
      () => answers("https://127.0.0.1:10257/healthz", authority),
    ),
    "kube-scheduler": own("kube-scheduler", controller("scheduler"), () =>
      answers("https://127.0.0.1:10259/healthz", authority),
    ),
    coredns: own("coredns", { conf: paths.corefile }, () =>
      answers(`http://127.0.0.1:${PORTS.dnsReady}/ready`),
    ),
    volumes: own(
      "volumes",
      {
        kubeconfig: `${pki}/volumes.kubeconfig`,
        root: paths.volumes,
        health: `127.0.0.1:${PORTS.volumes}`,
      },
      () => answers(`http://127.0.0.1:${PORTS.volumes}/`),
    ),
    "kube-proxy": own("kube-proxy", { config: paths.proxyConfig }, () =>
      answers(`http://127.0.0.1:${PORTS.proxy}/healthz`),
    ),
    kubelet: own(
      "kubelet",
      {
        config: paths.kubeletConfig,
        "hostname-override": NODE_NAME,
        kubeconfig: `${pki}/kubelet.kubeconfig`,
        "node-ip": NETWORK.nodeAddress,
        "root-dir": paths.kubeletRoot,
      },
      () => answers(`http://127.0.0.1:${PORTS.kubelet}/healthz`),
    ),
  };
}

function apiserverFlags({ pki, auditPolicy, auditLog }: Paths, etcd: string): Settings {
  return {
    "audit-policy-file": auditPolicy,
    "audit-log-path": auditLog,
    "advertise-address": NETWORK.nodeAddress,
    "allow-privileged": true,
    "authorization-mode": "Node,RBAC",
    "bind-address": NETWORK.nodeAddress,
    "client-ca-file": `${pki}/ca.crt`,
    "enable-admission-plugins": "NodeRestriction",
    "etcd-servers": etcd,
    "kubelet-certificate-authority": `${pki}/ca.crt`,
    "kubelet-client-certificate": `${pki}/apiserver-to-kubelet.crt`,
    "kubelet-client-key": `${pki}/apiserver-to-kubelet.key`,
    "kubelet-preferred-address-types": "InternalIP",
    "proxy-client-cert-file": `${pki}/front-proxy.crt`,
    "proxy-client-key-file": `${pki}/front-proxy.key`,
    "requestheader-allowed-names": "front-proxy",
    "requestheader-client-ca-file": `${pki}/front-proxy-ca.crt`,
    "requestheader-extra-headers-prefix": "X-Remote-Extra-",
    "requestheader-group-headers": "X-Remote-Group",
    "requestheader-username-headers": "X-Remote-User",
    "secure-port": NETWORK.apiPort,
    "service-account-issuer": ISSUER,
    "service-account-key-file": `${pki}/service-accounts.pub`,
    "service-account-signing-key-file": `${pki}/service-accounts.key`,
    "service-cluster-ip-range": NETWORK.serviceRange,
  };
}

export function apiserverAnswers(config: ClusterConfig): Promise<boolean> {
  return answers(
    `https://${NETWORK.nodeAddress}:${NETWORK.apiPort}/readyz`,
    path.join(pathsOf(config).pki, "ca.crt"),
  );
}

function containerdAnswers(config: ClusterConfig): Promise<boolean> {
  return succeeds("ctr", ["--address", pathsOf(config).containerdSocket, "version"]);
}

function program(
  name: ProgramName,
  file: string,
  flags: Settings,
  isReady: Program["isReady"],
): Program {
  const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
  return { name, file, args, readyWithinMs: READY_WITHIN_MS, isReady };
}

/** True for a 200; a refused connection or another answer means not yet. */
async function answers(url: string, authorityFile?: string): Promise<boolean> {
  const ca = authorityFile === undefined ? undefined : await readFile(authorityFile);
  return await new Promise((resolve) => {
    const options = {
      timeout: HEALTH_TIMEOUT_MS,
      agent: false,
      ...(ca === undefined ? {} : { ca }),
    };
    const request = (ca === undefined ? http : https).get(url, options, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(false));
  });
}
