// What tests make once for all runs lies in the user's cache: whole or not at all, and found again by what was asked for.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * The folder of this kind and key, filled at the first call; of processes that fill it at a time, the first to end gives it its content.
 *
 * @param key everything the content depends on
 */
export async function cached(
  kind: string,
  key: readonly string[],
  fill: (folder: string) => Promise<unknown>,
): Promise<string> {
  const hash = createHash("sha256").update(key.join("\n")).digest("hex").slice(0, 12);
  const cache = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  const kept = join(cache, "chaperone", kind, hash);
  if (existsSync(kept)) return kept;
  const fresh = `${kept}.${process.pid}`;
  await mkdir(fresh, { recursive: true });
  try {
    await fill(fresh);
    await rename(fresh, kept);
  } catch (error) {
    if (!existsSync(kept)) throw error;
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return kept;
}
