/** The same cluster by kind, for machines with Docker. */
import { mkdir, rm } from "node:fs/promises";
import path from "node:path";
import { CLUSTER_NAME } from "./config.ts";
import type { ClusterConfig } from "./config.ts";
import type { ImageSource } from "./buildah.ts";
import { command, step, succeeds } from "./command.ts";
import type { Report } from "./command.ts";

/** kind pulls a node image of a gigabyte the first time. */
const CREATE_TIMEOUT_MS = 15 * 60_000;
const BUILD_TIMEOUT_MS = 10 * 60_000;
const NODE_READY = "120s";

/** What must be there, with the call that shows it works. */
const TOOLS = [
  ["docker", "info"],
  ["kind", "version"],
  ["kubectl", "version", "--client"],
  ["helm", "version"],
] as const;

export async function isUp(config: ClusterConfig): Promise<boolean> {
  return (
    (await exists()) &&
    (await succeeds("kubectl", [
      "--kubeconfig",
      config.kubeconfig,
      "--request-timeout",
      "5s",
      "get",
      "nodes",
    ]))
  );
}

export async function up(config: ClusterConfig, report: Report): Promise<void> {
  for (const [tool, ...args] of TOOLS) {
    if (!(await succeeds(tool, args)))
      throw new Error(`CLUSTER=kind needs a working \`${tool}\` on the PATH, and Docker running`);
  }
  if (await exists()) await down(config, report);
  await mkdir(path.dirname(config.kubeconfig), { recursive: true });
  const args = [
    "create",
    "cluster",
    "--name",
    CLUSTER_NAME,
    "--kubeconfig",
    config.kubeconfig,
    "--wait",
    NODE_READY,
  ];
  await step(report, `kind cluster ${CLUSTER_NAME}`, () =>
    command("kind", args, { timeoutMs: CREATE_TIMEOUT_MS }),
  );
}

export async function down(config: ClusterConfig, report: Report): Promise<void> {
  await command("kind", [
    "delete",
    "cluster",
    "--name",
    CLUSTER_NAME,
    "--kubeconfig",
    config.kubeconfig,
  ]);
  await rm(config.kubeconfig, { force: true });
  if (await exists()) throw new Error(`kind still lists the cluster ${CLUSTER_NAME}`);
  report("kind cluster deleted");
}

export async function buildWithDocker(
  { name, contextDir, dockerfile, target }: ImageSource,
  archive: string,
): Promise<void> {
  const file = dockerfile ?? path.join(contextDir, "Dockerfile");
  const stage = target === undefined ? [] : ["--target", target];
  await command("docker", ["build", "--tag", name, "--file", file, ...stage, contextDir], {
    timeoutMs: BUILD_TIMEOUT_MS,
  });
  await command("docker", ["save", "--output", archive, name], { timeoutMs: BUILD_TIMEOUT_MS });
}

/** False when there is no cluster to take the image. */
export async function loadIntoKind(archive: string): Promise<boolean> {
  if (!(await exists())) return false;
  await command("kind", ["load", "image-archive", archive, "--name", CLUSTER_NAME], {
    timeoutMs: BUILD_TIMEOUT_MS,
  });
  return true;
}

async function exists(): Promise<boolean> {
  return (await command("kind", ["get", "clusters"])).split("\n").includes(CLUSTER_NAME);
}
