import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import { proxyNodeFlags } from "./node-flags.ts";

const root = join(import.meta.dirname, "..");

test("the proxy's image starts Node with the flags that injection writes and the benchmarks measure", async () => {
  const dockerfile = await readFile(join(root, "images/Dockerfile"), "utf8");
  const [, ofProxy = ""] =
    /^FROM [^\n]* AS proxy\n([^]*?)(?=^FROM |(?![^]))/m.exec(dockerfile) ?? [];
  const [, entrypoint = "[]"] = /^ENTRYPOINT (.*)$/m.exec(ofProxy) ?? [];
  assert.deepEqual(JSON.parse(entrypoint), ["node", ...proxyNodeFlags, "/app/proxy.mjs"]);
});

test("Node knows every one of them", async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...proxyNodeFlags, "--print", "process.execArgv.join(' ')"],
    { env: { ...process.env, NODE_OPTIONS: "" } },
  );
  assert.ok(stdout.startsWith(proxyNodeFlags.join(" ")));
});
