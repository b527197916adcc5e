// The integration tests whose promises depend on what the server is, before the oldest PostgreSQL and before the last that does not report search_path.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { divide } from "../../scripts/play.ts";
import { olderServer } from "./servers.ts";

const majors = [14, 17] as const;
const together = resolve(import.meta.dirname, "../../scripts/together.ts");
const folder = resolve(import.meta.dirname, "../integration");
const chosen = /^(?:postgres-proxy.*|postgres-fuzz|sql-masks|sql-accesses)\.test\.ts$/;
/** They are about clocks of the proxy, whatever is behind it. */
const sameEverywhere = new Set(["postgres-proxy-time.test.ts"]);

async function played(server: string): Promise<void> {
  const files = (await readdir(folder))
    .filter((file) => chosen.test(file) && !sameEverywhere.has(file))
    .map((file) => join(folder, file));
  assert.ok(files.length > 30, `${files.length} files are hardly all`);
  for (const group of divide(files, new Map())) {
    const child = spawn(process.execPath, [together, ...group], {
      env: { ...process.env, POSTGRES_PACKAGE: server },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [said, [code]] = await Promise.all([text(child.stdout), once(child, "close")]);
    assert.equal(code, 0, said.slice(said.indexOf("failing tests")));
    assert.match(said, /pass [1-9]/);
  }
}

for (const major of majors)
  test(`PostgreSQL ${major}: masks, rules, names and the wire hold as before the newest`, async () => {
    const place = await mkdtemp(join(tmpdir(), "chaperone-older-"));
    try {
      await chmod(place, 0o755);
      await played(await olderServer(major, place));
    } finally {
      await rm(place, { recursive: true, force: true });
    }
  });
