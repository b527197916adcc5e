import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { BundleRule, PolicyMode, RuleAction } from "./bundle.ts";
import type { Verdict } from "./decision.ts";
import { ask, bundleOf, fn, http, llm, relation, sql, statement } from "./fixture.ts";
import type { Consequence } from "./sql/consequences.ts";
import type { Access, Operation, Relative, SqlOperation, StatementKind } from "./operation.ts";

const kinds: readonly StatementKind[] = ["select", "update", "delete", "drop", "do", "other"];
const kind = fc.constantFrom(...kinds);
const tables = ["public.a", "public.b", "private.a"];
const columnNames = ["id", "ssn"];
const some = <T>(values: readonly T[]) =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 3 });
const flag = fc.option(fc.constant(true as const), { nil: undefined });

const relationAccess: fc.Arbitrary<Access> = fc
  .record({
    kind,
    table: fc.constantFrom(...tables),
    columns: fc.oneof(fc.constant("*" as const), fc.subarray(columnNames)),
    hasWhere: fc.boolean(),
    basic: flag,
  })
  .map((given) =>
    relation(given.kind, given.table, given.columns, {
      ...((given.kind === "update" || given.kind === "delete") && { hasWhere: given.hasWhere }),
      ...(given.basic && { basic: given.basic }),
    }),
  );
const functionAccess: fc.Arbitrary<Access> = fc
  .record({ kind, name: fc.constantFrom("pg_catalog.f", "public.g"), safe: fc.boolean() })
  .map((given) => fn(given.name, given.kind, { safe: given.safe }));
const statementAccess: fc.Arbitrary<Access> = fc
  .record({ kind, opaque: fc.boolean(), basic: flag })
  .map((given) =>
    statement(given.kind, { opaque: given.opaque, ...(given.basic && { basic: given.basic }) }),
  );

const statementText: fc.Arbitrary<SqlOperation> = fc
  .array(fc.oneof(relationAccess, functionAccess, statementAccess), { minLength: 1, maxLength: 4 })
  .map((accesses) => sql(...accesses));
const relative: fc.Arbitrary<Relative> = fc.record({
  relation: fc.constantFrom(...tables),
  as: fc.constantFrom("whole", "part", "read", "computed", "together"),
  columns: fc.constantFrom<Relative["columns"][]>(
    "same",
    "all",
    new Map([["id", ["public.a.ssn"]]]),
  ),
});
/** What is known of the relations named, and what the statement leads to. */
const knowing = fc.record(
  {
    relatives: fc.array(relative, { maxLength: 3 }),
    leadsTo: fc.constantFrom<Consequence[]>("any", ["delete", "update"]),
    cascades: fc.constant(true as const),
  },
  { requiredKeys: ["relatives"] },
);

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 4, arbitrary: statementText },
  {
    weight: 1,
    arbitrary: fc
      .record({
        method: fc.constantFrom("GET", "POST"),
        path: fc.constantFrom("/", "/a", "/a/", "/a/b"),
        values: fc.array(fc.constantFrom("1", "2"), { maxLength: 2 }),
      })
      .map(({ method, path, values }) =>
        http(method, path, { query: values.length > 0 ? { q: values } : {} }),
      ),
  },
  {
    weight: 2,
    arbitrary: fc
      .record({
        operation: fc.constantFrom("chat", "embeddings"),
        model: fc.constantFrom("m1", "m2"),
        tools: fc.subarray(["t1", "t2"]),
        prompts: fc.subarray(["alpha", "beta"]),
        maxOutputTokens: fc.constantFrom(null, 10, 100),
      })
      .map(llm),
  },
);

const optional = <T extends Record<string, fc.Arbitrary<unknown>>>(fields: T) =>
  fc.record(fields, { requiredKeys: [] });
const block = fc.oneof(
  fc.constant({}),
  optional({
    statements: some(kinds),
    relations: some([...tables, "public.*", "*.a"]),
    columns: some(["public.a.*", "public.a.id", "*.*.ssn", "private.*.*"]),
    functions: some(["f", "public.*", "*"]),
    hasWhere: fc.boolean(),
  }).map((body) => ({ sql: body })),
  optional({
    methods: some(["GET", "POST"]),
    paths: some(["/a", "/a/**", "/*"]),
    query: fc.constantFrom({ q: "1" }, { q: "*" }),
  }).map((body) => ({ http: body })),
  optional({
    operations: some(["chat", "embeddings"]),
    models: some(["m1", "m*"]),
    tools: some(["t1", "t*"]),
    maxOutputTokens: fc.constantFrom(10, 50),
    promptMatches: fc.constantFrom("alp", "eta$"),
  }).map((body) => ({ llm: body })),
);
// The last fails for every operation.
const when = fc.constantFrom(
  undefined,
  undefined,
  undefined,
  "session.operations > 3",
  "session.operations < 3",
  'params[9] == "x"',
);

function ruleOf(
  actions: readonly RuleAction[],
  modes: readonly PolicyMode[],
): fc.Arbitrary<BundleRule> {
  return fc
    .record({
      policy: fc.constantFrom("agents/p", "agents/q"),
      name: fc.constantFrom("r1", "r2", "r3", "r4"),
      action: fc.constantFrom(...actions),
      mode: fc.constantFrom(...modes),
      block,
      when,
    })
    .map(
      ({ block: body, when: condition, ...rest }) =>
        ({ ...rest, ...body, ...(condition !== undefined && { when: condition }) }) as BundleRule,
    );
}

const anyAction: readonly RuleAction[] = ["Allow", "Allow", "RequireApproval", "Deny"];
const rules = fc.array(ruleOf(anyAction, ["Enforce", "Enforce", "Observe"]), { maxLength: 6 });
const openness: Record<Verdict, number> = { deny: 0, hold: 1, allow: 2 };
const runs = { numRuns: 500 };

test("adding a Deny never makes a verdict more permissive", () => {
  fc.assert(
    fc.property(rules, ruleOf(["Deny"], ["Enforce"]), operation, (given, deny, tried) => {
      const before = ask(bundleOf(given), tried);
      const after = ask(bundleOf([...given, deny]), tried);
      assert.ok(
        openness[after.verdict] <= openness[before.verdict],
        `${before.verdict} became ${after.verdict}`,
      );
    }),
    runs,
  );
});

test("what is known of the relations that a statement names never makes a verdict more permissive, and never covers anything", () => {
  fc.assert(
    fc.property(rules, statementText, knowing, (given, tried, known) => {
      const accesses = tried.accesses.map((access) =>
        access.kind === "relation" ? { ...access, ...known } : access,
      );
      const before = ask(bundleOf(given), tried);
      const after = ask(bundleOf(given), { ...tried, accesses });
      assert.ok(
        openness[after.verdict] <= openness[before.verdict],
        `${before.verdict} became ${after.verdict}`,
      );
      const allows = given.filter(({ action }) => action === "Allow");
      const byAllow = [tried, { ...tried, accesses }].map((one) => ask(bundleOf(allows), one));
      assert.equal(byAllow[0]?.verdict, byAllow[1]?.verdict);
    }),
    runs,
  );
});

test("adding a RequireApproval never lets an operation pass that did not pass before", () => {
  fc.assert(
    fc.property(
      rules,
      ruleOf(["RequireApproval"], ["Enforce"]),
      operation,
      (given, approval, tried) => {
        const before = ask(bundleOf(given), tried);
        const after = ask(bundleOf([...given, approval]), tried);
        if (after.verdict !== "allow" || before.verdict === "allow") return;
        // The one thing it may open is session-basics, which stands wherever something is permitted.
        assert.equal(after.reason, "SessionBasics");
      },
    ),
    runs,
  );
});

test("restrictions of the cluster only ever take away, whatever a namespace says", () => {
  const restriction = ruleOf(["Deny", "RequireApproval"], ["Enforce"]).map((rule) => ({
    ...rule,
    policy: "*/guard",
    restricts: true as const,
  }));
  const bundle = (given: readonly BundleRule[], observeOnly: boolean) => ({
    ...bundleOf(given.map((rule) => (observeOnly && !rule.restricts ? observing(rule) : rule))),
    observeOnly,
  });
  const observing = (rule: BundleRule): BundleRule => ({ ...rule, mode: "Observe" });
  fc.assert(
    fc.property(
      rules,
      fc.array(restriction, { minLength: 1, maxLength: 3 }),
      operation,
      fc.boolean(),
      (given, restrictions, tried, observeOnly) => {
        const alone = ask(bundle(given, observeOnly), tried);
        const restricted = ask(bundle([...given, ...restrictions], observeOnly), tried);
        assert.ok(
          openness[restricted.verdict] <= openness[alone.verdict],
          `${alone.verdict} became ${restricted.verdict}`,
        );
        const only = ask(bundle(restrictions, false), tried);
        if (only.reason === "RuleMatched" && only.verdict === "deny")
          assert.equal(restricted.verdict, "deny");
      },
    ),
    runs,
  );
});

test("what a Deny denied stays denied whatever is permitted besides", () => {
  const denies = fc.array(ruleOf(["Deny"], ["Enforce"]), { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(denies, rules, operation, (given, others, tried) => {
      if (ask(bundleOf(given), tried).rule === "") return;
      assert.equal(ask(bundleOf([...others, ...given]), tried).verdict, "deny");
    }),
    runs,
  );
});

test("adding an Allow never makes a verdict less permissive", () => {
  fc.assert(
    fc.property(rules, ruleOf(["Allow"], ["Enforce"]), operation, (given, allow, tried) => {
      const before = ask(bundleOf(given), tried);
      const after = ask(bundleOf([...given, allow]), tried);
      assert.ok(
        openness[after.verdict] >= openness[before.verdict],
        `${before.verdict} became ${after.verdict}`,
      );
    }),
    runs,
  );
});

test("the order of rules never changes the decision", () => {
  const shuffled = rules.chain((given) =>
    fc.tuple(fc.constant(given), fc.shuffledSubarray(given, { minLength: given.length })),
  );
  fc.assert(
    fc.property(shuffled, operation, ([given, other], tried) => {
      assert.deepEqual(ask(bundleOf(other), tried), ask(bundleOf(given), tried));
    }),
    runs,
  );
});

test("a rule given twice decides as once", () => {
  fc.assert(
    fc.property(rules, operation, (given, tried) => {
      assert.equal(
        ask(bundleOf([...given, ...given]), tried).verdict,
        ask(bundleOf(given), tried).verdict,
      );
    }),
    runs,
  );
});

test("Observe rules never change the verdict that Enforce rules give", () => {
  fc.assert(
    fc.property(rules, operation, (given, tried) => {
      const enforced = given.filter((rule) => rule.mode === "Enforce");
      const decision = { ...ask(bundleOf(given), tried) };
      Reflect.deleteProperty(decision, "wouldBe");
      assert.deepEqual(decision, ask(bundleOf(enforced), tried));
    }),
    runs,
  );
});

test("touching more never makes an operation pass that did not", () => {
  const accesses = fc.array(fc.oneof(relationAccess, functionAccess, statementAccess), {
    minLength: 1,
    maxLength: 3,
  });
  const fields = rules.map((given) =>
    given.filter((rule) => rule.sql?.hasWhere === undefined && rule.when === undefined),
  );
  fc.assert(
    fc.property(fields, accesses, accesses, (given, some_, more) => {
      const less = ask(bundleOf(given), sql(...some_)).verdict;
      const greater = ask(bundleOf(given), sql(...some_, ...more)).verdict;
      assert.ok(openness[greater] <= openness[less], `${less} became ${greater}`);
    }),
    runs,
  );
});
