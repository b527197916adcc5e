// Who shares a sync with whom.
import assert from "node:assert/strict";
import fs, { mkdtempSync, rmSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { openSpool } from "./spool.ts";

test("those who come turn by turn once a sync has ended share the next one", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "spool-company-"));
  const spool = openSpool({ directory, stream: "agents/invoice-7c9d/6f1c" });
  await spool.appendDurably("operation", {});
  const write = fs.write.bind(fs) as (...args: unknown[]) => void;
  const held: (() => void)[] = [];
  let writes = 0;
  t.mock.method(fs, "write", (...args: unknown[]) => {
    writes += 1;
    const done = args.pop() as (error: Error | null, written: number) => void;
    write(...args, (error: Error | null, written: number) => {
      if (writes > 1) done(error, written);
      else held.push(() => done(error, written));
    });
  });
  syncBuiltinESMExports();
  t.after(async () => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
    await spool.close();
    rmSync(directory, { recursive: true });
  });

  const first = spool.appendDurably("operation", {});
  while (held.length === 0) await turn();
  const behind = [1, 2].map(() => spool.appendDurably("operation", {}));
  held[0]?.();
  for (let one = 0; one < 3; one += 1) {
    await turn();
    behind.push(spool.appendDurably("operation", {}));
  }
  await Promise.all([first, ...behind]);
  assert.equal(writes, 2);
});
