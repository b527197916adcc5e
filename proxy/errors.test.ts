import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { proxyErrors } from "./errors.ts";

test("the documentation lists every error code with its own status and SQLSTATE, and no other", () => {
  const page = readFileSync(join(import.meta.dirname, "../docs/reference/errors.md"), "utf8");
  const documented = [...page.matchAll(/^\| `(\w+)` \| (\d+) \| (\w+) \| (yes|no) \|/gm)].map(
    ([, code, status, sqlstate, retry]) => [
      code,
      { status: Number(status), sqlstate, retry: retry === "yes" },
    ],
  );
  assert.deepEqual(Object.fromEntries(documented), proxyErrors);
});

test("no code shares SQLSTATE class 00 (success) or an HTTP status below 400", () => {
  for (const [code, { status, sqlstate }] of Object.entries(proxyErrors)) {
    assert.ok(status >= 400, code);
    assert.match(sqlstate, /^(?!00)[0-9A-Z]{5}$/, code);
  }
});
