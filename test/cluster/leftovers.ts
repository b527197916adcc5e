/** Finds what a cluster on this machine has left, of every kind, so that `down` can remove it and prove that nothing stays. */
import { existsSync, readdirSync } from "node:fs";
import { readdir, readFile, readlink, rm, rmdir } from "node:fs/promises";
import path from "node:path";
import { OWN_NAME } from "./config.ts";
import type { ClusterConfig } from "./config.ts";
import { command } from "./command.ts";
import { networkLeftovers } from "./network.ts";
import type { Leftover } from "./network.ts";
import { argumentsOf, end, pids } from "./processes.ts";
import { PROGRAM_NAMES } from "./programs.ts";

const CGROUPS = "/sys/fs/cgroup";

/** Only these programs are ever taken for ours, and only when an argument lies in the cluster's own folders. */
const OWN_PROGRAMS: ReadonlySet<string> = new Set([
  ...PROGRAM_NAMES,
  "containerd-shim-runc-v2",
  "runc",
]);

/** Paths the kubelet, its device manager and the pod network write to whatever their settings say. */
const KUBELET_SOCKETS = "/var/lib/kubelet/device-plugins";
const CONTAINER_LOG_LINKS = "/var/log/containers";
const NETWORK_RESULTS = "/var/lib/cni/results";
const SHIM_SOCKETS = "/run/containerd/s";

/** In the order in which they can be removed: what holds others comes first. */
export async function leftovers(config: ClusterConfig): Promise<Leftover[]> {
  return [
    ...(await processes(config)),
    ...(await mounts(config)),
    ...(await networkLeftovers()),
    ...cgroups(),
    ...(await strayFiles(config)),
    ...folders(config),
  ];
}

/** Everything in the pods' cgroups, whatever it is called, and the programs that work in the cluster's folders. */
async function processes({ run, state }: ClusterConfig): Promise<Leftover[]> {
  const found = new Map<number, string>();
  for (const pid of await pids()) {
    const [program = "", ...args] = await argumentsOf(pid);
    const name = path.basename(program);
    const isOurs =
      OWN_PROGRAMS.has(name) &&
      args.some((argument) => argument.includes(`${run}/`) || argument.includes(`${state}/`));
    if (isOurs) found.set(pid, name);
  }
  for (const folder of cgroupFolders()) {
    const text = await readFile(path.join(folder, "cgroup.procs"), "utf8").catch(() => ""); // gone since it was listed
    for (const line of text.split("\n")) if (line !== "") found.set(Number(line), "in a pod");
  }
  return [...found].map(([pid, name]) => ({
    what: `process ${pid} (${name})`,
    remove: () => end(pid, 0),
  }));
}

/** Deepest first: a mount may stand on another. */
async function mounts({ run, state }: ClusterConfig): Promise<Leftover[]> {
  const lines = (await readFile("/proc/self/mountinfo", "utf8")).split("\n");
  return lines
    .map((line) => line.split(" ")[4] ?? "")
    .filter((point) => point.startsWith(`${run}/`) || point.startsWith(`${state}/`))
    .toReversed()
    .map((point) => ({
      what: `mount ${point}`,
      remove: () => command("umount", ["--lazy", point]),
    }));
}

function cgroups(): Leftover[] {
  return cgroupFolders().map((folder) => ({
    what: `cgroup ${folder}`,
    remove: () => rmdir(folder),
  }));
}

/** Our cgroups in every hierarchy of version 1, or the one of version 2, children before parents. */
function cgroupFolders(): string[] {
  const roots = [
    CGROUPS,
    ...readdirSync(CGROUPS, { withFileTypes: true }).map(({ name }) => path.join(CGROUPS, name)),
  ];
  const tops = [...new Set(roots.map((root) => path.join(root, OWN_NAME)))].filter((top) =>
    existsSync(top),
  );
  return tops.flatMap((top) => {
    const children = readdirSync(top, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isDirectory(),
    );
    const paths = children.map((entry) => path.join(entry.parentPath, entry.name));
    return [...paths.toSorted((one, other) => other.length - one.length), top];
  });
}

async function strayFiles({ state }: ClusterConfig): Promise<Leftover[]> {
  const found: string[] = [];
  for (const name of await namesIn(CONTAINER_LOG_LINKS)) {
    const link = path.join(CONTAINER_LOG_LINKS, name);
    const target = await readlink(link).catch(() => ""); // not a link, so not the kubelet's
    if (target.startsWith(`${state}/`)) found.push(link);
  }
  for (const name of await namesIn(NETWORK_RESULTS)) {
    if (name.startsWith(`${OWN_NAME}-`)) found.push(path.join(NETWORK_RESULTS, name));
  }
  return [...found, ...(await deadSockets())].map(removal);
}

/** Their names do not tell whose they were, but a socket that nobody listens on, and what a gone kubelet noted beside it, serves nobody. */
async function deadSockets(): Promise<string[]> {
  const live = new Set((await readFile("/proc/net/unix", "utf8")).split(/\s+/));
  const shims = (await namesIn(SHIM_SOCKETS)).map((name) => path.join(SHIM_SOCKETS, name));
  const devices = live.has(path.join(KUBELET_SOCKETS, "kubelet.sock"))
    ? []
    : await namesIn(KUBELET_SOCKETS);
  return [
    ...shims.filter((socket) => !live.has(socket)),
    ...devices.map((name) => path.join(KUBELET_SOCKETS, name)),
  ];
}

function folders({ run, state, kubeconfig }: ClusterConfig): Leftover[] {
  return [run, state, kubeconfig].filter((folder) => existsSync(folder)).map(removal);
}

function removal(target: string): Leftover {
  return { what: target, remove: () => rm(target, { recursive: true, force: true }) };
}

async function namesIn(folder: string): Promise<string[]> {
  return existsSync(folder) ? await readdir(folder) : [];
}
