// Looks for secrets in everything that was written, byte by byte.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** `FILE: secret number N` for every file below the directory that holds one of the secrets. */
export async function secretsIn(directory: string, secrets: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    const bytes = await readFile(file);
    for (const [index, secret] of secrets.entries())
      if (bytes.includes(secret)) found.push(`${file}: secret number ${index + 1}`);
  }
  return found;
}
