/** Builds Kubernetes, CoreDNS and Helm from their Go modules, once for each version. */
import { access, mkdir, rename, rm, symlink } from "node:fs/promises";
import path from "node:path";
import { VERSIONS } from "./config.ts";
import type { ClusterConfig } from "./config.ts";
import { command, step } from "./command.ts";
import type { Report } from "./command.ts";

/** Kubernetes takes five minutes on two idle cores; a busy machine gets four times that. */
const BUILD_TIMEOUT_MS = 20 * 60_000;

/** The names under which the one `kube` binary acts as another program. */
const KUBE_PROGRAMS = [
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kube-proxy",
  "kubelet",
  "kubectl",
];

const [MAJOR, MINOR] = VERSIONS.kubernetes.slice(1).split(".");
const VERSION_PACKAGE = "k8s.io/component-base/version";
/** Without symbol tables: half the size, and nobody debugs these here. */
const SMALL = "-s -w";
const KUBE_FLAGS = [
  SMALL,
  `-X ${VERSION_PACKAGE}.gitVersion=${VERSIONS.kubernetes}`,
  `-X ${VERSION_PACKAGE}.gitMajor=${MAJOR}`,
  `-X ${VERSION_PACKAGE}.gitMinor=${MINOR}`,
].join(" ");

interface Tool {
  readonly name: string;
  /** Builds the tool into the folder it is given. */
  readonly build: (into: string) => Promise<unknown>;
}

export async function buildTools(config: ClusterConfig, report: Report): Promise<void> {
  const source = path.join(config.here, "kube");
  const build = (name: string, from: string, flags: string): Tool => ({
    name,
    build: (into) =>
      go(
        [
          "build",
          "-trimpath",
          "-buildvcs=false",
          "-ldflags",
          flags,
          "-o",
          path.join(into, name),
          from,
        ],
        source,
      ),
  });
  // Outside any module, so that no go.mod of ours changes what is built; GOBIN says where the result goes.
  const install = (name: string, module: string): Tool => ({
    name,
    build: (into) =>
      go(["install", "-trimpath", "-buildvcs=false", "-ldflags", SMALL, module], into, {
        GOBIN: into,
      }),
  });
  const tools = [
    build("kube", ".", KUBE_FLAGS),
    build("pause", "./pause", SMALL),
    build("volumes", "./volumes", SMALL),
    install("coredns", `github.com/coredns/coredns@${VERSIONS.coredns}`),
    install("helm", `helm.sh/helm/v3/cmd/helm@${VERSIONS.helm}`),
  ];
  await mkdir(config.bin, { recursive: true });
  for (const tool of tools) {
    const target = path.join(config.bin, tool.name);
    if (await exists(target)) continue;
    report(
      `building ${tool.name} (Kubernetes takes about five minutes, the others one or two, once)`,
    );
    await step(report, `built ${tool.name}`, () => buildOnce(tool, target));
  }
  for (const name of KUBE_PROGRAMS) await link("kube", path.join(config.bin, name));
  await link(config.bin, config.binLink);
}

/** Built beside its place and then moved, so that an interrupted build leaves nothing that looks finished. */
async function buildOnce(tool: Tool, target: string): Promise<void> {
  const folder = `${target}.building-${process.pid}`;
  await mkdir(folder, { recursive: true });
  try {
    await tool.build(folder);
    await rename(path.join(folder, tool.name), target);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function go(
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = {},
): Promise<void> {
  try {
    await command("nice", ["-n", "10", "go", ...args], {
      cwd,
      env: { CGO_ENABLED: "0", ...env },
      timeoutMs: BUILD_TIMEOUT_MS,
    });
  } catch (error) {
    throw new Error(
      `go ${args[0]} failed; the cluster is built with Go 1.24 or newer, which must be on the PATH`,
      { cause: error },
    );
  }
}

async function link(to: string, at: string): Promise<void> {
  const fresh = `${at}.${process.pid}`;
  await symlink(to, fresh);
  await rename(fresh, at);
}

export async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch {
    return false;
  }
}
