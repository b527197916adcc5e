import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import { watchFolder } from "./folder.ts";

function folder(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "chaperone-folder-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test("a change is told at once, long before it would be looked for", async (t) => {
  const directory = folder(t);
  const told = new Promise<void>((resolve) => {
    const watched = watchFolder(directory, 3_600_000, resolve, (error) =>
      assert.fail(String(error)),
    );
    t.after(() => watched.close());
  });
  writeFileSync(join(directory, "x"), "");
  await told;
});

test("on a node that has no watches left the folder is looked into every so often, and why is told", async (t) => {
  const directory = folder(t);
  const errors: unknown[] = [];
  const none = (): never => {
    throw new Error("ENOSPC: System limit for number of file watchers reached");
  };
  await new Promise<void>((resolve) => {
    const watched = watchFolder(directory, 1, resolve, (error) => errors.push(error), none);
    t.after(() => watched.close());
  });
  assert.match(String(errors[0]), /ENOSPC/);
});
