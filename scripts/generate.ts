// Writes every generated file of the repository; `--check` writes nothing and exits 1 when one of them is out of date.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { syncChartCrds } from "./chart-crds.ts";
import { readCrds } from "./generate-crds.ts";
import { generateDocs } from "./generate-docs.ts";
import { generateSchemas } from "./generate-schemas.ts";
import { generateTypes } from "./generate-types.ts";
import { syncSharedSchemas } from "./shared-schemas.ts";

interface Output {
  readonly path: string;
  readonly text: string;
}

async function generate(root: string): Promise<readonly Output[]> {
  const crds = await readCrds(join(root, "crds"));
  return [
    { path: "crds/types.gen.ts", text: generateTypes(crds) },
    { path: "crds/schemas.gen.ts", text: generateSchemas(crds) },
    ...generateDocs(crds),
  ];
}

async function isCurrent(path: string, text: string): Promise<boolean> {
  try {
    return (await readFile(path, "utf8")) === text;
  } catch {
    return false;
  }
}

async function main(root: string, check: boolean): Promise<number> {
  let stale = 0;
  for (const sync of [syncSharedSchemas, syncChartCrds])
    for (const path of await sync(root, check)) {
      stale += 1;
      say(path, check);
    }
  for (const output of await generate(root)) {
    const path = join(root, output.path);
    if (await isCurrent(path, output.text)) continue;
    stale += 1;
    if (!check) await writeFile(path, output.text);
    say(output.path, check);
  }
  return check && stale > 0 ? 1 : 0;
}

function say(path: string, check: boolean): void {
  if (check)
    console.error(`${path} is out of date: run node scripts/generate.ts and commit the result`);
  else console.log(`wrote ${path}`);
}

process.exitCode = await main(join(import.meta.dirname, ".."), process.argv.includes("--check"));
