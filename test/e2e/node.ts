// Reaches the node's container runtime, for what Kubernetes itself has no verb.
import { command } from "../cluster/command.ts";
import { CLUSTER_NAME } from "../cluster/config.ts";
import { pathsOf } from "../cluster/settings.ts";
import { config } from "./cluster.ts";

/** Kills the container's process; the kubelet sees it end and decides by its restart policy. */
export async function killContainer(id: string): Promise<void> {
  const task = ["--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id];
  if (config.provider === "kind") {
    await command("docker", ["exec", `${CLUSTER_NAME}-control-plane`, "ctr", ...task]);
    return;
  }
  await command("ctr", ["--address", pathsOf(config).containerdSocket, ...task]);
}
