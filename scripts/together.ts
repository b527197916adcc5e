// Plays several test files in one process, one after the other. usage: node scripts/together.ts FILE...
import { relative, resolve } from "node:path";
import { suite } from "node:test";
import { pathToFileURL } from "node:url";

/** Each is a suite, so that its `before` and `after` are its own: `--test-isolation=none` would run those of every file at once. */
export function together(files: readonly string[]): void {
  for (const file of files) {
    const path = resolve(file);
    suite(relative(process.cwd(), path), () => import(pathToFileURL(path).href));
  }
}

if (import.meta.main) together(process.argv.slice(2));
