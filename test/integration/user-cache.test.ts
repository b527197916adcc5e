import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";
import { cached } from "./user-cache.ts";

async function ownCache(t: TestContext): Promise<void> {
  const before = process.env["XDG_CACHE_HOME"];
  const folder = await mkdtemp(join(tmpdir(), "chaperone-cache-"));
  process.env["XDG_CACHE_HOME"] = folder;
  t.after(async () => {
    if (before === undefined) delete process.env["XDG_CACHE_HOME"];
    else process.env["XDG_CACHE_HOME"] = before;
    await rm(folder, { recursive: true });
  });
}

test("what is asked for by the same key is made once, by another anew", async (t) => {
  await ownCache(t);
  let made = 0;
  const ask = (key: string): Promise<string> =>
    cached("kind", [key], (folder) => {
      made += 1;
      return writeFile(join(folder, "content"), key);
    });
  const first = await ask("a");
  assert.equal(await ask("a"), first);
  assert.equal(made, 1);
  assert.equal(await readFile(join(await ask("b"), "content"), "utf8"), "b");
});

test("what could not be made whole is not kept", async (t) => {
  await ownCache(t);
  let place = "";
  await assert.rejects(
    cached("kind", ["a"], async (folder) => {
      place = folder;
      await writeFile(join(folder, "half"), "");
      throw new Error("no network");
    }),
    /no network/,
  );
  assert.deepEqual(await readdir(dirname(place)), []);
});

test("a process that comes second with the same content takes the first one's", async (t) => {
  await ownCache(t);
  const kept = await cached("kind", ["a"], async (folder) => {
    await writeFile(join(folder, "content"), "second");
    const other = folder.slice(0, folder.lastIndexOf("."));
    await mkdir(other);
    await writeFile(join(other, "content"), "first");
  });
  assert.equal(await readFile(join(kept, "content"), "utf8"), "first");
  assert.ok(!existsSync(`${kept}.${process.pid}`));
});
