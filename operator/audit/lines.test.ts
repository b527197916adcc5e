import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { canonicalJson } from "../../contract/canonical.ts";
import { Recorder, statement } from "../../test/integration/audit-recorder.ts";
import { readLine } from "./lines.ts";

function plainLine(): string {
  const [record] = new Recorder("agents/p/1").add({}).records;
  return record?.line.toString() ?? assert.fail("no line");
}

test("a line as a spool writes it is read as JSON.parse reads it, and its header need not be written again", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary" }),
      fc.array(fc.string({ unit: "binary" }), { maxLength: 2 }),
      fc.stringMatching(/^[ -~]{1,12}$/),
      (summary, texts, name) => {
        const recorder = new Recorder(name.replaceAll(" ", "_")).add({
          body: statement("s1", summary),
          contents: texts.map((text) => ({ part: "rows", text })),
        });
        const { event, line: bytes } = recorder.records[0] ?? assert.fail("nothing was recorded");
        const line = bytes.toString();
        const { spooled, ...read } = readLine(line.trimEnd());
        const { header, hash, body, contents } = JSON.parse(line) as Record<string, unknown>;
        assert.deepEqual(read, { header, hash, body, contents });
        // A name that needs an escape is read all the same, the slow way.
        if (spooled !== undefined) {
          assert.equal(spooled.json, canonicalJson(event.header));
          assert.deepEqual(spooled.header, event.header);
        } else assert.match(recorder.stream, /["\\]/);
      },
    ),
  );
});

test("a line in any other form is read as JSON.parse reads it, and is not taken for a spool's", () => {
  const line = plainLine();
  const { header, hash, body } = JSON.parse(line) as Record<string, object>;
  for (const other of [
    { hash, header, body },
    { header: { ...header, more: 1 }, hash, body },
    { header: { ...header, seq: "1" }, hash, body },
    { header: { ...header, stream: "a\nb" }, hash, body },
    { header: { ...header, seq: 1e16 }, hash, body },
    { header, hash: "sha256-short", body },
    {},
  ]) {
    const { spooled, ...read } = readLine(JSON.stringify(other));
    assert.equal(spooled, undefined, JSON.stringify(other));
    assert.deepEqual(read, {
      header: undefined,
      hash: undefined,
      body: undefined,
      contents: undefined,
      ...other,
    });
  }
  for (const other of ["null", "1", '"x"', "[]"])
    assert.deepEqual(readLine(other), {
      header: undefined,
      hash: undefined,
      body: undefined,
      contents: undefined,
    });
});

test("what follows a body, and a member that is given twice, are what JSON.parse says they are", () => {
  const line = plainLine();
  const open = line.trimEnd().slice(0, -1);
  for (const other of [
    `${open},"body":{"session":"other"}}`,
    `${open},"more":{"a":{}}}`,
    `${open},"contents":[{"part":"rows"}]}`,
    `${open} }`,
  ]) {
    const { body, contents } = JSON.parse(other) as Record<string, unknown>;
    const read = readLine(other);
    assert.deepEqual([read.body, read.contents], [body, contents]);
  }
  for (const broken of ["", "{", open, `${open}}}`, `${line.trimEnd()}x`])
    assert.throws(() => readLine(broken), SyntaxError);
});
