import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { alone } from "./alone.ts";
import { divide } from "./play.ts";

const name = fc.stringMatching(/^[a-z]{1,12}\.test\.ts$/);

test("every file is played once, whichever have a process of their own", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(name, { maxLength: 60 }),
      fc.func(fc.boolean()),
      (files, isAlone) => {
        const own = new Map(files.filter((file) => isAlone(file)).map((file) => [file, "why"]));
        const groups = divide(files, own);
        assert.deepEqual(groups.flat().toSorted(), files.toSorted());
        for (const group of groups)
          assert.ok(group.length === 1 || group.every((file) => !own.has(file)), group.join(" "));
      },
    ),
  );
});

test("no process plays more than its eight files, and none is started for nothing", () => {
  fc.assert(
    fc.property(fc.uniqueArray(name, { maxLength: 60 }), (files) => {
      const groups = divide(files, new Map());
      assert.equal(groups.length, Math.ceil(files.length / 8));
      for (const { length } of groups) assert.ok(length >= 1 && length <= 8, `${length}`);
    }),
  );
});

test("the files that need a process of their own are there", () => {
  const files = new Set(globSync("test/{integration,clients}/**/*.test.ts"));
  for (const file of alone.keys()) assert.ok(files.has(file), file);
});
