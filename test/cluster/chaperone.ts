/** Installs the product into the test cluster as a user would: images, then the Helm chart, then waits until it is ready. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { buildForCluster } from "../../scripts/image.ts";
import type { ClusterConfig } from "./config.ts";
import { command, step } from "./command.ts";
import type { Report } from "./command.ts";
import { toolPath } from "./kubectl.ts";

export const CHAPERONE_NAMESPACE = "chaperone-system";

/** Starting the operator takes seconds; on a cold kind node its image is unpacked first. */
const INSTALL_TIMEOUT_MS = 5 * 60_000;

export async function installChaperone(config: ClusterConfig, report: Report): Promise<void> {
  const root = path.join(config.here, "../..");
  await buildForCluster(report);
  await step(report, "chart installed and ready", async () => {
    await command(
      toolPath(config, "helm"),
      [
        "--kubeconfig",
        config.kubeconfig,
        "upgrade",
        "--install",
        "chaperone",
        path.join(root, "charts/chaperone"),
        "--namespace",
        CHAPERONE_NAMESPACE,
        "--create-namespace",
        // CRDs that a test applied by itself become the chart's.
        "--take-ownership",
        "--wait",
        "--timeout",
        `${INSTALL_TIMEOUT_MS / 1000}s`,
        // The tag stays while the content changes: a new build must make a new pod.
        "--set-string",
        `podAnnotations.build=${await digestOf(path.join(root, "dist/operator.mjs"))}`,
      ],
      { timeoutMs: INSTALL_TIMEOUT_MS + 30_000 },
    );
  });
}

async function digestOf(file: string): Promise<string> {
  return createHash("sha256")
    .update(await readFile(file))
    .digest("hex")
    .slice(0, 16);
}
