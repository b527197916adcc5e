import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

const engine = join(import.meta.dirname, "engine.ts");
const grammar = join(import.meta.dirname, "../policy/sql/grammar.ts");

const peakMiB = async (program: string): Promise<number> => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    "--input-type=module",
    "--eval",
    `${program}
    const { readFileSync } = await import("node:fs");
    console.log(/VmHWM:\\s+(\\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))[1]);`,
  ]);
  return Number(stdout) / 1024;
};

test(
  "the SQL grammar is compiled once: a busy one takes a sixth of what V8's optimising compiler would",
  { skip: process.platform !== "linux" },
  async () => {
    const peak = await peakMiB(`
      const { compileWasmOnce } = await import(${JSON.stringify(engine)});
      compileWasmOnce();
      const { loadSqlGrammar } = await import(${JSON.stringify(grammar)});
      const { parse } = await loadSqlGrammar();
      for (let i = 0; i < 3000; i += 1) parse(\`SELECT a\${i} FROM t WHERE x = \${i}\`);
      // The optimising compiler works in threads of its own, a moment later.
      await new Promise((resolve) => setTimeout(resolve, 500));`);
    assert.ok(peak < 200, `${peak} MiB`);
  },
);

test("V8 knows the settings of a proxy that serves, and works on with them", async () => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [
    "--expose-gc",
    "--input-type=module",
    "--eval",
    `const { collectAsServing } = await import(${JSON.stringify(engine)});
    collectAsServing();
    const kept = [];
    for (let i = 0; i < 200000; i += 1) kept[i % 20000] = { i, text: "x".repeat(i % 100) };
    gc();
    console.log(kept.length);`,
  ]);
  assert.equal(stdout, "20000\n");
  assert.doesNotMatch(stderr, /illegal|unrecognized|Error/);
});
