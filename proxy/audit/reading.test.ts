import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { SegmentReader } from "./reading.ts";
import type { Segment } from "./segments.ts";

function segmentOf(t: TestContext, text: string): Segment {
  const directory = mkdtempSync(join(tmpdir(), "reading-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "1.seg");
  writeFileSync(file, text);
  return { file, firstSeq: 1, bytes: text.length, startedAt: 0 };
}

test("a line that was half written when its segment was read is whole once its turn comes", async (t) => {
  const segment = segmentOf(t, "start\none\ntwo\nth");
  const reader = new SegmentReader();
  const read = async (from: number, last: number): Promise<string> => {
    const { parts, slabs } = await reader.read([segment], from, last, { events: 1, bytes: 100 });
    const text = Buffer.concat([...parts]).toString();
    for (const slab of slabs) slab.release();
    return text;
  };
  assert.equal(await read(1, 2), "one\n");
  assert.equal(await read(2, 2), "two\n");
  appendFileSync(segment.file, "ree\n");
  assert.equal(await read(3, 3), "three\n");
});
