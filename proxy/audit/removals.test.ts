import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Removals } from "./removals.ts";

const names = Array.from({ length: 300 }, (_, at) => String(at).padStart(3, "0"));

function folderOf(files: readonly string[]): string {
  const folder = mkdtempSync(join(tmpdir(), "removals-"));
  for (const name of files) writeFileSync(join(folder, name), "an event\n");
  return folder;
}

test("a process that is killed at any moment leaves files without a hole: the oldest go first", async () => {
  const folder = folderOf(names);
  const removals = new Removals();
  for (const name of names) removals.remove(join(folder, name));
  let over = false;
  const all = removals.close().then(() => (over = true));
  while (!over) {
    const left = readdirSync(folder).toSorted();
    assert.deepEqual(left, names.slice(names.length - left.length));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await all;
  assert.deepEqual(readdirSync(folder), []);
  rmSync(folder, { recursive: true });
});

test("what cannot be removed keeps what is behind it, and goes with the next", async () => {
  const folder = folderOf(["b", "c"]);
  const stuck = join(folder, "a");
  mkdirSync(stuck);
  const removals = new Removals();
  for (const name of ["a", "b"]) removals.remove(join(folder, name));
  await removals.close();
  assert.deepEqual(readdirSync(folder).toSorted(), ["a", "b", "c"]);
  rmdirSync(stuck);
  removals.remove(join(folder, "c"));
  await removals.close();
  assert.deepEqual(readdirSync(folder), []);
  rmSync(folder, { recursive: true });
});
