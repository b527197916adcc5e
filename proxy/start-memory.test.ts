import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { cleanRanges } from "./start-memory.ts";

const run = promisify(execFile);

const smaps = `00400000-00746000 r--p 00000000 fe:00 53 /usr/local/bin/node
Rss:                3352 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
0074a000-03044000 r-xp 0034a000 fe:00 53 /usr/local/bin/node
Anonymous:             0 kB
06b52000-06b56000 r--p 06751000 fe:00 53 /usr/local/bin/node
Anonymous:             8 kB
06b56000-06b7d000 rw-p 06755000 fe:00 53 /usr/local/bin/node
Anonymous:             0 kB
07000000-07001000 r-xp 00000000 fe:00 54 /usr/lib/libc.so.6
Anonymous:             0 kB
08000000-08001000 r-xp 00000000 00:00 0
Anonymous:             0 kB
`;

test("only mappings of the program that nobody ever wrote to are given back", () => {
  assert.deepEqual(cleanRanges(smaps, "/usr/local/bin/node"), [
    { start: 0x400000, end: 0x746000 },
    { start: 0x74a000, end: 0x3044000 },
  ]);
  assert.deepEqual(cleanRanges("", "/usr/local/bin/node"), []);
});

test(
  "an idle process gets smaller by it and works on; a busy one is left alone until it is not",
  { skip: process.platform !== "linux" },
  async () => {
    const file = (name: string): string => JSON.stringify(new URL(name, import.meta.url).href);
    const script = `
    const { releaseStartMemory } = await import(${file("./start-memory.ts")});
    const { openLibc } = await import(${file("./redirect/libc.ts")});
    const http2 = await import("node:http2");
    const crypto = await import("node:crypto");
    const garbage = Array.from({ length: 300_000 }, (_, at) => ({ at }));
    garbage.length = 0;
    const work = () => crypto.createHash("sha256").update(JSON.stringify(http2.constants)).digest("hex");
    const before = process.memoryUsage.rss();
    const worked = work();
    let asked = 0;
    const isBusy = () => { asked += 1; return false; };
    const problem = await new Promise((done) => {
      releaseStartMemory({ isBusy, onDone: done, libc: async () => openLibc() });
      setTimeout(() => {}, 10_000).unref();
      const alive = setInterval(() => {}, 100);
      process.once("exit", () => clearInterval(alive));
    });
    process.stdout.write(JSON.stringify({
      problem: problem?.message, asked, less: before - process.memoryUsage.rss(), same: work() === worked,
      collects: typeof globalThis.gc,
    }));
    process.exit(0);
  `;
    const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", script]);
    const { less, ...rest } = JSON.parse(stdout) as Record<string, unknown>;
    assert.deepEqual(rest, { asked: 1, same: true, collects: "undefined" });
    assert.ok(Number(less) > 8 * 1024 * 1024, `${Number(less)} bytes less`);
  },
);

test("what is busy is asked again later, and one that is called off never again", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { releaseStartMemory } = await import("./start-memory.ts");
  let asked = 0;
  const isBusy = (): boolean => {
    asked += 1;
    return true;
  };
  const libc = async (): Promise<never> => assert.fail("was opened");
  const stop = releaseStartMemory({ isBusy, onDone: () => assert.fail("was done"), libc });
  t.mock.timers.tick(1_000);
  assert.equal(asked, 1);
  t.mock.timers.tick(5_000);
  assert.equal(asked, 2);
  stop();
  t.mock.timers.tick(60_000);
  assert.equal(asked, 2);
});
