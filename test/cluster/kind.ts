/** The same cluster by kind, for machines with Docker. */
import { mkdir, rm } from "node:fs/promises";
import path from "node:path";
import { CLUSTER_NAME } from "./config.ts";
import type { ClusterConfig } from "./config.ts";
import type { ImageSource } from "./buildah.ts";
import { command, NotInstalled, step, until } from "./command.ts";
import type { Report } from "./command.ts";
import { kubectl } from "./kubectl.ts";

/** kind pulls a node image of a gigabyte the first time. */
const CREATE_TIMEOUT_MS = 15 * 60_000;
const BUILD_TIMEOUT_MS = 10 * 60_000;

/** A node is ready half a minute after kind returns; a busy machine takes longer. */
const READY_MS = 5 * 60_000;

/** Docker removes the node with everything that was written in it, some gigabytes. */
const DELETE_TIMEOUT_MS = 5 * 60_000;

type Tool = readonly [name: string, ...call: string[]];

/** What making and removing a node takes, each with a call that shows it works. */
const NODE_TOOLS: readonly Tool[] = [
  ["docker", "info"],
  ["kind", "version"],
];

/** What using it takes, too. */
const TOOLS: readonly Tool[] = [
  ...NODE_TOOLS,
  ["kubectl", "version", "--client"],
  ["helm", "version"],
];

/** Throws where a tool is missing: without them nobody knows whether the cluster is up, and it cannot be used. */
export async function isUp(config: ClusterConfig): Promise<boolean> {
  await demand(TOOLS);
  return (await exists()) && (await nodeIsReady(config));
}

export async function up(config: ClusterConfig, report: Report): Promise<void> {
  await demand(TOOLS);
  if (await exists()) {
    report("found the remains of an earlier cluster");
    await down(config, report);
  }
  await mkdir(path.dirname(config.kubeconfig), { recursive: true });
  const image = config.kindNodeImage;
  const from = image === undefined ? [] : ["--image", image];
  report("creating a node in Docker (the first time, its image of a gigabyte is pulled)");
  await step(report, `kind cluster ${CLUSTER_NAME}`, () =>
    command(
      "kind",
      ["create", "cluster", "--name", CLUSTER_NAME, "--kubeconfig", config.kubeconfig, ...from],
      { timeoutMs: CREATE_TIMEOUT_MS },
    ),
  );
  // Not kind's own `--wait`, which ends well when the time is over and the node is not ready.
  await step(report, "node ready", () =>
    until("the node to be ready", READY_MS, () => nodeIsReady(config)),
  );
  await step(report, "default service account", () =>
    until(
      "the default service account",
      READY_MS,
      async () => (await kubectl(config, ["get", "serviceaccount", "default"])) !== "",
    ),
  );
}

export async function down(config: ClusterConfig, report: Report): Promise<void> {
  await demand(NODE_TOOLS);
  await command(
    "kind",
    ["delete", "cluster", "--name", CLUSTER_NAME, "--kubeconfig", config.kubeconfig],
    { timeoutMs: DELETE_TIMEOUT_MS },
  );
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
    // With attestations an archive names more than the one image, and kind cannot load it.
    env: { BUILDX_NO_DEFAULT_ATTESTATIONS: "1" },
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

async function nodeIsReady(config: ClusterConfig): Promise<boolean> {
  const wait = ["wait", "node", "--all", "--for=condition=Ready", "--timeout=5s"];
  return await kubectl(config, ["--request-timeout=5s", ...wait]).then(
    () => true,
    () => false,
  );
}

async function demand(tools: readonly Tool[]): Promise<void> {
  for (const [tool, ...call] of tools) {
    try {
      await command(tool, call);
    } catch (error) {
      throw new Error(
        error instanceof NotInstalled
          ? `CLUSTER=kind needs \`${tool}\`: install it and put it on the PATH`
          : `CLUSTER=kind needs a working \`${tool}\`: see to it that \`${[tool, ...call].join(" ")}\` ends well`,
        { cause: error },
      );
    }
  }
}
