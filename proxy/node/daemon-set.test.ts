import assert from "node:assert/strict";
import { test } from "node:test";

import { isGone } from "./daemon-set.ts";

for (const [what, status, body, gone] of [
  ["lives", 200, '{"metadata":{"name":"chaperone-node"}}', false],
  ["is being deleted", 200, '{"metadata":{"deletionTimestamp":"2026-11-30T12:00:00Z"}}', true],
  ["is deleted", 404, "", true],
  ["is deleted, with the account that could read it", 401, "", true],
  ["is deleted, with the right to read it", 403, "", true],
  ["cannot be told of by an API server that is busy", 429, "", false],
  ["cannot be told of by an API server that fails", 500, "", false],
] as const)
  test(`a DaemonSet that ${what}: the plugin ${gone ? "goes" : "stays"}`, () => {
    assert.equal(isGone({ status, body }), gone);
  });
