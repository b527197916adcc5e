// What is read back from a damaged disk, seen with the operator's own eyes: whatever it refuses the proxy recognises, so that it is mended.
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkDelivery } from "../../operator/audit/check.ts";
import { IngestRefused } from "../../contract/chain.ts";
import { isIntact } from "../../proxy/audit/lines.ts";
import type { Content } from "../../proxy/pipeline.ts";
import { Recorder } from "./audit-recorder.ts";

const stream = "agents/invoice-7c9d/6f1c";

/** Refused by the operator, for whatever reason. */
function isRefused(line: Buffer): boolean {
  try {
    checkDelivery({ stream, head: "", lines: Buffer.concat([line, Buffer.from("\n")]) });
    return false;
  } catch (error) {
    assert.ok(error instanceof IngestRefused, String(error));
    return true;
  }
}

const lines: Readonly<Record<string, Buffer>> = {
  "without texts": lineOf([]),
  "with texts": lineOf([
    { part: "request", text: 'SELECT "ö"\n' },
    {
      part: "rows",
      text: "1",
      truncated: true,
      whole: { sha256: `sha256-${"B".repeat(43)}`, bytes: 9 },
    },
  ]),
};

function lineOf(contents: readonly Content[]): Buffer {
  const [record] = new Recorder(stream).add({ contents }).records;
  assert.ok(record !== undefined);
  return Buffer.from(record.line.subarray(0, -1));
}

for (const [name, line] of Object.entries(lines))
  test(`of a line ${name} no byte can change so that the operator refuses it and the proxy finds it intact`, () => {
    assert.ok(isIntact(line, 1) && !isRefused(line));
    for (let at = 0; at < line.length; at += 1)
      // One bit, another letter, what JSON is made of, what is no UTF-8.
      for (const byte of [(line[at] ?? 0) ^ 1, 0x5a, 0x22, 0x2c, 0x5c, 0x7d, 0x0a, 0xff]) {
        if (byte === line[at]) continue;
        const changed = Buffer.from(line);
        changed[at] = byte;
        if (isRefused(changed))
          assert.ok(!isIntact(changed, 1), `byte ${at}: ${changed.toString()}`);
      }
  });
