import assert from "node:assert/strict";
import { test } from "node:test";
import { Names } from "./names.ts";
import { NamedTotal, Registry } from "./statements.ts";
import { understand } from "./understanding.ts";

test("a name changed in the batch being sent is known inside it at once", () => {
  const names = new Names<string>();
  names.change("a", "new");
  assert.equal(names.find("a"), "new");
});

test("a name of an earlier batch is only known once the server has answered", () => {
  const names = new Names<string>();
  names.change("a", "new");
  names.endBatch();
  assert.equal(names.find("a"), "wait");
  names.applied("a", "new", false);
  assert.equal(names.find("a"), "new");
});

test("a change that the server skipped leaves what was there before", () => {
  const names = new Names<string>();
  names.change("a", "old");
  names.applied("a", "old", true);
  names.endBatch();
  names.change("a", "new");
  names.endBatch();
  names.settled(false);
  assert.equal(names.find("a"), "old");
});

test("after a command that may change any name, only what is named anew is known until it is answered", () => {
  const names = new Names<string>();
  names.change("a", "old");
  names.applied("a", "old", true);
  names.endBatch();
  names.doubt();
  assert.equal(names.find("a"), "settle");
  names.change("b", "new");
  assert.equal(names.find("b"), "new");
  names.settled(true);
  assert.equal(names.find("a"), "settle");
  names.applied("b", "new", true);
  assert.equal(names.find("a"), "old");
});

test("SQL forgets every named statement and leaves the unnamed one", () => {
  const names = new Names<string>();
  for (const name of ["", "a"]) {
    names.change(name, `of ${name}`);
    names.applied(name, `of ${name}`, true);
  }
  names.endBatch();
  names.forgetAll("");
  assert.equal(names.find(""), "of ");
  assert.equal(names.find("a"), undefined);
});

test("what SQL prepares counts with its names and more than its text, and DEALLOCATE gives it back", () => {
  const total = new NamedTotal();
  const registry = new Registry(total);
  const columns = Array.from({ length: 1_000 }, (_, index) => `public.t.c${index}`);
  const study = (text: string) =>
    understand(text, {
      operation: {
        kind: "sql",
        summary: text,
        accesses: [],
        facts: {
          statements: ["select"],
          relationsRead: ["public.t"],
          relationsWritten: [],
          columns: text.includes("wide") ? columns : [],
          functions: [],
          hasWhere: false,
          count: 1,
        },
      },
    });
  const prepare = (name: string, query: string): number => {
    const before = total.bytes;
    const understood = { ...study(""), nameUse: { kind: "prepare", name, query } as const };
    registry.commandTag("PREPARE", understood, study);
    return total.bytes - before;
  };
  assert.ok(prepare("a", "SELECT 1") > 1_500);
  assert.ok(prepare("b", "SELECT wide") > 50_000);
  registry.commandTag("DEALLOCATE ALL", study(""), study);
  assert.equal(total.bytes, 0);
});
