import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { trimFreedMemory } from "./freed-memory.ts";
import type { Libc } from "./redirect/libc.ts";

const run = promisify(execFile);
const mebibyte = 1024 * 1024;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function counting(): { readonly libc: Libc; readonly calls: string[] } {
  const calls: string[] = [];
  const call = (declaration: string) => () => calls.push(declaration);
  return { libc: { call, errno: () => 0 }, calls };
}

test("a process that has grown gives back, and again only once it has grown again", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const { libc, calls } = counting();
  let now = 100 * mebibyte;
  const stop = trimFreedMemory({
    resident: () => now,
    libc: async () => libc,
    onProblem: (problem) => assert.fail(problem),
  });
  const at = async (mib: number): Promise<number> => {
    now = mib * mebibyte;
    t.mock.timers.tick(5_000);
    await turn();
    return calls.length;
  };
  assert.equal(await at(110), 0);
  assert.equal(await at(130), 1);
  assert.equal(await at(135), 1, "it is as large as it was left");
  assert.equal(await at(60), 1);
  assert.equal(await at(80), 2, "from its least on");
  stop();
  assert.equal(await at(200), 2);
});

test("where libc has no such call that is said once, and not tried again", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const problems: string[] = [];
  let now = 0;
  const stop = trimFreedMemory({
    resident: () => (now += 20 * mebibyte),
    libc: async () => {
      throw new Error("libc has no malloc_trim");
    },
    onProblem: ({ message }) => problems.push(message),
  });
  for (let tick = 0; tick < 3; tick += 1) {
    t.mock.timers.tick(5_000);
    await turn();
  }
  stop();
  assert.deepEqual(problems, ["libc has no malloc_trim"]);
});

test("what cannot be read at the moment is read the next time", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const { libc, calls } = counting();
  const outOfDescriptors = (): number => {
    throw new Error("EMFILE: too many open files, uv_resident_set_memory");
  };
  let resident = outOfDescriptors;
  const stop = trimFreedMemory({
    resident: () => resident(),
    libc: async () => libc,
    onProblem: (problem) => assert.fail(problem),
  });
  const tick = async (): Promise<void> => {
    t.mock.timers.tick(5_000);
    await turn();
  };
  await tick();
  resident = () => 100 * mebibyte;
  await tick();
  resident = outOfDescriptors;
  await tick();
  resident = () => 130 * mebibyte;
  await tick();
  stop();
  assert.equal(calls.length, 1);
});

test(
  "holes that many buffers left between others leave the process",
  { skip: process.platform !== "linux" },
  async () => {
    const file = (name: string): string => JSON.stringify(new URL(name, import.meta.url).href);
    const script = `
    const { trimFreedMemory } = await import(${file("./freed-memory.ts")});
    const { openLibc } = await import(${file("./redirect/libc.ts")});
    const libc = openLibc();
    const malloc = libc.call("uintptr_t malloc(size_t size)");
    const free = libc.call("void free(uintptr_t memory)");
    const fill = libc.call("uintptr_t memset(uintptr_t memory, int byte, size_t size)");
    const started = process.memoryUsage.rss();
    let shown = () => started;
    trimFreedMemory({ resident: () => shown(), libc: async () => libc, onProblem: (problem) => { throw problem; } });
    const pieces = Array.from({ length: 2_000 }, () => { const at = malloc(20_000); fill(at, 1, 20_000); malloc(64); return at; });
    for (const piece of pieces) free(piece);
    shown = process.memoryUsage.rss;
    const before = process.memoryUsage.rss();
    await new Promise((done) => setTimeout(done, 6_000));
    process.stdout.write(String(before - process.memoryUsage.rss()));
  `;
    const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", script]);
    assert.ok(Number(stdout) > 20 * mebibyte, `${stdout} bytes less`);
  },
);
