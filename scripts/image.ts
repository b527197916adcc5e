// `make image`: builds the two images from dist/ with Docker where there is one, else with what the test cluster builds with.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { command, main, reporter, step, succeeds } from "../test/cluster/command.ts";
import type { Report } from "../test/cluster/command.ts";
import { readConfig } from "../test/cluster/config.ts";
import { buildImage } from "../test/cluster/images.ts";

const root = join(import.meta.dirname, "..");
const targets = ["proxy", "operator"] as const;

/** Node's base image is pulled once. */
const dockerTimeoutMs = 10 * 60_000;

/** As the chart's values name them: registry/repository:appVersion. */
export async function imageName(target: (typeof targets)[number]): Promise<string> {
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as {
    version: string;
  };
  return `ghcr.io/chaperone-dev/${target}:${version}`;
}

/** Builds both and brings them into the test cluster if it runs. Returns their names. */
export async function buildForCluster(report: Report): Promise<readonly string[]> {
  return await build(report, async (name, target) => {
    await buildImage({ ...source(target), name });
  });
}

async function build(
  report: Report,
  one: (name: string, target: string) => Promise<void>,
): Promise<readonly string[]> {
  if (!existsSync(join(root, "dist/operator.mjs")))
    throw new Error("dist/ holds no programs: run make build first");
  const names: string[] = [];
  for (const target of targets) {
    const name = await imageName(target);
    await step(report, `built ${name}`, () => one(name, target));
    names.push(name);
  }
  return names;
}

function source(target: string) {
  return {
    contextDir: join(root, "dist"),
    dockerfile: join(root, "images/Dockerfile"),
    target,
  };
}

async function run(): Promise<void> {
  const report = reporter(process.stderr);
  const hasDocker = await succeeds("docker", ["version"]);
  const names =
    hasDocker && readConfig().provider !== "kind"
      ? await build(report, async (name, target) => {
          const { contextDir, dockerfile } = source(target);
          await command(
            "docker",
            ["build", "--tag", name, "--target", target, "--file", dockerfile, contextDir],
            { timeoutMs: dockerTimeoutMs },
          );
        })
      : await buildForCluster(report);
  process.stdout.write(`${names.join("\n")}\n`);
}

if (import.meta.main) await main(run);
