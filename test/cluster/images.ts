/** Builds images and brings them into the test cluster: from a test by `buildImage`, or from a shell. */
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Buildah, fullName } from "./buildah.ts";
import type { ImageSource } from "./buildah.ts";
import { readConfig, VERSIONS } from "./config.ts";
import type { ClusterConfig } from "./config.ts";
import { command, main, reporter, step, until } from "./command.ts";
import type { Report } from "./command.ts";
import { buildWithDocker, loadIntoKind } from "./kind.ts";
import { withLock } from "./lock.ts";
import { installPackages } from "./packages.ts";
import { pathsOf, PAUSE_IMAGE } from "./settings.ts";

/** debootstrap fetches and unpacks a hundred packages. */
const BOOTSTRAP_TIMEOUT_MS = 15 * 60_000;

/** Unpacking an archive of some hundred megabytes on a busy disk. */
const IMPORT_TIMEOUT_MS = 5 * 60_000;

interface BaseImage {
  readonly title: string;
  readonly name: string;
  /** Puts into a folder what the Dockerfile copies. */
  readonly fill: (folder: string, config: ClusterConfig) => Promise<unknown>;
}

/** What the kubelet needs before any pod; made from a program of ours. */
const PAUSE: BaseImage = {
  title: "pause",
  name: PAUSE_IMAGE,
  fill: (folder, config) => command("cp", [path.join(config.bin, "pause"), folder]),
};

/** What the Dockerfiles of the product and its tests start from; later ones are built on the first. */
const BASE_IMAGES: readonly BaseImage[] = [
  {
    title: "debian",
    name: `docker.io/library/debian:${VERSIONS.debian}-slim`,
    fill: bootstrapDebian,
  },
  {
    title: "node",
    name: `docker.io/library/node:${VERSIONS.nodejs}-${VERSIONS.debian}-slim`,
    fill: fetchNode,
  },
  {
    title: "python",
    name: `docker.io/library/python:3.11-slim-${VERSIONS.debian}`,
    fill: () => Promise.resolve(),
  },
];

export interface BuiltImage {
  /** As pods name it, with `imagePullPolicy: IfNotPresent`. */
  readonly name: string;
  readonly archive: string;
  /** False when no cluster runs to take it. */
  readonly isInCluster: boolean;
}

/** Builds an image and, if the cluster runs, brings it there. */
export async function buildImage(
  source: ImageSource,
  config: ClusterConfig = readConfig(),
): Promise<BuiltImage> {
  const name = fullName(source.name);
  const archive = path.join(config.archives, `${name.replaceAll(/[^a-zA-Z0-9.]+/g, "-")}.tar`);
  await mkdir(config.archives, { recursive: true });
  if (config.provider === "kind") {
    await buildWithDocker(source, archive);
  } else {
    await baseArchives(config, () => undefined);
    const buildah = new Buildah(config);
    await buildah.build(source);
    await buildah.save(name, archive);
  }
  return { name, archive, isInCluster: await loadImage(archive, config) };
}

/** Brings an archive into the cluster; false when none runs. */
export async function loadImage(
  archive: string,
  config: ClusterConfig = readConfig(),
): Promise<boolean> {
  if (config.provider === "kind") return await loadIntoKind(archive);
  if (!existsSync(pathsOf(config).containerdSocket)) return false;
  await importArchive(config, archive);
  return true;
}

/** The archives a new node takes in: the pause image, for which the tools must be built, and the base images. */
export async function nodeArchives(config: ClusterConfig, report: Report): Promise<string[]> {
  return await archivesOf([PAUSE, ...BASE_IMAGES], config, report);
}

/** The archives of the base images, built where they are missing. */
export async function baseArchives(config: ClusterConfig, report: Report): Promise<string[]> {
  return await archivesOf(BASE_IMAGES, config, report);
}

async function archivesOf(
  images: readonly BaseImage[],
  config: ClusterConfig,
  report: Report,
): Promise<string[]> {
  const buildah = new Buildah(config);
  const archives: string[] = [];
  for (const image of images) {
    const archive = path.join(config.images, `${image.title}.tar`);
    archives.push(archive);
    if (!existsSync(archive))
      await step(report, `built the ${image.title} image`, () =>
        buildBase(config, buildah, image, archive),
      );
    else if (!(await buildah.has(image.name))) await buildah.load(archive);
  }
  return archives;
}

async function buildBase(
  config: ClusterConfig,
  buildah: Buildah,
  image: BaseImage,
  archive: string,
): Promise<void> {
  const contextDir = await mkdtemp(path.join(tmpdir(), "chaperone-image-"));
  try {
    await image.fill(contextDir, config);
    await buildah.build({
      name: image.name,
      contextDir,
      dockerfile: path.join(config.here, "base", `${image.title}.Dockerfile`),
    });
    await buildah.save(image.name, archive);
  } finally {
    await rm(contextDir, { recursive: true, force: true });
  }
}

async function bootstrapDebian(folder: string, { debianMirror }: ClusterConfig): Promise<void> {
  const root = path.join(folder, "rootfs");
  await command("debootstrap", ["--variant=minbase", VERSIONS.debian, root, debianMirror], {
    timeoutMs: BOOTSTRAP_TIMEOUT_MS,
  });
  // As in the official slim image: no package lists, documents or manuals.
  const excluded = [
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
  ];
  const exclude = excluded.map((pattern) => `--exclude=${pattern}`);
  const tar = [
    "--numeric-owner",
    "--wildcards",
    ...exclude,
    "-C",
    root,
    "-cf",
    path.join(folder, "rootfs.tar"),
    ".",
  ];
  await command("tar", tar, { timeoutMs: BOOTSTRAP_TIMEOUT_MS });
  await rm(root, { recursive: true });
}

/** Node's own binary, from its package for this processor. */
async function fetchNode(folder: string): Promise<void> {
  const packed = await command(
    "npm",
    ["pack", "--silent", `node-linux-${process.arch}@${VERSIONS.nodejs}`],
    { cwd: folder },
  );
  await command("tar", ["-xzf", packed.trim(), "package/bin/node"], { cwd: folder });
  await rename(path.join(folder, "package/bin/node"), path.join(folder, "node"));
}

/** Brings an archive into the node's containerd, and waits until the kubelet can use it. */
export async function importArchive(config: ClusterConfig, archive: string): Promise<void> {
  const ctr = (...args: string[]): Promise<string> =>
    command(
      "ctr",
      ["--address", pathsOf(config).containerdSocket, "--namespace", "k8s.io", ...args],
      { timeoutMs: IMPORT_TIMEOUT_MS },
    );
  const said = await ctr("images", "import", archive);
  const [, name] = /^unpacking (\S+)/m.exec(said) ?? [];
  if (name === undefined)
    throw new Error(`containerd did not say which image is in ${archive}: ${said}`);
  // The part of containerd that answers the kubelet marks the image once it knows it.
  await until(`image ${name} to be known to the kubelet`, IMPORT_TIMEOUT_MS, async () =>
    (await ctr("images", "list", `name==${name}`)).includes("io.cri-containerd.image=managed"),
  );
}

const USAGE = "usage: images.ts build NAME DIR [DOCKERFILE], or images.ts load ARCHIVE";

async function run([verb, ...args]: readonly string[]): Promise<void> {
  const config = readConfig();
  const report = reporter(process.stderr);
  const tell = (isInCluster: boolean): void =>
    report(isInCluster ? "it is in the cluster" : "no cluster is running to take it");
  const [first, contextDir, dockerfile] = args;
  if (verb === "load" && first !== undefined && args.length === 1) {
    tell(await loadImage(first, config));
    return;
  }
  if (verb !== "build" || first === undefined || contextDir === undefined) throw new Error(USAGE);
  if (config.provider === "local") {
    await withLock(config, report, async () => {
      await installPackages(report);
      await baseArchives(config, report);
    });
  }
  const source = { name: first, contextDir, ...(dockerfile === undefined ? {} : { dockerfile }) };
  const built = await step(report, `built ${first}`, () => buildImage(source, config));
  tell(built.isInCluster);
  process.stdout.write(`${built.archive}\n`);
}

if (import.meta.main) await main(() => run(process.argv.slice(2)));
