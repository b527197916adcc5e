// Finds the manifest files of a path: a file as it is, a folder with all YAML and JSON below it, in a stable order.
import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { SourceFile } from "./check.ts";
import { maxFileCharacters } from "./manifest.ts";

/** A folder by mistake (a home directory, a checkout with its dependencies) is refused early instead of read for minutes. */
const maxFiles = 5000;
const maxEntries = 50_000;

/** UTF-8 needs at most four bytes a character. */
const maxFileBytes = 4 * maxFileCharacters;

/** Throws with a sentence for people when the path cannot be read. Links to folders are not followed, so there are no circles. */
export async function readManifestFiles(path: string): Promise<readonly SourceFile[]> {
  const sources: SourceFile[] = [];
  for (const file of await listManifestFiles(path))
    sources.push({ path: file, text: await readText(file) });
  return sources;
}

/** The files alone, in the same order. */
export async function listManifestFiles(path: string): Promise<readonly string[]> {
  const info = await stat(path).catch((error: unknown) => {
    throw new Error(
      `cannot read ${path}: ${error instanceof Error && "code" in error && error.code === "ENOENT" ? "there is no such file or folder" : String(error)}`,
    );
  });
  return info.isDirectory() ? manifestsBelow(path) : [path];
}

async function manifestsBelow(root: string): Promise<readonly string[]> {
  const found: string[] = [];
  const folders = [root];
  let entries = 0;
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      entries += 1;
      if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
      const path = join(folder, entry.name);
      if (entry.isDirectory()) folders.push(path);
      else if (isManifestName(entry.name)) found.push(path);
    }
    if (found.length > maxFiles || entries > maxEntries)
      throw new Error(
        `${root} has more than ${maxFiles} manifests or ${maxEntries} entries: name a smaller folder`,
      );
  }
  return found.toSorted();
}

/** kustomize's own file stands beside the manifests and is none. */
function isManifestName(name: string): boolean {
  return /\.(ya?ml|json)$/.test(name) && !name.startsWith("kustomization.");
}

async function readText(file: string): Promise<string> {
  const { size } = await stat(file);
  if (size > maxFileBytes)
    throw new Error(`${file} is larger than ${maxFileBytes} bytes: split it`);
  return readFile(file, "utf8");
}
