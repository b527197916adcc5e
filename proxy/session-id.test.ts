import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeTime } from "ulid";

import { newSessionId } from "./session-id.ts";

test("a session's id is a ULID of its moment, no two of a moment share one, and each of its random characters takes every value", () => {
  const before = Date.now();
  const ids = Array.from({ length: 2_000 }, newSessionId);
  const after = Date.now();
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) {
    assert.match(id, /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/);
    assert.ok(decodeTime(id) >= before && decodeTime(id) <= after);
  }
  // A value that is missing of 32 in 2,000 draws is chance once in 10^25.
  for (let at = 10; at < 26; at += 1) assert.equal(new Set(ids.map((id) => id[at])).size, 32);
});
