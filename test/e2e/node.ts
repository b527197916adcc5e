// Reaches the node itself, for what Kubernetes has no verb: its container runtime, and what the runtime reads.
import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { command } from "../cluster/command.ts";
import { CLUSTER_NAME } from "../cluster/config.ts";
import { pathsOf } from "../cluster/settings.ts";
import { config } from "./cluster.ts";

/** As kind names the container that is its node. */
const container = `${CLUSTER_NAME}-control-plane`;

const paths = pathsOf(config);

/** Where the node's agent finds its folders, for the chart: a node on this machine has its own, one in Docker the usual. */
export const nodeFolders: readonly string[] =
  config.provider === "kind"
    ? []
    : [
        `node.cni.confDirectory=${paths.cniFolder}`,
        `node.cni.pluginDirectory=${paths.cniPlugins}`,
        `node.netnsDirectory=${paths.netns}`,
        `node.mailboxDirectory=${paths.mailbox}`,
      ];

const cniFolder = config.provider === "kind" ? "/etc/cni/net.d" : paths.cniFolder;

/** Kills the container's process; the kubelet sees it end and decides by its restart policy. */
export async function killContainer(id: string): Promise<void> {
  const task = ["--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id];
  if (config.provider === "kind") {
    await onNode(["ctr", ...task]);
    return;
  }
  await command("ctr", ["--address", paths.containerdSocket, ...task]);
}

/** What the runtime reads of the network: every configuration of the node, by its name. */
export async function cniConfigurations(): Promise<Readonly<Record<string, string>>> {
  const names =
    config.provider === "kind"
      ? (await onNode(["ls", "-A", cniFolder])).split("\n").filter((name) => name !== "")
      : await readdir(cniFolder);
  const texts = names.map(async (name) => [name, await readOnNode(name)] as const);
  return Object.fromEntries(await Promise.all(texts));
}

/** As another tool would write it. */
export async function writeCniConfiguration(name: string, text: string): Promise<void> {
  const file = path.posix.join(cniFolder, name);
  if (config.provider === "kind") await onNode(["cp", "/dev/stdin", file], text);
  else await writeFile(file, text);
}

function readOnNode(name: string): Promise<string> {
  const file = path.posix.join(cniFolder, name);
  return config.provider === "kind" ? onNode(["cat", file]) : readFile(file, "utf8");
}

function onNode(program: readonly string[], input?: string): Promise<string> {
  const args = ["exec", "--interactive", container, ...program];
  return command("docker", args, input === undefined ? {} : { input });
}
