import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { CarriedMark } from "../contract/event.ts";
import { ProxyError } from "./errors.ts";
import { markFile } from "./mark-file.ts";
import { maxMarks, PodMarks } from "./marks.ts";

const directories: string[] = [];
after(() => {
  for (const directory of directories) rmSync(directory, { recursive: true });
});

function directory(): string {
  const made = mkdtempSync(join(tmpdir(), "chaperone-marks-"));
  directories.push(made);
  return made;
}

function mark(name: string): CarriedMark {
  return {
    name,
    policy: "agents/p",
    column: "public.customers.email",
    since: "2026-11-20T10:00:00.000Z",
    connection: "agents/orders-db",
    session: "01J",
    operation: "SELECT email FROM customers",
  };
}

test("a mark outlives a restart of the container, and no other pod has it", () => {
  const where = directory();
  const first = new PodMarks(markFile(where, "agents/pod/uid"));
  assert.deepEqual(first.names, []);
  first.add(mark("pii"));
  first.add(mark("secret"));
  const again = new PodMarks(markFile(where, "agents/pod/uid"));
  assert.deepEqual(again.names, ["pii", "secret"]);
  assert.deepEqual(again.of(["pii"]), [mark("pii")]);
  assert.deepEqual(new PodMarks(markFile(where, "agents/pod/another")).names, []);
});

test("a file of marks that cannot be read stops the start: nobody knows what was read", () => {
  const where = directory();
  const file = join(where, "marks.json");
  const bad = ["", "{", "[]", '{"stream":"s"}', '{"stream":"s","marks":[{"name":1}]}'];
  for (const text of bad) {
    writeFileSync(file, text);
    assert.throws(() => new PodMarks(markFile(where, "s")), /nobody knows which marks/, text);
  }
});

test("the list of names is another one with each new mark, and the same without", () => {
  const marks = new PodMarks();
  const before = marks.names;
  marks.add(mark("pii"));
  const then = marks.names;
  assert.notEqual(before, then);
  marks.add(mark("pii"));
  assert.equal(marks.names, then);
});

test("those who watch are called at a new mark, when it is carried already, and no more once they left", () => {
  const marks = new PodMarks();
  const seen: (readonly string[])[] = [];
  const leave = marks.watch(() => seen.push(marks.names));
  marks.add(mark("pii"));
  marks.add(mark("pii"));
  leave();
  marks.add(mark("secret"));
  assert.deepEqual(seen, [["pii"]]);
});

test("a mark that cannot be kept on disk is carried, refuses what put it, and is tried again", () => {
  const written: (readonly CarriedMark[])[] = [];
  let isBroken = true;
  const marks = new PodMarks({
    read: () => [],
    write(all) {
      if (isBroken) throw new Error("no space left");
      written.push(all);
    },
  });
  const refused = (error: unknown): boolean =>
    error instanceof ProxyError && error.code === "RecordingUnavailable";
  assert.throws(() => marks.add(mark("pii")), refused);
  assert.deepEqual(marks.names, ["pii"]);
  assert.equal(marks.keeps("pii"), false);
  assert.throws(() => marks.add(mark("pii")), refused);
  isBroken = false;
  marks.add(mark("pii"));
  assert.equal(marks.keeps("pii"), true);
  assert.deepEqual(written, [[mark("pii")]]);
});

test("a session carries so many marks and no more", () => {
  const marks = new PodMarks();
  for (let index = 0; index < maxMarks; index++) marks.add(mark(`m${index}`));
  assert.throws(
    () => marks.add(mark("one-more")),
    (error: unknown) => error instanceof ProxyError && error.code === "LimitExceeded",
  );
  assert.equal(marks.names.length, maxMarks);
});

test("the file is replaced whole: what is read is one list or the other", () => {
  const where = directory();
  const marks = new PodMarks(markFile(where, "s"));
  for (let index = 0; index < 20; index++) {
    marks.add(mark(`m${index}`));
    const kept: unknown = JSON.parse(readFileSync(join(where, "marks.json"), "utf8"));
    assert.ok(typeof kept === "object" && kept !== null && "marks" in kept);
    assert.ok(Array.isArray(kept.marks));
    assert.equal(kept.marks.length, index + 1);
  }
});
