import assert from "node:assert/strict";
import { test } from "node:test";
import { Cursors } from "./cursors.ts";

test("the texts of a cursor are known by its name, up to a bound for all of them", () => {
  const cursors = new Cursors();
  cursors.declared("small", "SELECT 1");
  const large = "x".repeat(60 * 1024);
  for (let index = 0; index < 100; index += 1) cursors.declared(`c${index}`, `${index} ${large}`);
  const known = Array.from({ length: 100 }, (_, index) => cursors.texts(`c${index}`)).flatMap(
    (texts) => texts ?? [],
  );
  assert.ok(known.length > 10 && known.length < 20, `${known.length}`);
  assert.deepEqual(cursors.texts("small"), ["SELECT 1"]);
  // One of whose texts not all are known is not read.
  cursors.declared("small", large);
  assert.equal(cursors.texts("small"), undefined);
});
