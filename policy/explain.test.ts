import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Bundle } from "./bundle.ts";
import { prepare } from "./decide.ts";
import { explain, formatExplanation } from "./explain.ts";
import {
  bundleOf,
  context,
  fn,
  http,
  llm,
  relation,
  rule,
  sql,
  statement,
  subject,
} from "./fixture.ts";
import type { Operation } from "./operation.ts";

const explained = (bundle: Bundle, operation: Operation) =>
  explain(prepare(bundle), subject, operation, context);
const readOrders = rule("read-orders", "Allow", {
  sql: { statements: ["select"], relations: ["public.orders"] },
});
const orders = relation("select", "public.orders", ["id"]);
const customers = relation("select", "public.customers", ["name", "ssn"]);

test("says for each access what covered it and what nearly did", () => {
  const rules = [
    readOrders,
    rule("names", "Allow", { sql: { columns: ["public.customers.name"] } }),
    rule("writes", "Allow", { sql: { statements: ["update"] } }),
    rule("weekend", "Allow", {
      sql: { relations: ["public.customers"] },
      when: "time.getDayOfWeek() == 0",
    }),
  ];
  const { accesses, decision } = explained(bundleOf(rules), sql(orders, customers));
  assert.equal(decision.verdict, "deny");
  assert.deepEqual(
    accesses[0]?.coveredBy.map(({ rule }) => rule),
    ["read-orders"],
  );
  assert.deepEqual(accesses[0]?.nearly, []);
  assert.deepEqual(accesses[1]?.coveredBy, []);
  assert.deepEqual(
    accesses[1]?.nearly.map(({ rule, field, because }) => [rule, field, because]),
    [
      ["weekend", "when", "its condition is false: time.getDayOfWeek() == 0"],
      [
        "names",
        "columns",
        "columns does not list each of public.customers.name, public.customers.ssn",
      ],
      ["read-orders", "relations", "relations does not list public.customers"],
      ["writes", "statements", "statements does not list select"],
    ],
  );
});

test("says that relations were read by name where a Deny of some may be about others", () => {
  const all = rule("all", "Allow", {});
  const no = rule("no", "Deny", { sql: { relations: ["public.events"] } });
  const said = (rules: Bundle["rules"], operation: Operation): boolean =>
    /read by the names in the statement/.test(
      formatExplanation(explained(bundleOf(rules), operation)),
    );
  assert.equal(said([all, no], sql(orders)), true);
  assert.equal(said([all], sql(orders)), false);
  assert.equal(said([all, no], sql(statement("set"))), false);
});

test("names every rule that denies and asks", () => {
  const rules = [
    rule("all", "Allow", {}),
    rule("ask", "RequireApproval", { sql: { columns: ["public.customers.ssn"] } }),
    rule("no-ssn", "Deny", { sql: { columns: ["*.*.ssn"] } }),
    rule("broken", "Deny", { sql: {}, when: 'params[3] == ""' }),
  ];
  const access = explained(bundleOf(rules), sql(customers)).accesses[0];
  assert.deepEqual(
    access?.deniedBy.map(({ rule, conditionFailed }) => [rule, conditionFailed]),
    [
      ["broken", true],
      ["no-ssn", undefined],
    ],
  );
  assert.deepEqual(
    access?.askedBy.map(({ rule }) => rule),
    ["ask"],
  );
  assert.deepEqual(
    access?.coveredBy.map(({ rule }) => rule),
    ["all"],
  );
});

test("shows session-basics", () => {
  const { accesses, decision } = explained(
    bundleOf([readOrders]),
    sql(statement("transaction", { basic: true })),
  );
  assert.equal(decision.reason, "SessionBasics");
  assert.deepEqual(accesses[0]?.coveredBy, [
    { policy: "chaperone", rule: "session-basics", action: "Allow", mode: "Enforce" },
  ]);
});

const masked: Bundle = {
  ...bundleOf([rule("all", "Allow", {})]),
  columnMasks: [
    {
      column: "public.customers.ssn",
      transform: { kind: "partial", keepFirst: 0, keepLast: 4 },
      policy: "agents/p",
    },
    { column: "*.*.card", transform: { kind: "redact" }, policy: "agents/p" },
  ],
  detectMasks: [{ detector: "email", transform: { kind: "hash" }, policy: "agents/q" }],
  limits: { rowsPerResult: 10 },
};
const masks: [what: string, operation: Operation, columns: string[]][] = [
  ["a named column", sql(customers), ["public.customers.ssn"]],
  [
    "every column of the table",
    sql(relation("select", "public.customers", "*")),
    ["public.customers.ssn", "*.*.card"],
  ],
  ["other columns", sql(orders), []],
  ["no relation", sql(statement("explain")), []],
];
for (const [what, operation, columns] of masks) {
  test(`lists the masks that can touch ${what}`, () => {
    assert.deepEqual(
      explained(masked, operation).obligations.columnMasks.map(({ column }) => column),
      columns,
    );
  });
}

test("formats for a terminal", () => {
  const text = formatExplanation(explained(masked, sql(customers)));
  assert.equal(
    text,
    `ALLOW  a statement
  allowed by agents/p rule all

subject     agents/invoice-agent
connection  agents/orders-db
policies    agents/p
reason      RuleMatched, agents/p rule all

select on public.customers
  covered by agents/p rule all

obligations
  mask public.customers.ssn: partial, first 0 and last 4 stay (agents/p)
  mask detected email: hash (agents/q)
  limit rowsPerResult: 10
  record Statements, kept 90 days`,
  );
});

test("formats a hold with its terms, and what Observe would have said", () => {
  const approval = {
    approvers: [{ group: "leads" }, { user: "ann" }],
    count: 2,
    holdSeconds: 50,
    validForSeconds: 600,
  };
  const rules = [rule("ask", "RequireApproval", { approval }), rule("d", "Deny", {}, "Observe")];
  const text = formatExplanation(explained(bundleOf(rules), sql(orders)));
  assert.match(text, /^HOLD {2}a statement/);
  assert.match(
    text,
    /approval {4}2 of group leads or user ann; the call waits 50s, an approval lasts 600s, asked by agents\/p rule ask/,
  );
  assert.match(text, /would be {4}deny if every policy were enforced: denied by agents\/p rule d/);
  assert.match(text, /denied by agents\/p rule d \(Observe\)/);
});

test("formats a refusal with the nearest rules and without obligations", () => {
  const text = formatExplanation(
    explained(bundleOf([readOrders]), sql(orders, fn("public.pay", "select", { safe: false }))),
  );
  assert.match(text, /^DENY/);
  assert.match(
    text,
    /covered by nothing\n {2}not by agents\/p rule read-orders: functions does not list public\.pay, which is not one of the safe functions/,
  );
  assert.doesNotMatch(text, /obligations/);
});

const reasons: [body: Parameters<typeof rule>[2], operation: Operation, because: string][] = [
  [{ http: { methods: ["GET"] } }, http("POST", "/"), "methods does not list POST"],
  [{ http: { hosts: ["a.example.com"] } }, http("GET", "/"), "hosts does not list api.example.com"],
  [{ http: { paths: ["/a"] } }, http("GET", "/b"), "paths does not list /b"],
  [
    { http: { contentTypes: ["text/*"] } },
    http("GET", "/b"),
    "contentTypes does not list a request without a body type",
  ],
  [{ llm: { operations: ["embeddings"] } }, llm({}), "operations does not list chat"],
  [{ llm: { models: ["x"] } }, llm({}), "models does not list gpt-5"],
  [
    { llm: { models: ["x"] } },
    llm({ operation: "models", model: "" }),
    "the request names no model",
  ],
  [
    { llm: { maxOutputTokens: 5 } },
    llm({ maxOutputTokens: 9 }),
    "the request asks for 9 output tokens",
  ],
  [{ chains: ["x"] }, http("GET", "/"), "it is for named chains only, and the subject names none"],
  [
    { sql: { hasWhere: true } },
    sql(relation("delete", "public.a", [], { hasWhere: false })),
    "the delete has no WHERE clause",
  ],
  [
    {},
    sql(statement("do", { opaque: true })),
    "do runs text that cannot be looked into, so statements has to name it",
  ],
];
for (const [body, operation, because] of reasons) {
  test(`says why not: ${because}`, () => {
    assert.equal(
      explained(bundleOf([rule("r", "Allow", body)]), operation).accesses[0]?.nearly[0]?.because,
      because,
    );
  });
}

test("an allowed operation has each access covered and none denied", () => {
  const body = fc.constantFrom(
    {},
    { sql: { statements: ["select"] } },
    { sql: { relations: ["public.orders"] } },
    { sql: { columns: ["*.*.ssn"] } },
  );
  const rules = fc.array(
    fc.tuple(body, fc.constantFrom("Allow" as const, "RequireApproval" as const, "Deny" as const)),
    { maxLength: 4 },
  );
  const accesses = fc.subarray(
    [orders, customers, statement("transaction", { basic: true }), fn("pg_catalog.now", "select")],
    { minLength: 1 },
  );
  fc.assert(
    fc.property(rules, accesses, (given, tried) => {
      const bundle = bundleOf(
        given.map(([fields, action], index) => rule(`r${index}`, action, fields)),
      );
      const { decision, accesses: all } = explained(bundle, sql(...tried));
      const denied = all.some(({ deniedBy }) => deniedBy.length > 0);
      const covered = all.every(({ coveredBy }) => coveredBy.length > 0);
      assert.equal(decision.verdict === "deny", denied || !covered);
    }),
  );
});

test("names the budgets, the price of the model, and refuses a model without one", () => {
  const bundle: Bundle = {
    ...bundleOf([rule("models", "Allow", { llm: { operations: ["chat"] } })]),
    limits: {
      tokensPerDay: 500_000,
      costPerDay: 12_500_000,
      repeats: [{ max: 5, withinSeconds: 30 }],
    },
    prices: [{ models: ["gpt-5*"], input: 1.25, output: 10 }],
  };
  const text = formatExplanation(explained(bundle, llm({ operation: "chat", model: "gpt-5" })));
  assert.match(text, /limit tokensPerDay: 500000 for all pods of the service account together/);
  assert.match(text, /limit costPerDay: 12\.5 for .*, at 1\.25 for a million tokens in and 10 out/);
  assert.match(text, /limit repeats: the same operation at most 5 times within 30 s/);
  const { decision } = explained(bundle, llm({ operation: "chat", model: "o3" }));
  assert.equal(decision.verdict, "deny");
  assert.equal(decision.reason, "LimitExceeded");
  assert.match(decision.message, /no price for model "o3"; add one to the ConfigMap/);
});
