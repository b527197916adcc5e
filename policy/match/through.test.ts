import assert from "node:assert/strict";
import { test } from "node:test";
import type { SqlMatch } from "../bundle.ts";
import { ask, bundleOf, relation, rule, sql } from "../fixture.ts";
import type { Relative, StatementKind } from "../operation.ts";

const table = "public.customers";
const allow = (sqlMatch: SqlMatch, name = "allow") => rule(name, "Allow", { sql: sqlMatch });
const no = rule("no", "Deny", { sql: { relations: [table] } });
const asks = rule("ask", "RequireApproval", { sql: { relations: [table] } });
const select: readonly StatementKind[] = ["select"];

/** The verdict on one access of something that has to do with the table. */
function verdict(
  rules: Parameters<typeof bundleOf>[0],
  name: string,
  as: Relative["as"],
  kind: StatementKind = "select",
): string {
  const relatives: Relative[] = [{ relation: table, as, columns: "same" }];
  return ask(bundleOf(rules), sql(relation(kind, name, ["id"], { relatives }))).verdict;
}

test("a view is closed with its table, unless a rule opens it and would not open the table", () => {
  const safe = "public.customers_safe";
  const all = allow({ relations: ["public.*"] });
  const named = allow({ statements: select, relations: [safe] }, "named");
  const cases: readonly (readonly [Parameters<typeof bundleOf>[0], string, string])[] = [
    [[named], safe, "allow"],
    [[named, no], safe, "allow"],
    [[allow({ relations: ["api.*"] }), no], "api.customers", "allow"],
    [[all, no], safe, "deny"],
    [[all, named, no], safe, "allow"],
    [[all, allow({ columns: [`${safe}.id`] }, "column"), no], safe, "allow"],
    [[all, allow({ columns: ["public.*.id"] }, "column"), no], safe, "deny"],
    [[all, { ...named, when: "false" }, no], safe, "deny"],
    [[all, { ...named, mode: "Observe" }, no], safe, "deny"],
    [[all, named, { ...no, restricts: true }], safe, "deny"],
    [[all, asks], safe, "hold"],
    [[all, named, asks], safe, "allow"],
    [[asks], safe, "deny"],
  ];
  for (const [rules, name, wanted] of cases)
    assert.equal(verdict(rules, name, "read"), wanted, JSON.stringify([rules, name]));
  assert.equal(verdict([all, named, no], safe, "read", "update"), "deny");
});

test("a partition, child or parent is closed with its table, whatever a rule opens by its name", () => {
  const named = allow({ relations: ["public.customers_2026"] });
  for (const as of ["whole", "part", "together"] as const) {
    assert.equal(verdict([named, no], "public.customers_2026", as), "deny", as);
    assert.equal(verdict([named, asks], "public.customers_2026", as), "hold", as);
    assert.equal(verdict([named], "public.customers_2026", as), "allow", as);
    assert.equal(verdict([allow({ relations: [table] })], "public.customers_2026", as), "deny", as);
  }
});

test("columns follow by name, by what a view is made of, or altogether", () => {
  const columns: SqlMatch = { columns: [`${table}.ssn`] };
  const denied = (mapping: Relative["columns"], named: readonly string[] | "*"): boolean => {
    const relatives: Relative[] = [{ relation: table, as: "whole", columns: mapping }];
    const tried = sql(relation("select", "public.part", named, { relatives }));
    return (
      ask(bundleOf([allow({}), rule("no", "Deny", { sql: columns })]), tried).verdict === "deny"
    );
  };
  const made = new Map([["x", [`${table}.ssn`]]]);
  const found = [
    denied("same", ["id"]),
    denied("same", ["ssn"]),
    denied("same", "*"),
    denied("same", []),
  ];
  assert.deepEqual(found, [false, true, true, false]);
  assert.deepEqual([denied("all", ["id"]), denied("all", [])], [true, true]);
  const through = [denied(made, ["id"]), denied(made, ["x"]), denied(made, "*"), denied(made, [])];
  assert.deepEqual(through, [false, true, true, false]);
});
