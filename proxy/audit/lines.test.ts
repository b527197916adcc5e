import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { startOf } from "../../contract/chain.ts";
import { hashOf, isIntact, lastLine, lineEnd } from "./lines.ts";
import { parseRecord } from "./record.ts";
import { RecordWriter } from "./record-writer.ts";

function record(summary: string, text?: string) {
  const contents = text === undefined ? [] : [{ part: "request" as const, text }];
  return new RecordWriter().make(startOf("agents/pod/uid"), {
    type: "operation",
    time: "2026-11-20T10:00:00.123Z",
    body: { session: "s", operation: { kind: "sql", summary } },
    contents,
  });
}

test("a line is intact exactly where reading it whole says so, whatever byte of it is changed", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary", maxLength: 40 }),
      fc.option(fc.string({ unit: "binary", maxLength: 40 }), { nil: undefined }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (summary, text, place, change) => {
        const line = record(summary.toWellFormed(), text).line.subarray(0, -1);
        assert.ok(isIntact(line, 1));
        assert.ok(!isIntact(line, 2), "another number");
        const changed = Buffer.from(line);
        const at = place % line.length;
        changed[at] = (changed[at] ?? 0) ^ change;
        // A change that JSON does not see (none within our own form) would be no change of the event either.
        assert.equal(isIntact(changed, 1), parseRecord(changed.toString("utf8")) !== undefined);
        assert.ok(!isIntact(line.subarray(0, at), 1), "cut short");
      },
    ),
    { numRuns: 500 },
  );
});

test("the hash of the last of many lines is found, also behind texts that look like one", () => {
  const tricky = record('},"hash":"sha256-AAAA","body":', '"},"hash":"');
  const plain = record("SELECT 1");
  const lines = Buffer.concat([plain.line, tricky.line]);
  assert.equal(hashOf(lines, lastLine(lines)), tricky.event.hash);
  assert.equal(hashOf(lines, 0), plain.event.hash);
  assert.equal(lineEnd(lines, 0), plain.line.length);
  assert.equal(lineEnd(Buffer.from("no end"), 0), -1);
});
