import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { canShareText } from "./conflict-dead.ts";
import { neverMatches, unreachableRules } from "./conflicts.ts";
import type { RuleShape } from "./conflicts.ts";
import { compileHttp, httpMismatch } from "./match/http.ts";
import { compileSql, sqlMismatch } from "./match/sql.ts";
import { compilePattern, matches } from "./pattern.ts";

type Blocks = Omit<RuleShape, "name" | "action">;

function isOverruled(
  by: RuleShape["action"],
  wide: Blocks,
  rule: RuleShape["action"],
  narrow: Blocks,
): boolean {
  return unreachableRules([
    { name: "wide", action: by, ...wide },
    { name: "narrow", action: rule, ...narrow },
  ]).some(({ index }) => index === 1);
}

const covered: readonly [string, RuleShape["action"], Blocks, Blocks][] = [
  ["a Deny without a block covers everything", "Deny", {}, { llm: { models: ["gpt-5"] } }],
  [
    "the same statements",
    "Deny",
    { sql: { statements: ["delete"] } },
    { sql: { statements: ["delete"] } },
  ],
  [
    "relations within a wildcard",
    "Deny",
    { sql: { relations: ["public.*"] } },
    { sql: { relations: ["public.orders", "public.a*"] } },
  ],
  [
    "statements of relations",
    "Deny",
    { sql: { statements: ["select", "update"] } },
    { sql: { statements: ["update"], relations: ["public.orders"] } },
  ],
  [
    "what a Deny looks for as well",
    "Deny",
    { sql: { detect: ["email", "iban"] } },
    { sql: { statements: ["insert"], detect: ["email"] } },
  ],
  [
    "functions within a wildcard",
    "Deny",
    { sql: { functions: ["pg_catalog.*"] } },
    { sql: { functions: ["pg_catalog.pg_sleep"] } },
  ],
  [
    "paths below",
    "Deny",
    { http: { paths: ["/v1/**"] } },
    { http: { methods: ["GET"], paths: ["/v1", "/v1/orders/*"] } },
  ],
  [
    "hosts of a domain",
    "Deny",
    { http: { hosts: ["*.example.com"] } },
    { http: { hosts: ["api.example.com"] } },
  ],
  [
    "query values within a wildcard",
    "Deny",
    { http: { query: { tag: "a*" } } },
    { http: { query: { tag: "abc", other: "x" } } },
  ],
  [
    "models within a wildcard",
    "RequireApproval",
    { llm: { models: ["gpt-*"] } },
    { llm: { models: ["gpt-5"], operations: ["chat"] } },
  ],
  [
    "a smaller token limit",
    "RequireApproval",
    { llm: { maxOutputTokens: 1000 } },
    { llm: { maxOutputTokens: 500 } },
  ],
];

for (const [title, action, wide, narrow] of covered) {
  test(`a rule is overruled: ${title}`, () =>
    assert.ok(isOverruled(action, wide, "Allow", narrow)));
}

const notCovered: readonly [string, RuleShape["action"], Blocks, RuleShape["action"], Blocks][] = [
  ["a condition leaves room", "Deny", { sql: {}, when: "sql.hasWhere" }, "Allow", { sql: {} }],
  ["equal ranks add up", "Allow", {}, "Allow", { sql: {} }],
  ["the weaker does not overrule the stronger", "RequireApproval", {}, "Deny", { sql: {} }],
  ["another block", "Deny", { http: {} }, "Allow", { sql: {} }],
  ["a rule without a block is wider", "Deny", { sql: {} }, "Allow", {}],
  [
    "one statement of two",
    "Deny",
    { sql: { statements: ["delete"] } },
    "Allow",
    { sql: { statements: ["select", "delete"] } },
  ],
  [
    "a wildcard that is wider",
    "Deny",
    { sql: { relations: ["public.orders"] } },
    "Allow",
    { sql: { relations: ["public.*"] } },
  ],
  [
    "a Deny of columns leaves reads that name none",
    "Deny",
    { sql: { columns: ["public.orders.id"] } },
    "Allow",
    { sql: { columns: ["public.orders.id"] } },
  ],
  [
    "a Deny of what it finds leaves what says nothing of it",
    "Deny",
    { sql: { detect: ["email"] } },
    "Allow",
    { sql: { statements: ["select"] } },
  ],
  [
    "a Deny leaves what only another detector finds",
    "Deny",
    { sql: { detect: ["email"] } },
    "RequireApproval",
    { sql: { detect: ["email", "iban"] } },
  ],
  [
    "a Deny of relations leaves functions",
    "Deny",
    { sql: { relations: ["*"] } },
    "Allow",
    { sql: { relations: ["*"], functions: ["public.f"] } },
  ],
  [
    "an approval without functions leaves unsafe ones",
    "RequireApproval",
    { sql: {} },
    "Allow",
    { sql: { functions: ["public.f"] } },
  ],
  [
    "one segment does not cover many",
    "Deny",
    { http: { paths: ["/v1/*"] } },
    "Allow",
    { http: { paths: ["/v1/**"] } },
  ],
  [
    "a prefix ends at a slash",
    "Deny",
    { http: { paths: ["/v1/**"] } },
    "Allow",
    { http: { paths: ["/v10/orders"] } },
  ],
  [
    "a host wildcard keeps to one label",
    "Deny",
    { http: { hosts: ["*.example.com"] } },
    "Allow",
    { http: { hosts: ["a.b.example.com"] } },
  ],
  [
    "a Deny of tools leaves requests without them",
    "Deny",
    { llm: { tools: ["*"] } },
    "Allow",
    { llm: { tools: ["search"] } },
  ],
];

for (const [title, by, wide, action, narrow] of notCovered) {
  test(`a rule is not overruled: ${title}`, () =>
    assert.equal(isOverruled(by, wide, action, narrow), false));
}

test("a rule whose fields contradict each other never matches, and says which field", () => {
  const dead = (blocks: Blocks, action: RuleShape["action"] = "Allow"): readonly string[] =>
    neverMatches({ name: "r", action, ...blocks }).map(({ path }) => path.join("."));
  assert.deepEqual(
    dead({ sql: { statements: ["transaction"], relations: ["a.b"], hasWhere: true } }),
    ["sql.relations", "sql.hasWhere"],
  );
  assert.deepEqual(dead({ sql: { statements: ["select", "delete"], hasWhere: true } }), []);
  assert.deepEqual(
    dead({
      sql: {
        relations: ["public.*"],
        columns: ["public.orders.*", "*.customers.ssn", "other.t.c"],
      },
    }),
    ["sql.columns.2"],
  );
  assert.deepEqual(dead({ llm: { operations: ["embeddings"], tools: ["x"] } }, "Deny"), [
    "llm.tools",
  ]);
  assert.deepEqual(dead({ llm: { operations: ["embeddings"], maxOutputTokens: 5 } }), []);
  assert.deepEqual(dead({ when: " (false) " }), ["when"]);
});

test("two patterns share a text exactly when a text shows it", () => {
  const pattern = fc
    .array(fc.constantFrom("a", "b", ".", "*"), { maxLength: 5 })
    .map((parts) => parts.join(""));
  const texts = allTexts(["a", "b", "."], 5);
  fc.assert(
    fc.property(pattern, pattern, (one, two) => {
      const shown = texts.some(
        (text) => matches(compilePattern(one), text) && matches(compilePattern(two), text),
      );
      // Without wildcards on both sides the shared text may be longer than the ones tried, never shorter.
      if (shown) assert.ok(canShareText(one, two));
      else if (!one.includes("*") || !two.includes("*"))
        assert.equal(canShareText(one, two), false);
    }),
    { numRuns: 300 },
  );
});

const name = fc.constantFrom("a", "b", "*", "a*");
const names = fc.uniqueArray(name, { minLength: 1, maxLength: 2 });
const dotted = fc.uniqueArray(
  fc.tuple(name, name).map((parts) => parts.join(".")),
  { minLength: 1, maxLength: 2 },
);
const statement = fc.constantFrom("select" as const, "update" as const, "delete" as const);

test("a Deny that is said to cover a rule denies every relation access that the rule permits", () => {
  const block = fc.record(
    {
      statements: fc.uniqueArray(statement, { minLength: 1 }),
      relations: dotted,
      hasWhere: fc.boolean(),
    },
    { requiredKeys: [] },
  );
  const access = fc.record({
    kind: fc.constant("relation" as const),
    statement,
    relation: fc.constantFrom("a.a", "a.b", "b.ab", "aa.b"),
    columns: fc.constant([]),
    allColumns: fc.boolean(),
    hasWhere: fc.boolean(),
  });
  const facts = {
    statements: [],
    relationsRead: [],
    relationsWritten: [],
    columns: [],
    functions: [],
    hasWhere: false,
    count: 1,
  };
  let held = 0;
  fc.assert(
    fc.property(block, block, access, (wide, narrow, tried) => {
      if (!isOverruled("Deny", { sql: wide }, "Allow", { sql: narrow })) return;
      if (sqlMismatch(compileSql(narrow), tried, facts, "covers") !== undefined) return;
      held += 1;
      assert.equal(sqlMismatch(compileSql(wide), tried, facts, "denies"), undefined);
    }),
    { numRuns: 3000 },
  );
  assert.ok(held > 20, `the property was put to the test ${held} times only`);
});

test("a Deny that is said to cover a rule denies every request that the rule permits", () => {
  const segment = fc.constantFrom("a", "b", "*", "**", "a*");
  const paths = fc.uniqueArray(
    fc.array(segment, { minLength: 1, maxLength: 3 }).map((parts) => `/${parts.join("/")}`),
    { minLength: 1, maxLength: 2 },
  );
  // One field at a time: with more, hardly any two random rules lie within each other.
  const both = fc.oneof(
    fc
      .tuple(names, names)
      .map(([wide, narrow]) => ({ wide: { methods: wide }, narrow: { methods: narrow } })),
    fc
      .tuple(dotted, dotted)
      .map(([wide, narrow]) => ({ wide: { hosts: wide }, narrow: { hosts: narrow } })),
    fc
      .tuple(paths, paths)
      .map(([wide, narrow]) => ({ wide: { paths: wide }, narrow: { paths: narrow } })),
    fc.tuple(name, name).map(([wide, narrow]) => ({
      wide: { query: { q: wide } },
      narrow: { query: { q: narrow } },
    })),
  );
  const request = fc.record({
    method: fc.constantFrom("a", "b", "ab"),
    host: fc.constantFrom("a.a", "a.b", "b.ab"),
    path: fc
      .array(fc.constantFrom("a", "b", "ab"), { minLength: 1, maxLength: 4 })
      .map((parts) => `/${parts.join("/")}`),
    query: fc.record(
      { q: fc.array(fc.constantFrom("a", "ab"), { minLength: 1, maxLength: 2 }) },
      { requiredKeys: [] },
    ),
    contentType: fc.constant(""),
  });
  let held = 0;
  fc.assert(
    fc.property(both, request, ({ wide, narrow }, tried) => {
      if (!isOverruled("Deny", { http: wide }, "Allow", { http: narrow })) return;
      if (httpMismatch(compileHttp(narrow), tried, "covers") !== undefined) return;
      held += 1;
      assert.equal(httpMismatch(compileHttp(wide), tried, "denies"), undefined);
    }),
    { numRuns: 3000 },
  );
  assert.ok(held > 20, `the property was put to the test ${held} times only`);
});

function allTexts(letters: readonly string[], length: number): readonly string[] {
  let longest = [""];
  const all = [""];
  for (let round = 0; round < length; round++) {
    longest = longest.flatMap((text) => letters.map((letter) => text + letter));
    all.push(...longest);
  }
  return all;
}
