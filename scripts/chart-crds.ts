// The chart's copies of the CRDs: Helm reads only what lies in the chart.
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Brings the copies up to date, unless it only checks; the paths of what differed, from `root`. */
export async function syncChartCrds(root: string, isCheck: boolean): Promise<readonly string[]> {
  const folder = "charts/chaperone/files/crds";
  const copy = join(root, folder);
  await mkdir(copy, { recursive: true });
  const wanted = (await readdir(join(root, "crds"))).filter((name) => name.endsWith(".yaml"));
  const stale: string[] = [];
  for (const name of wanted) {
    const text = await readFile(join(root, "crds", name), "utf8");
    const present = existsSync(join(copy, name)) ? await readFile(join(copy, name), "utf8") : "";
    if (present === text) continue;
    stale.push(`${folder}/${name}`);
    if (!isCheck) await writeFile(join(copy, name), text);
  }
  for (const name of await readdir(copy)) {
    if (wanted.includes(name)) continue;
    stale.push(`${folder}/${name}`);
    if (!isCheck) await rm(join(copy, name));
  }
  return stale;
}
