// The example for MCP servers is good, and `explain` says of it what its comments promise.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "../..");

function cli(
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly text: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [join(root, "cli/main.ts"), ...args], (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), text: stdout + stderr }),
    );
  });
}

test("the example for MCP servers passes check, and explain decides on tools and their arguments by it", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-mcp-example-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const example = join(root, "examples/mcp");
  const checked = await cli("check", "-f", example);
  assert.equal(checked.code, 0, checked.text);
  const explain = async (method: string, params: object) => {
    const file = join(directory, "operation.json");
    await writeFile(file, JSON.stringify({ mcp: { method, params } }));
    return cli(
      "explain",
      "-f",
      example,
      "--namespace",
      "agents",
      "--service-account",
      "invoice-agent",
      "--connection",
      "order-tools",
      "--operation",
      file,
    );
  };
  const call = (name: string, args: object) => explain("tools/call", { name, arguments: args });
  const allowed = await call("read_file", { path: "/invoices/2026-07.pdf" });
  assert.equal(allowed.code, 0, allowed.text);
  assert.match(allowed.text, /read-invoices/);
  const refused = await call("read_file", { path: "/etc/passwd" });
  assert.equal(refused.code, 1);
  assert.match(refused.text, /arguments does not match what the call brings/);
  assert.match((await call("refund", { amount: 20 })).text, /refunds-need-a-person/);
  assert.equal((await call("refund", { amount: 5000 })).code, 1);
  const mail = await call("send_mail", { to: ["ann@example.com", "x@gmail.com"] });
  assert.match(mail.text, /service desk/);
  const list = await explain("tools/list", {});
  assert.equal(list.code, 0, list.text);
  assert.match(list.text, /session-basics/);
});
