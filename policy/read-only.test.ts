import assert from "node:assert/strict";
import { test } from "node:test";
import type { BundleRule } from "./bundle.ts";
import { bundleOf, rule } from "./fixture.ts";
import { allowsOnlyReads } from "./read-only.ts";

const writes = [
  "insert",
  "update",
  "delete",
  "merge",
  "truncate",
  "create",
  "alter",
  "drop",
  "grant",
  "revoke",
  "utility",
];

const rows: readonly (readonly [string, boolean, readonly BundleRule[]])[] = [
  ["no rule at all", true, []],
  ["select alone", true, [rule("r", "Allow", { sql: { statements: ["select", "explain"] } })]],
  ["a rule without a block", false, [rule("r", "Allow", {})]],
  [
    "relations without statements",
    false,
    [rule("r", "Allow", { sql: { relations: ["public.t"] } })],
  ],
  [
    "a write behind approval",
    false,
    [rule("r", "RequireApproval", { sql: { statements: ["update"] } })],
  ],
  [
    "a write under a condition",
    false,
    [rule("r", "Allow", { sql: { statements: ["delete"] }, when: "false" })],
  ],
  ["functions without statements", true, [rule("r", "Allow", { sql: { functions: ["*"] } })]],
  [
    "functions in writes",
    false,
    [rule("r", "Allow", { sql: { functions: ["f"], statements: ["select", "insert"] } })],
  ],
  ["CALL", false, [rule("r", "Allow", { sql: { statements: ["call"] } })]],
  [
    "COPY, whose writing is an insert",
    true,
    [rule("r", "Allow", { sql: { statements: ["select", "copy"] } })],
  ],
  ["a rule of another protocol", true, [rule("r", "Allow", { http: { methods: ["POST"] } })]],
  ["a rule of TLS that is not opened", true, [rule("r", "Allow", { passthrough: {} })]],
  [
    "everything, with TLS that is not opened denied",
    false,
    [rule("a", "Allow", {}), rule("d", "Deny", { passthrough: {} })],
  ],
  ["a rule that only observes", true, [rule("r", "Allow", {}, "Observe")]],
  [
    "everything, with every write denied outright",
    true,
    [rule("a", "Allow", {}), rule("d", "Deny", { sql: { statements: writes } })],
  ],
  [
    "everything, with writes denied on one table",
    false,
    [
      rule("a", "Allow", {}),
      rule("d", "Deny", { sql: { statements: writes, relations: ["public.t"] } }),
    ],
  ],
  [
    "everything, with writes denied on a condition",
    false,
    [rule("a", "Allow", {}), rule("d", "Deny", { sql: { statements: writes }, when: "true" })],
  ],
  [
    "CALL by name beside a Deny of all visible writes",
    false,
    [
      rule("a", "Allow", { sql: { statements: ["call"] } }),
      rule("d", "Deny", { sql: { statements: writes } }),
    ],
  ],
];

for (const [what, readOnly, rules] of rows) {
  test(`${what} ${readOnly ? "is reading only" : "may write"}`, () => {
    assert.equal(allowsOnlyReads(bundleOf(rules)), readOnly);
  });
}

test("where policies only observe, everything passes and sessions may write", () => {
  assert.equal(allowsOnlyReads({ ...bundleOf([]), observeOnly: true }), false);
});
