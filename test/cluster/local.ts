/** A one-node Kubernetes from plain processes on this machine: bringing it up, looking after it, and taking it down again. */
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { NODE_NAME, OWN_NAME } from "./config.ts";
import type { ClusterConfig } from "./config.ts";
import { buildTools } from "./build.ts";
import { command, step, until } from "./command.ts";
import type { Report } from "./command.ts";
import { nodeArchives, importArchive } from "./images.ts";
import { kubectl } from "./kubectl.ts";
import { leftovers } from "./leftovers.ts";
import { restoreKernelSettings, setUpNetwork } from "./network.ts";
import { installPackages } from "./packages.ts";
import { createPki } from "./pki.ts";
import { runningPid, start, stop } from "./processes.ts";
import { PROGRAM_NAMES, programs } from "./programs.ts";
import type { ProgramName } from "./programs.ts";
import { pathsOf, settings } from "./settings.ts";

/** Where Debian puts CNI plugins. */
const MACHINE_PLUGINS = "/usr/lib/cni";

/** A node is ready some ten seconds after its kubelet starts; a busy machine takes longer. */
const NODE_READY_MS = 120_000;

/** Links of ended network namespaces and emptied cgroups go a moment after their owners. */
const CLEAN_WITHIN_MS = 15_000;

/** Every program runs, the API answers and the node is ready. */
export async function isUp(config: ClusterConfig): Promise<boolean> {
  if (!existsSync(config.kubeconfig)) return false;
  for (const name of PROGRAM_NAMES) {
    if ((await runningPid(name, config.run)) === undefined) return false;
  }
  return await nodeIsReady(config);
}

export async function up(config: ClusterConfig, report: Report): Promise<void> {
  demandRoot();
  await installPackages(report);
  await buildTools(config, report);
  const archives = await nodeArchives(config, report);
  if ((await leftovers(config)).length > 0) {
    report("found the remains of an earlier cluster");
    await down(config, report);
  }
  await step(report, "certificates and settings", () => prepare(config));
  await step(report, "network", () => setUpNetwork(config.run));
  const all = programs(config);
  const begin = (name: ProgramName): Promise<void> =>
    step(report, `${name} ready`, () => start(all[name], config));
  const containers = async (): Promise<void> => {
    await begin("containerd");
    for (const archive of archives)
      await step(report, `imported ${path.basename(archive)}`, () =>
        importArchive(config, archive),
      );
  };
  const controlPlane = async (): Promise<void> => {
    await begin("etcd");
    await begin("kube-apiserver");
    await kubectl(config, ["apply", "-f", path.join(config.here, "manifests")]);
    await Promise.all(
      (["kube-controller-manager", "kube-scheduler", "coredns", "volumes"] as const).map(begin),
    );
  };
  // The kubelet needs the pause image and the API; the two halves do not need each other.
  await Promise.all([containers(), controlPlane()]);
  await begin("kubelet");
  // kube-proxy is healthy only where its node exists.
  await until(
    "the node to be registered",
    NODE_READY_MS,
    async () => (await kubectl(config, ["get", "node", NODE_NAME])) !== "",
  );
  await begin("kube-proxy");
  await step(report, `node ${NODE_NAME} ready`, () =>
    until("the node to be ready", NODE_READY_MS, () => nodeIsReady(config)),
  );
  await step(report, "default service account", () =>
    until(
      "the default service account",
      NODE_READY_MS,
      async () => (await kubectl(config, ["get", "serviceaccount", "default"])) !== "",
    ),
  );
}

export async function down(config: ClusterConfig, report: Report): Promise<void> {
  demandRoot();
  // The last goes first: the kubelet would start again what is stopped before it.
  for (const name of PROGRAM_NAMES.toReversed()) await stop(name, config.run);
  report("programs stopped");
  await restoreKernelSettings(config.run);
  let last: unknown;
  try {
    await until("everything to be removed", CLEAN_WITHIN_MS, async () => {
      const found = await leftovers(config);
      for (const { remove } of found) {
        // One that cannot go yet goes in the next round; what can never go is named below.
        await remove().catch((error: unknown) => (last = error));
      }
      return found.length === 0;
    });
  } catch {
    const left = (await leftovers(config)).map(({ what }) => `  ${what}`).join("\n");
    throw new Error(`could not remove:\n${left}`, { cause: last });
  }
  report("no process, mount, address, route, firewall table, cgroup or file is left");
}

async function prepare(config: ClusterConfig): Promise<void> {
  const paths = pathsOf(config);
  for (const folder of [config.run, config.state, paths.volumes])
    await mkdir(folder, { recursive: true, mode: 0o755 });
  await createPki(paths.pki);
  for (const [file, text] of settings(config)) {
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text);
  }
  await mkdir(paths.cniPlugins, { recursive: true });
  for (const name of readdirSync(MACHINE_PLUGINS))
    await symlink(path.join(MACHINE_PLUGINS, name), path.join(paths.cniPlugins, name));
  // As under systemd, where /run is shared: what is mounted later is seen by containers that ask for it.
  await mkdir(paths.netns, { recursive: true });
  await command("mount", ["--bind", paths.netns, paths.netns]);
  await command("mount", ["--make-shared", paths.netns]);
  for (const hierarchy of cgroupHierarchies())
    await mkdir(path.join(hierarchy, OWN_NAME), { recursive: true });
  await writeFile(config.kubeconfig, await readFile(path.join(paths.pki, "admin.kubeconfig")), {
    mode: 0o600,
  });
}

/** The kubelet wants its root cgroup to be there in each hierarchy (version 1), or in the only one (version 2). */
function cgroupHierarchies(): string[] {
  const root = "/sys/fs/cgroup";
  if (existsSync(path.join(root, "cgroup.controllers"))) return [root];
  const entries = readdirSync(root, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => path.join(root, entry.name));
}

async function nodeIsReady(config: ClusterConfig): Promise<boolean> {
  const ready = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}';
  return (
    (await kubectl(config, [
      "--request-timeout",
      "5s",
      "get",
      "node",
      NODE_NAME,
      "-o",
      ready,
    ]).catch(() => "")) === "True"
  );
}

function demandRoot(): void {
  if (process.platform !== "linux")
    throw new Error("the local cluster needs Linux; use CLUSTER=kind with Docker");
  if (process.getuid?.() !== 0)
    throw new Error("the local cluster needs root: use sudo, or CLUSTER=kind with Docker");
}
