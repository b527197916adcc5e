// What a ClusterAccessPolicy shares with an AccessPolicy is written once, in the latter's CRD: schema nodes with the same title are copied from there.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const source = "crds/accesspolicy.yaml";
const target = "crds/clusteraccesspolicy.yaml";

/** Brings the copies up to date, unless it only checks; the paths of what differed, from `root`. */
export async function syncSharedSchemas(
  root: string,
  isCheck: boolean,
): Promise<readonly string[]> {
  const shared = titled(await readFile(join(root, source), "utf8"));
  const present = await readFile(join(root, target), "utf8");
  const wanted = withShared(present, shared);
  if (present === wanted) return [];
  if (!isCheck) await writeFile(join(root, target), wanted);
  return [target];
}

/** The lines of each node by its title, with the indentation of its first line taken away. */
function titled(text: string): ReadonlyMap<string, readonly string[]> {
  const lines = text.split("\n");
  const nodes = new Map<string, readonly string[]>();
  for (const [at, line] of lines.entries()) {
    const [, indent = "", title] = /^( *)title: (\w+)$/.exec(line) ?? [];
    if (title === undefined) continue;
    const node = lines.slice(at, endOf(lines, at, indent.length));
    nodes.set(
      title,
      node.map((one) => one.slice(indent.length)),
    );
  }
  return nodes;
}

function withShared(text: string, shared: ReadonlyMap<string, readonly string[]>): string {
  const lines = text.split("\n");
  const out: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? "";
    const [, indent = "", title = ""] = /^( *)title: (\w+)$/.exec(line) ?? [];
    const node = shared.get(title);
    if (node === undefined) out.push(line);
    else {
      out.push(...node.map((one) => `${indent}${one}`));
      at = endOf(lines, at, indent.length) - 1;
    }
  }
  return out.join("\n");
}

/** Where the lines end that are indented at least so far. */
function endOf(lines: readonly string[], from: number, indent: number): number {
  let at = from;
  while (at < lines.length && (lines[at]?.search(/\S/) ?? -1) >= indent) at++;
  return at;
}
