import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { studyReplication, walsenderCommand } from "./replication.ts";
import { understand } from "./understanding.ts";

for (const [text, command] of [
  ["IDENTIFY_SYSTEM", "IDENTIFY_SYSTEM"],
  [" \t\n start_replication SLOT s LOGICAL 0/0 (a 'b')", "START_REPLICATION"],
  ["BASE_BACKUP ( LABEL 'x' )", "BASE_BACKUP"],
  ["TIMELINE_HISTORY 2", "TIMELINE_HISTORY"],
  ["SHOW wal_segment_size", "SHOW"],
  ["show x.y ;", "SHOW"],
  // The server takes these for SQL, or for nothing.
  ["SHOW a; DROP TABLE t", undefined],
  ["SHOW ALL, x", undefined],
  ["/* c */ IDENTIFY_SYSTEM", undefined],
  ["-- c\nIDENTIFY_SYSTEM", undefined],
  ["IDENTIFY_SYSTEMS", undefined],
  ["IDENTIFY_SYSTEM\u00e9", undefined],
  ["\u00a0IDENTIFY_SYSTEM", undefined],
  ["SELECT 1", undefined],
  ["", undefined],
] as const) {
  test(`reads ${JSON.stringify(text)} as ${command ?? "no command of replication"}`, () => {
    assert.equal(walsenderCommand(text), command);
  });
}

test("a command is an operation that only a rule naming replication covers, with one short line for people", () => {
  const study = studyReplication(() => assert.fail("this is no SQL"));
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 400 }), (rest) => {
      const { operation, replicates, copies } = study(`START_REPLICATION ${rest}`);
      assert.deepEqual(operation.accesses, [
        { kind: "statement", statement: "replication", opaque: true },
      ]);
      assert.deepEqual([replicates, copies], [true, true]);
      assert.ok(operation.summary.length <= 201);
      assert.doesNotMatch(operation.summary, /\p{Cc}/u);
    }),
  );
});

test("all else is SQL, whatever it looks like", () => {
  const sql = understand("", { operation: study("IDENTIFY_SYSTEM").operation });
  assert.equal(studyReplication(() => sql)("SELECT 1"), sql);
  assert.equal(sql.replicates, undefined);
});

const study = studyReplication(() => assert.fail("this is no SQL"));

test("no rule lets a text through that cannot be parsed: a newer walsender may know it as a command", () => {
  const { operation } = study("IDENTIFY_SYSTEM");
  const unread = understand("", { operation: { ...operation, unrecognised: "x", unparsed: "" } });
  const { operation: alone } = studyReplication(() => unread)("NEWER 1");
  assert.equal(alone.unrecognised, "x");
  assert.equal(alone.unparsed, undefined);
});
