/** Which versions, addresses and folders the test cluster uses; the only file here that reads the environment. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";

/** Newer Kubernetes than 1.34 wants containerd 2 and cgroup v2, which a plain Debian bookworm does not have. */
export const VERSIONS = {
  kubernetes: "v1.34.2",
  coredns: "v1.14.7",
  helm: "v3.19.5",
  nodejs: "24",
  debian: "bookworm",
} as const;

/** Everything the cluster listens on is inside these private ranges or on loopback. */
export const NETWORK = {
  nodeRange: "10.240.0.0/24",
  nodeAddress: "10.240.0.1",
  dnsAddress: "10.240.0.10",
  podRange: "10.244.0.0/24",
  serviceRange: "10.96.0.0/16",
  kubernetesService: "10.96.0.1",
  apiPort: 6443,
} as const;

export const NODE_NAME = "chaperone-node";
export const CLUSTER_NAME = "chaperone";

/** The cgroup under which every pod of this cluster runs, in each hierarchy, and the name of its nftables table. */
export const OWN_NAME = "chaperone-cluster";

export type Provider = "local" | "kind";

export interface ClusterConfig {
  readonly provider: Provider;
  /** Survives `down`: built programs, images, wheels, logs. */
  readonly cache: string;
  /** Programs built from source, by version key. */
  readonly bin: string;
  /** Stable link to `bin`, for a PATH that outlives a version. */
  readonly binLink: string;
  /** Image archives and the build storage, by the hash of what they are made from. */
  readonly images: string;
  /** Image archives of the product, made by `images.ts`. */
  readonly archives: string;
  readonly wheels: string;
  readonly logs: string;
  readonly kubeconfig: string;
  /** Data of the running cluster; removed by `down`. */
  readonly state: string;
  /** Sockets and pid files, in a short path because a socket's path is limited to 107 bytes; removed by `down`. */
  readonly run: string;
  /** Where this folder is, for the sources and manifests beside this file. */
  readonly here: string;
  readonly debianMirror: string;
  /** Of another Kubernetes version, or one that is on this machine already; undefined: kind's own. */
  readonly kindNodeImage: string | undefined;
}

export function readConfig(env: NodeJS.ProcessEnv = process.env): ClusterConfig {
  const here = import.meta.dirname;
  const cacheHome = env["XDG_CACHE_HOME"] || path.join(homedir(), ".cache");
  const cache = path.join(cacheHome, "chaperone", "cluster");
  const provider = readProvider(env["CLUSTER"]);
  const toolKey = `${VERSIONS.kubernetes}-${digest([path.join(here, "kube")], [VERSIONS.coredns, VERSIONS.helm])}`;
  const imageKey = `images-${digest([path.join(here, "base")], [VERSIONS.nodejs, VERSIONS.debian])}`;
  return {
    provider,
    cache,
    bin: path.join(cache, toolKey, "bin"),
    binLink: path.join(cache, "bin"),
    images: path.join(cache, imageKey),
    archives: path.join(cache, "archives"),
    wheels: path.join(cache, "wheels"),
    logs: path.join(cache, "logs"),
    kubeconfig: path.join(cache, provider === "local" ? "kubeconfig" : "kubeconfig-kind"),
    state: path.join(cache, "state"),
    run: `/run/${OWN_NAME}`,
    here,
    debianMirror: env["DEBIAN_MIRROR"] || "http://deb.debian.org/debian",
    kindNodeImage: env["KIND_NODE_IMAGE"] || undefined,
  };
}

function readProvider(value: string | undefined): Provider {
  if (value === undefined || value === "" || value === "local") return "local";
  if (value === "kind") return "kind";
  throw new Error(
    `CLUSTER must be "local" (a node on this machine) or "kind" (a node in Docker), not "${value}"`,
  );
}

function digest(folders: readonly string[], words: readonly string[]): string {
  const hash = createHash("sha256").update(words.join("\n"));
  for (const folder of folders) {
    for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).toSorted()) {
      const file = path.join(folder, name);
      if (statSync(file).isFile()) hash.update(`\n${name}\n`).update(readFileSync(file));
    }
  }
  return hash.digest("hex").slice(0, 12);
}
