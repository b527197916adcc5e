/** Calls kubectl on the test cluster: the one built with the local node, or a kind user's own. */
import path from "node:path";
import type { ClusterConfig } from "./config.ts";
import { command } from "./command.ts";
import type { CommandOptions } from "./command.ts";

/** kubectl and helm as programs to run. */
export function toolPath(config: ClusterConfig, name: "kubectl" | "helm"): string {
  return config.provider === "local" ? path.join(config.bin, name) : name;
}

/** Standard output of `kubectl ARGS` on the test cluster. */
export function kubectl(
  config: ClusterConfig,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  return command(
    toolPath(config, "kubectl"),
    ["--kubeconfig", config.kubeconfig, ...args],
    options,
  );
}
