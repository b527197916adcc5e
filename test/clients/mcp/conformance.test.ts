// MCP's own conformance suite against a server made with the official SDK: every check ends through the proxy as it does straight from the server.
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { npmPackages } from "../cache.ts";
import { run, script } from "./play.ts";
import { startMcpLocal, startServer } from "./room.ts";

interface Check {
  readonly id: string;
  readonly status: string;
}

/** The checks of every scenario, with how each ended. */
async function checksAt(program: string, url: string): Promise<Record<string, string>> {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-conformance-"));
  try {
    await run([process.execPath, program, "server", "--url", url, "--output-dir", directory]);
    const ended: Record<string, string> = {};
    for (const file of await readdir(directory, { recursive: true })) {
      if (!file.endsWith("checks.json")) continue;
      // Folders are named by scenario and time.
      const scenario = file.replace(/-\d{4}-\d\d-\d\dT[^/]*/, "").replace(/\/checks\.json$/, "");
      const checks = JSON.parse(await readFile(join(directory, file), "utf8")) as Check[];
      for (const { id, status } of checks) ended[`${scenario}: ${id}`] = status;
    }
    return ended;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

test("every check of the conformance suite ends as it does straight from the server", async () => {
  const packages = await npmPackages(["@modelcontextprotocol/sdk@1.32.2"]);
  const suite = await npmPackages(["@modelcontextprotocol/conformance@0.1.16"]);
  const program = join(suite, "node_modules/@modelcontextprotocol/conformance/dist/index.js");
  const server = await startServer([process.execPath, script("server.mjs"), packages]);
  const local = await startMcpLocal(
    server.port,
    ["mcp"],
    `    - {name: all, action: Allow, mcp: {methods: ["*"]}}\n`,
  );
  try {
    const direct = await checksAt(program, `http://127.0.0.1:${server.port}/mcp`);
    assert.ok(Object.keys(direct).length >= 30, `only ${Object.keys(direct).length} checks ran`);
    const passed = Object.values(direct).filter((status) => status === "SUCCESS").length;
    assert.ok(passed >= 25, `only ${passed} checks pass straight from the server`);
    const through = await checksAt(program, local.url("mcp"));
    // Local mode itself keeps web pages out, whatever the server behind does (docs/architecture.md, section 12): by their Host, and by
    // their Origin, which this check sends from this machine.
    const ours = "server-dns-rebinding-protection: localhost-host";
    assert.equal(through[`${ours}-rebinding-rejected`], "SUCCESS");
    for (const check of [`${ours}-rebinding-rejected`, `${ours}-valid-accepted`]) {
      delete through[check];
      delete direct[check];
    }
    assert.deepEqual(through, direct);
  } finally {
    await local.close();
    await server.close();
  }
});
