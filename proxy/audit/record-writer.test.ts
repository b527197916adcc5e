import assert from "node:assert/strict";
import { test } from "node:test";
import canonicalize from "canonicalize";
import fc from "fast-check";
import { sha256 } from "../../contract/canonical.ts";
import { startOf } from "../../contract/chain.ts";
import { parseRecord } from "./record.ts";
import { RecordWriter } from "./record-writer.ts";

test("a line is made of canonical header, hash, canonical body and texts, and is read back as the same record", () => {
  const writer = new RecordWriter();
  const text = fc.string({ unit: "grapheme", maxLength: 60 });
  fc.assert(
    fc.property(
      fc.array(fc.jsonValue({ maxDepth: 3, stringUnit: "grapheme" }), { maxLength: 4 }),
      text,
      fc.option(text, { nil: undefined }),
      fc.nat(),
      (given, stream, prompt, seq) => {
        const facts = Object.fromEntries(given.map((value, index) => [`f${index}`, value]));
        const { event, contents, line } = writer.make(
          { ...startOf(stream), seq },
          {
            type: "operation",
            time: "2026-11-20T10:00:00.123Z",
            body: { session: "s", operation: { kind: "sql", summary: stream, facts } },
            contents: prompt === undefined ? [] : [{ part: "request", text: prompt }],
          },
        );
        const header = canonicalize(event.header) ?? "";
        const body = canonicalize(event.body) ?? "";
        const texts = contents.length === 0 ? "" : `,"contents":${JSON.stringify(contents)}`;
        assert.equal(
          line.toString(),
          `{"header":${header},"hash":"${sha256(header)}","body":${body}${texts}}\n`,
        );
        assert.equal(event.header.bodyHash, sha256(body));
        // As JSON has it: -0 is 0 there.
        assert.deepEqual(
          parseRecord(line.toString().trimEnd()),
          JSON.parse(JSON.stringify({ event, contents })),
        );
      },
    ),
    { numRuns: 500 },
  );
});

test("a record with a type or a time that is not ours is none, though its hashes are right", () => {
  for (const odd of [{ type: 'x","a":"' }, { time: "now" }]) {
    const body = "{}";
    const header = {
      stream: "s",
      seq: 1,
      time: "2026-11-20T10:00:00.123Z",
      type: "gap",
      prev: startOf("s").hash,
      bodyHash: sha256(body),
      ...odd,
    };
    const hash = sha256(canonicalize(header) ?? "");
    assert.equal(parseRecord(JSON.stringify({ header, hash, body: {} })), undefined);
  }
});
