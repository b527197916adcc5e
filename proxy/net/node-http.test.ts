import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

test("a proxy with every room loads nothing of Node's own undici", async () => {
  const rooms = ["start", "admin", "http/room", "postgres/room", "passthrough/room"];
  const imports = rooms.map((room) => `import "${import.meta.dirname}/../${room}.ts";`);
  const says =
    'process.stdout.write(process.moduleLoadList.filter((name) => name.includes("undici")).join());';
  const { stdout } = await promisify(execFile)(process.execPath, [
    "--input-type=module",
    "--eval",
    `${imports.join("")}${says}`,
  ]);
  assert.equal(stdout, "");
});
