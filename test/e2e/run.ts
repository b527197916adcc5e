// `make e2e`: brings up the cluster with the product in it, builds what the tests' pods run, and runs the suites, admission first.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import path from "node:path";
import { main, reporter } from "../cluster/command.ts";
import { installChaperone } from "../cluster/chaperone.ts";
import { readConfig } from "../cluster/config.ts";
import { withLock } from "../cluster/lock.ts";
import { providerOf } from "../cluster/provider.ts";
import { buildTestImages } from "./images.ts";

/** A test that hangs must not hang the suite. */
const testTimeoutMs = 10 * 60_000;

/** Most of their time they wait for the kubelet; each has namespaces of its own. */
const suitesAtOnce = 3;

const solitary = new Set(["admit_down", "e2e_live", "e2e_node", "e2e_operator"]);

await main(async () => {
  const config = readConfig();
  const report = reporter(process.stderr);
  const provider = providerOf(config);
  await withLock(config, report, async () => {
    if (await provider.isUp(config)) report("the cluster is already up");
    else await provider.up(config, report);
    await installChaperone(config, report);
    await buildTestImages(config, report);
  });
  const wanted = process.argv.slice(2);
  const files = readdirSync(import.meta.dirname)
    .filter((name) => /^(admit|e2e)_.*\.test\.ts$/.test(name))
    .filter((name) => wanted.length === 0 || wanted.some((part) => name.includes(part)))
    .toSorted()
    .map((name) => path.join(import.meta.dirname, name));
  if (files.length === 0) throw new Error(`no suite is named ${wanted.join(", ")}`);
  // Whatever takes the operator away, or measures how fast it acts, has the cluster to itself.
  const alone = files.filter((file) => solitary.has(path.basename(file, ".test.ts")));
  const shared = files.filter((file) => !alone.includes(file));
  for (const [part, concurrency] of [
    [shared, suitesAtOnce],
    [alone, 1],
  ] as const)
    if (part.length > 0 && !(await passes(part, concurrency))) process.exitCode = 1;
});

async function passes(files: readonly string[], concurrency: number): Promise<boolean> {
  const args = [`--test-concurrency=${concurrency}`, `--test-timeout=${testTimeoutMs}`, ...files];
  const child = spawn(process.execPath, ["--test", ...args], { stdio: "inherit" });
  const [code] = (await once(child, "close")) as [number | null];
  return code === 0;
}
