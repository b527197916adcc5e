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

test("Node knows every one of them, and with them takes the compiled form of its own modules that it brings", async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      ...proxyNodeFlags,
      "--expose-internals",
      "--eval",
      `require("node:http2");
      const { internalBinding } = require("internal/test/binding");
      const { compiledWithCache, compiledWithoutCache } = internalBinding("builtins").getCacheUsage();
      console.log(JSON.stringify([compiledWithCache.size > 20, [...compiledWithoutCache]]));`,
    ],
    { env: { ...process.env, NODE_OPTIONS: "" } },
  );
  assert.deepEqual(JSON.parse(stdout), [true, []]);
});
