import assert from "node:assert/strict";
import { test } from "node:test";
import type { BundleRule } from "./bundle.ts";
import { decide, prepare } from "./decide.ts";
import type { Verdict } from "./decision.ts";
import {
  ask,
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
import type { Access, Operation } from "./operation.ts";

type Row = readonly [
  promise: string,
  rules: readonly BundleRule[],
  operation: Operation,
  verdict: Verdict,
  rule?: string,
];

function table(rows: readonly Row[]): void {
  for (const [promise, rules, operation, verdict, speaker] of rows) {
    test(promise, () => {
      const decision = ask(bundleOf(rules), operation);
      assert.equal(decision.verdict, verdict, decision.message);
      if (speaker !== undefined) assert.equal(decision.rule, speaker, decision.message);
    });
  }
}

const readOrders = rule("read-orders", "Allow", {
  sql: { statements: ["select"], relations: ["public.orders"] },
});
const selectOrders = relation("select", "public.orders", ["id"]);
const selectCustomers = relation("select", "public.customers", ["name"]);
const updateOrders = relation("update", "public.orders", ["total"], { hasWhere: true });
const dropOrders = relation("drop", "public.orders", "*");
const everything = rule("everything", "Allow", {});

table([
  ["allows what a rule names", [readOrders], sql(selectOrders), "allow", "read-orders"],
  ["denies another relation", [readOrders], sql(selectCustomers), "deny", ""],
  ["denies another statement on the same relation", [readOrders], sql(updateOrders), "deny", ""],
  [
    "denies when one of two relations is not covered",
    [readOrders],
    sql(selectOrders, selectCustomers),
    "deny",
    "",
  ],
  [
    "allows when two rules cover one relation each",
    [readOrders, rule("read-customers", "Allow", { sql: { relations: ["public.customers"] } })],
    sql(selectOrders, selectCustomers),
    "allow",
    "read-orders",
  ],
  ["denies everything without rules", [], sql(selectOrders), "deny", ""],
  [
    "a rule without a block allows any relation",
    [everything],
    sql(updateOrders, selectCustomers),
    "allow",
    "everything",
  ],
  [
    "an empty sql block allows any relation",
    [rule("r", "Allow", { sql: {} })],
    sql(dropOrders),
    "allow",
    "r",
  ],
  [
    "a relation wildcard covers the schema",
    [rule("r", "Allow", { sql: { relations: ["public.*"] } })],
    sql(selectOrders, selectCustomers),
    "allow",
  ],
  [
    "a relation wildcard stays in its schema",
    [rule("r", "Allow", { sql: { relations: ["public.*"] } })],
    sql(relation("select", "private.orders", [])),
    "deny",
  ],
]);

const neverDestroy = rule("never-destroy", "Deny", {
  sql: { statements: ["drop", "truncate", "delete"] },
});
const askUpdates = rule("ask-updates", "RequireApproval", {
  sql: { statements: ["update"], relations: ["public.orders"] },
});
table([
  ["Deny beats Allow", [everything, neverDestroy], sql(dropOrders), "deny", "never-destroy"],
  [
    "Deny beats RequireApproval",
    [rule("ask", "RequireApproval", {}), neverDestroy],
    sql(dropOrders),
    "deny",
    "never-destroy",
  ],
  [
    "Deny speaks when only one of the accesses matches",
    [everything, neverDestroy],
    sql(selectOrders, dropOrders),
    "deny",
    "never-destroy",
  ],
  [
    "Deny of a bare statement speaks about statements without a relation",
    [everything, neverDestroy],
    sql(statement("drop")),
    "deny",
    "never-destroy",
  ],
  [
    "Deny about one relation leaves others alone",
    [everything, rule("d", "Deny", { sql: { relations: ["public.secrets"] } })],
    sql(selectOrders),
    "allow",
  ],
  [
    "RequireApproval beats Allow",
    [everything, askUpdates],
    sql(updateOrders),
    "hold",
    "ask-updates",
  ],
  ["RequireApproval permits by itself", [askUpdates], sql(updateOrders), "hold", "ask-updates"],
  [
    "holds when one access asks and an Allow covers the rest",
    [askUpdates, rule("c", "Allow", { sql: { relations: ["public.customers"] } })],
    sql(updateOrders, selectCustomers),
    "hold",
    "ask-updates",
  ],
  [
    "denies when a held operation has an access that nothing covers",
    [askUpdates],
    sql(updateOrders, selectCustomers),
    "deny",
    "",
  ],
  [
    "RequireApproval about another relation does not hold",
    [everything, askUpdates],
    sql(selectOrders),
    "allow",
  ],
]);

const readNames = rule("names", "Allow", {
  sql: { columns: ["public.customers.id", "public.customers.name"] },
});
const hideSsn = rule("hide-ssn", "Deny", { sql: { columns: ["public.customers.ssn"] } });
const star = relation("select", "public.customers", "*");
table([
  [
    "columns: allows when every named column is listed",
    [readNames],
    sql(relation("select", "public.customers", ["id", "name"])),
    "allow",
  ],
  [
    "columns: denies when one named column is not listed",
    [readNames],
    sql(relation("select", "public.customers", ["id", "ssn"])),
    "deny",
  ],
  ["columns: SELECT * is not covered by some columns", [readNames], sql(star), "deny"],
  [
    "columns: SELECT * is covered by a pattern over the whole table",
    [rule("r", "Allow", { sql: { columns: ["public.customers.*"] } })],
    sql(star),
    "allow",
  ],
  [
    "columns: SELECT * is not covered by a pattern over part of the table",
    [rule("r", "Allow", { sql: { columns: ["public.customers.a*"] } })],
    sql(star),
    "deny",
  ],
  [
    "columns: count(*) on the table itself is covered",
    [readNames],
    sql(relation("select", "public.customers", [])),
    "allow",
  ],
  [
    "columns: count(*) on another table is not covered",
    [readNames],
    sql(relation("select", "public.secrets", [])),
    "deny",
  ],
  [
    "columns: Deny speaks when any named column is listed",
    [everything, hideSsn],
    sql(relation("select", "public.customers", ["name", "ssn"])),
    "deny",
    "hide-ssn",
  ],
  [
    "columns: Deny speaks about SELECT * of that table",
    [everything, hideSsn],
    sql(star),
    "deny",
    "hide-ssn",
  ],
  [
    "columns: Deny leaves SELECT * of another table alone",
    [everything, hideSsn],
    sql(relation("select", "public.orders", "*")),
    "allow",
  ],
  [
    "columns: Deny with a wildcard table speaks about SELECT * of every table",
    [everything, rule("d", "Deny", { sql: { columns: ["public.*.ssn"] } })],
    sql(relation("select", "public.orders", "*")),
    "deny",
    "d",
  ],
  [
    "columns: Deny leaves other columns alone",
    [everything, hideSsn],
    sql(relation("select", "public.customers", ["name"])),
    "allow",
  ],
  [
    "columns: RequireApproval asks although another column is named, too",
    [everything, rule("ask", "RequireApproval", { sql: { columns: ["public.customers.ssn"] } })],
    sql(relation("select", "public.customers", ["name", "ssn"])),
    "hold",
    "ask",
  ],
  [
    "columns: RequireApproval asks on SELECT *",
    [everything, rule("ask", "RequireApproval", { sql: { columns: ["public.customers.ssn"] } })],
    sql(star),
    "hold",
    "ask",
  ],
  [
    "relations and columns must both match",
    [rule("r", "Allow", { sql: { relations: ["public.orders"], columns: ["*.*.id"] } })],
    sql(relation("select", "public.customers", ["id"])),
    "deny",
  ],
]);

const whereUpdate = rule("u", "Allow", {
  sql: { statements: ["update"], relations: ["public.orders"], hasWhere: true },
});
const noWhere = rule("no-where", "Deny", {
  sql: { statements: ["update", "delete"], hasWhere: false },
});
const bare = relation("update", "public.orders", ["total"], { hasWhere: false });
const unknownWhere: Access = {
  kind: "relation",
  statement: "update",
  relation: "public.orders",
  columns: ["total"],
  allColumns: false,
};
const now = fn("pg_catalog.now", "update");
table([
  ["hasWhere: allows an update with WHERE", [whereUpdate], sql(updateOrders), "allow"],
  ["hasWhere: does not allow an update without WHERE", [whereUpdate], sql(bare), "deny"],
  [
    "hasWhere: Deny speaks about an update without WHERE",
    [everything, noWhere],
    sql(bare),
    "deny",
    "no-where",
  ],
  [
    "hasWhere: Deny leaves an update with WHERE alone",
    [everything, noWhere],
    sql(updateOrders),
    "allow",
  ],
  [
    "hasWhere: Deny leaves a safe function in a good update alone",
    [everything, noWhere],
    sql(updateOrders, now),
    "allow",
  ],
  [
    "hasWhere: an update of which it is unknown is not allowed",
    [whereUpdate],
    sql(unknownWhere),
    "deny",
  ],
  [
    "hasWhere: an update of which it is unknown is denied",
    [everything, noWhere],
    sql(unknownWhere),
    "deny",
    "no-where",
  ],
  [
    "hasWhere: never matches a select",
    [rule("r", "Allow", { sql: { hasWhere: true } })],
    sql(selectOrders),
    "deny",
  ],
  [
    "hasWhere: a safe function in the update is covered",
    [whereUpdate],
    sql(updateOrders, now),
    "allow",
  ],
]);

const sleep = fn("pg_catalog.pg_sleep", "select", { safe: false });
const lower = fn("pg_catalog.lower", "select");
const pay = fn("public.pay", "select", { safe: false });
table([
  [
    "functions: Allow without functions covers safe ones",
    [readOrders],
    sql(selectOrders, lower),
    "allow",
  ],
  [
    "functions: Allow without functions does not cover others",
    [readOrders],
    sql(selectOrders, sleep),
    "deny",
  ],
  [
    "functions: a rule without a block does not cover unsafe ones",
    [everything],
    sql(selectOrders, sleep),
    "deny",
  ],
  [
    "functions: a listed function is covered",
    [readOrders, rule("f", "Allow", { sql: { functions: ["pg_catalog.pg_sleep"] } })],
    sql(selectOrders, sleep),
    "allow",
  ],
  [
    "functions: a bare name means pg_catalog",
    [rule("f", "Allow", { sql: { functions: ["pg_sleep"] } })],
    sql(sleep),
    "allow",
  ],
  [
    "functions: a bare name means public",
    [rule("f", "Allow", { sql: { functions: ["pay"] } })],
    sql(pay),
    "allow",
  ],
  [
    "functions: a bare name means no other schema",
    [rule("f", "Allow", { sql: { functions: ["pay"] } })],
    sql(fn("evil.pay", "select", { safe: false })),
    "deny",
  ],
  [
    "functions: a rule of functions alone covers no relation",
    [rule("f", "Allow", { sql: { functions: ["*"] } })],
    sql(selectOrders),
    "deny",
  ],
  [
    "functions: a rule of functions and relations covers both",
    [rule("f", "Allow", { sql: { relations: ["public.orders"], functions: ["pay"] } })],
    sql(selectOrders, pay),
    "allow",
  ],
  [
    "functions: statements narrow listed functions",
    [rule("f", "Allow", { sql: { statements: ["select"], functions: ["pay"] } })],
    sql(fn("public.pay", "call", { safe: false })),
    "deny",
  ],
  [
    "functions: a safe function of another statement is not covered",
    [readOrders],
    sql(fn("pg_catalog.lower", "update")),
    "deny",
  ],
  [
    "functions: Deny of a function speaks",
    [everything, rule("d", "Deny", { sql: { functions: ["pg_catalog.lower"] } })],
    sql(selectOrders, lower),
    "deny",
    "d",
  ],
  [
    "functions: Deny of a relation does not speak about a function",
    [everything, rule("d", "Deny", { sql: { relations: ["public.secrets"] } })],
    sql(selectOrders, lower),
    "allow",
  ],
  [
    "functions: Deny of statements speaks about their functions",
    [everything, rule("d", "Deny", { sql: { statements: ["select"] } })],
    sql(lower),
    "deny",
    "d",
  ],
  [
    "functions: RequireApproval about a relation does not hold a safe function beside another",
    [everything, askUpdates],
    sql(relation("update", "public.notes", ["a"], { hasWhere: true }), now),
    "allow",
  ],
  [
    "functions: RequireApproval covers the safe functions of its statement",
    [askUpdates],
    sql(updateOrders, now),
    "hold",
    "ask-updates",
  ],
  [
    "functions: a rule without a block that asks holds an unsafe function that an Allow lists",
    [rule("ask", "RequireApproval", {}), rule("f", "Allow", { sql: { functions: ["*"] } })],
    sql(pay),
    "hold",
    "ask",
  ],
]);

const block = statement("do", { opaque: true });
table([
  [
    "statements: a bare statement is covered by its kind",
    [rule("r", "Allow", { sql: { statements: ["explain"] } })],
    sql(statement("explain")),
    "allow",
  ],
  [
    "statements: a rule with relations does not cover a bare statement",
    [rule("r", "Allow", { sql: { statements: ["create"], relations: ["public.*"] } })],
    sql(statement("create")),
    "deny",
  ],
  [
    "statements: a rule without a block covers a bare statement",
    [everything],
    sql(statement("explain")),
    "allow",
  ],
  [
    "statements: a rule without a block does not cover an opaque one",
    [everything],
    sql(block),
    "deny",
  ],
  [
    "statements: an opaque one is covered by name",
    [rule("r", "Allow", { sql: { statements: ["do"] } })],
    sql(block),
    "allow",
  ],
  [
    "statements: `other` is not covered by a rule without a block",
    [everything],
    sql(statement("other")),
    "deny",
  ],
  [
    "statements: `other` is covered by name",
    [rule("r", "Allow", { sql: { statements: ["other"] } })],
    sql(statement("other")),
    "allow",
  ],
  [
    "statements: `other` on a relation needs its name, too",
    [rule("r", "Allow", { sql: { relations: ["public.*"] } })],
    sql(relation("other", "public.orders", [])),
    "deny",
  ],
  [
    "statements: Deny without a block speaks about everything",
    [rule("a", "Allow", { sql: { statements: ["do"] } }), rule("d", "Deny", {})],
    sql(block),
    "deny",
    "d",
  ],
  [
    "an http rule does not speak about sql",
    [rule("r", "Allow", { http: {} })],
    sql(selectOrders),
    "deny",
  ],
  [
    "an http Deny does not speak about sql",
    [everything, rule("d", "Deny", { http: {} })],
    sql(selectOrders),
    "allow",
  ],
]);

const begin = statement("transaction", { basic: true });
const version = fn("pg_catalog.version", "select", { basic: true });
const catalog = relation("select", "pg_catalog.pg_type", ["oid"], { basic: true });
table([
  [
    "session-basics covers a transaction wherever something is allowed",
    [readOrders],
    sql(begin),
    "allow",
    "session-basics",
  ],
  [
    "session-basics covers catalog look-ups and safe functions",
    [readOrders],
    sql(catalog, version),
    "allow",
    "session-basics",
  ],
  [
    "session-basics stands beside RequireApproval alone, without asking",
    [rule("ask", "RequireApproval", {})],
    sql(begin),
    "allow",
    "session-basics",
  ],
  [
    "session-basics does not stand where nothing is permitted",
    [neverDestroy],
    sql(begin),
    "deny",
    "",
  ],
  [
    "session-basics covers only its part of an operation",
    [readOrders],
    sql(begin, selectCustomers),
    "deny",
    "",
  ],
  [
    "the rule that covers the rest is named",
    [readOrders],
    sql(begin, selectOrders),
    "allow",
    "read-orders",
  ],
  [
    "a Deny removes session-basics",
    [readOrders, rule("d", "Deny", { sql: { statements: ["transaction"] } })],
    sql(begin),
    "deny",
    "d",
  ],
  [
    "a Deny of the catalog removes catalog look-ups",
    [readOrders, rule("d", "Deny", { sql: { relations: ["pg_catalog.*"] } })],
    sql(catalog),
    "deny",
    "d",
  ],
]);

const get = rule("get", "Allow", {
  http: { methods: ["GET"], hosts: ["api.example.com"], paths: ["/v1/**"] },
});
const noAdmin = rule("no-admin", "Deny", { http: { paths: ["/v1/admin/**", "/v1/users"] } });
table([
  ["http: allows the method, host and path", [get], http("GET", "/v1/orders"), "allow", "get"],
  ["http: another method is not covered", [get], http("POST", "/v1/orders"), "deny"],
  ["http: methods are case-sensitive", [get], http("get", "/v1/orders"), "deny"],
  ["http: another path is not covered", [get], http("GET", "/v2/orders"), "deny"],
  [
    "http: another host is not covered",
    [get],
    http("GET", "/v1/orders", { host: "evil.example.com" }),
    "deny",
  ],
  [
    "http: a method wildcard covers all",
    [rule("r", "Allow", { http: { methods: ["*"] } })],
    http("PURGE", "/"),
    "allow",
  ],
  [
    "http: Deny of a path speaks below it",
    [get, noAdmin],
    http("GET", "/v1/admin/keys"),
    "deny",
    "no-admin",
  ],
  [
    "http: Deny of a path speaks about it with a slash at the end",
    [get, noAdmin],
    http("GET", "/v1/users/"),
    "deny",
    "no-admin",
  ],
  [
    "http: Allow of a path does not cover it with a slash at the end",
    [rule("r", "Allow", { http: { paths: ["/v1/users"] } })],
    http("GET", "/v1/users/"),
    "deny",
  ],
  [
    "http: query needs the parameter",
    [rule("r", "Allow", { http: { query: { page: "*" } } })],
    http("GET", "/"),
    "deny",
  ],
  [
    "http: query value pattern matches",
    [rule("r", "Allow", { http: { query: { page: "1*" } } })],
    http("GET", "/", { query: { page: ["12"] } }),
    "allow",
  ],
  [
    "http: every occurrence must match for Allow",
    [rule("r", "Allow", { http: { query: { page: "1" } } })],
    http("GET", "/", { query: { page: ["1", "2"] } }),
    "deny",
  ],
  [
    "http: one occurrence is enough for Deny",
    [everything, rule("d", "Deny", { http: { query: { debug: "true" } } })],
    http("GET", "/", { query: { debug: ["false", "true"] } }),
    "deny",
    "d",
  ],
  [
    "http: parameters that no rule names do not matter",
    [get],
    http("GET", "/v1/x", { query: { any: ["1"] } }),
    "allow",
  ],
  [
    "http: content type wildcard",
    [rule("r", "Allow", { http: { contentTypes: ["application/*"] } })],
    http("POST", "/", { contentType: "application/json" }),
    "allow",
  ],
  [
    "http: another content type is not covered",
    [rule("r", "Allow", { http: { contentTypes: ["application/*"] } })],
    http("POST", "/", { contentType: "text/plain" }),
    "deny",
  ],
  [
    "http: no content type is not covered",
    [rule("r", "Allow", { http: { contentTypes: ["application/*"] } })],
    http("GET", "/"),
    "deny",
  ],
  ["http: a rule without a block covers a request", [everything], http("DELETE", "/x"), "allow"],
  [
    "http: RequireApproval holds",
    [get, rule("ask", "RequireApproval", { http: { methods: ["POST"] } })],
    http("POST", "/v1/pay"),
    "hold",
    "ask",
  ],
  [
    "http: a parameter named like an object's own method is looked up safely",
    [rule("r", "Allow", { http: { query: { constructor: "*" } } })],
    http("GET", "/"),
    "deny",
  ],
]);

const chat = rule("chat", "Allow", { llm: { operations: ["chat"], models: ["gpt-5*"] } });
const searchOnly = rule("search-only", "Allow", { llm: { tools: ["search", "read_*"] } });
table([
  ["llm: allows the operation and model", [chat], llm({ model: "gpt-5-mini" }), "allow", "chat"],
  ["llm: another model is not covered", [chat], llm({ model: "o9" }), "deny"],
  ["llm: another operation is not covered", [chat], llm({ operation: "responses" }), "deny"],
  [
    "llm: a list of models does not cover a request without a model",
    [rule("r", "Allow", { llm: { models: ["*"] } })],
    llm({ operation: "models", model: "" }),
    "deny",
  ],
  ["llm: Allow without tools covers any tool", [chat], llm({ tools: ["rm_rf"] }), "allow"],
  [
    "llm: Allow with tools covers listed ones",
    [searchOnly],
    llm({ tools: ["search", "read_file"] }),
    "allow",
  ],
  [
    "llm: Allow with tools does not cover another",
    [searchOnly],
    llm({ tools: ["search", "delete_file"] }),
    "deny",
  ],
  ["llm: Allow with tools covers a request without tools", [searchOnly], llm({}), "allow"],
  [
    "llm: two rules cover one tool each",
    [searchOnly, rule("d", "Allow", { llm: { tools: ["delete_file"] } })],
    llm({ tools: ["search", "delete_file"] }),
    "allow",
  ],
  [
    "llm: a tool is covered only where the rule's model is used",
    [
      chat,
      rule("t", "Allow", { llm: { models: ["o9"], tools: ["x"] } }),
      rule("m", "Allow", { llm: { models: ["gpt-5"], tools: ["y"] } }),
    ],
    llm({ model: "o9", tools: ["x"] }),
    "allow",
    "t",
  ],
  [
    "llm: a tool of another model's rule is not covered",
    [
      rule("t", "Allow", { llm: { models: ["o9"], tools: ["x"] } }),
      rule("m", "Allow", { llm: { models: ["gpt-5"], tools: ["y"] } }),
    ],
    llm({ model: "gpt-5", tools: ["x"] }),
    "deny",
  ],
  [
    "llm: Deny of a tool speaks when it is offered",
    [everything, rule("d", "Deny", { llm: { tools: ["delete_*"] } })],
    llm({ tools: ["search", "delete_file"] }),
    "deny",
    "d",
  ],
  [
    "llm: Deny of a tool leaves other requests alone",
    [everything, rule("d", "Deny", { llm: { tools: ["delete_*"] } })],
    llm({ tools: ["search"] }),
    "allow",
  ],
  [
    "llm: RequireApproval for a tool holds its requests",
    [everything, rule("ask", "RequireApproval", { llm: { tools: ["pay"] } })],
    llm({ tools: ["search", "pay"] }),
    "hold",
    "ask",
  ],
  [
    "llm: RequireApproval for a tool leaves other requests alone",
    [everything, rule("ask", "RequireApproval", { llm: { tools: ["pay"] } })],
    llm({ tools: ["search"] }),
    "allow",
  ],
  [
    "llm: a request that asks for more tokens is not covered",
    [rule("r", "Allow", { llm: { maxOutputTokens: 100 } })],
    llm({ maxOutputTokens: 101 }),
    "deny",
  ],
  [
    "llm: a request that asks for as many tokens is covered",
    [rule("r", "Allow", { llm: { maxOutputTokens: 100 } })],
    llm({ maxOutputTokens: 100 }),
    "allow",
  ],
  [
    "llm: promptMatches finds its pattern in any prompt",
    [everything, rule("d", "Deny", { llm: { promptMatches: "(?i)password" } })],
    llm({ prompts: ["hello", "my PASSWORD is"] }),
    "deny",
    "d",
  ],
  [
    "llm: promptMatches leaves other prompts alone",
    [everything, rule("d", "Deny", { llm: { promptMatches: "(?i)password" } })],
    llm({ prompts: ["hello"] }),
    "allow",
  ],
  [
    "llm: prompts that cannot be read are denied by a Deny about prompts",
    [everything, rule("d", "Deny", { llm: { promptMatches: "x" } })],
    llm({ promptsUnreadable: true }),
    "deny",
    "d",
  ],
  [
    "llm: prompts that cannot be read are held by a rule that asks about prompts",
    [everything, rule("ask", "RequireApproval", { llm: { promptMatches: "x" } })],
    llm({ promptsUnreadable: true }),
    "hold",
    "ask",
  ],
  [
    "llm: prompts that cannot be read are not covered by an Allow about prompts",
    [rule("r", "Allow", { llm: { promptMatches: "x" } })],
    llm({ promptsUnreadable: true }),
    "deny",
  ],
  [
    "llm: detect finds what its detectors find in any prompt",
    [everything, rule("d", "Deny", { llm: { detect: ["us-ssn", "email"] } })],
    llm({ prompts: ["hello", "to jane@example.com"] }),
    "deny",
    "d",
  ],
  [
    "llm: detect leaves other prompts alone",
    [everything, rule("d", "Deny", { llm: { detect: ["us-ssn", "email"] } })],
    llm({ prompts: ["hello", "jane at example.com"] }),
    "allow",
  ],
  [
    "llm: detect knows the policy's own detectors",
    [
      everything,
      rule("d", "Deny", { llm: { detect: ["order"], patterns: { order: "ORD-[0-9]{6}" } } }),
    ],
    llm({ prompts: ["about ORD-123456"] }),
    "deny",
    "d",
  ],
  [
    "llm: an Allow with detect covers what it finds alone",
    [rule("r", "Allow", { llm: { detect: ["email"] } })],
    llm({ prompts: ["hello"] }),
    "deny",
  ],
  [
    "llm: prompts that cannot be read are denied by a Deny with detect",
    [everything, rule("d", "Deny", { llm: { detect: ["email"] } })],
    llm({ promptsUnreadable: true }),
    "deny",
    "d",
  ],
  [
    "llm: a Deny of a model speaks about it in any case",
    [everything, rule("d", "Deny", { llm: { models: ["gpt-5*"] } })],
    llm({ model: "GPT-5-mini" }),
    "deny",
    "d",
  ],
  [
    "llm: an Allow of a model speaks about it in its own case alone",
    [chat],
    llm({ model: "GPT-5-mini" }),
    "deny",
  ],
  [
    "llm: a model that is not said is denied by a Deny of any model",
    [everything, rule("d", "Deny", { llm: { models: ["o9"] } })],
    llm({ operation: "batches", model: "", modelUnsaid: true }),
    "deny",
    "d",
  ],
  [
    "llm: a model that is not said is not covered by an Allow of models",
    [rule("r", "Allow", { llm: { models: ["*"] } })],
    llm({ operation: "images", model: "", modelUnsaid: true }),
    "deny",
  ],
  [
    "llm: the list of files asks no model, and a Deny of a model leaves it alone",
    [everything, rule("d", "Deny", { llm: { models: ["o9"], maxOutputTokens: 9 } })],
    llm({ operation: "files", model: "" }),
    "allow",
  ],
  [
    "llm: tools that are named elsewhere are denied by a Deny of any tool",
    [everything, rule("d", "Deny", { llm: { tools: ["rm"] } })],
    llm({ operation: "batches", toolsUnreadable: true }),
    "deny",
    "d",
  ],
  [
    "llm: tools that are named elsewhere are not covered by an Allow of tools",
    [rule("r", "Allow", { llm: { operations: ["realtime"], tools: ["*"] } })],
    llm({ operation: "realtime", toolsUnreadable: true }),
    "deny",
  ],
  [
    "llm: a session is covered by an Allow that names it",
    [rule("r", "Allow", { llm: { operations: ["realtime"], models: ["gpt-5"] } })],
    llm({ operation: "realtime" }),
    "allow",
  ],
  [
    "llm: a session is not covered by an Allow that names no operation",
    [rule("r", "Allow", { llm: { models: ["gpt-5"] } }), everything],
    llm({ operation: "realtime" }),
    "deny",
  ],
  [
    "llm: a session cannot be held to a number of tokens, so an Allow with one does not cover it",
    [rule("r", "Allow", { llm: { operations: ["realtime"], maxOutputTokens: 100 } })],
    llm({ operation: "realtime" }),
    "deny",
  ],
  [
    "llm: an http rule does not speak about it",
    [rule("r", "Allow", { http: {} })],
    llm({}),
    "deny",
  ],
  [
    "llm: an http Deny does not speak about it",
    [chat, rule("d", "Deny", { http: {} })],
    llm({}),
    "allow",
  ],
  ["llm: an llm rule does not speak about http", [chat], http("GET", "/v1/models"), "deny"],
]);

test("a request that names no output limit is sent with the smallest of the covering rules", () => {
  const rules = [
    rule("a", "Allow", { llm: { maxOutputTokens: 900 } }),
    rule("b", "Allow", { llm: { maxOutputTokens: 400 } }),
    rule("c", "Allow", { llm: { models: ["o9"], maxOutputTokens: 100 } }),
    rule("d", "Allow", {}),
  ];
  assert.equal(ask(bundleOf(rules), llm({})).maxOutputTokens, 400);
  assert.equal(ask(bundleOf(rules), llm({ maxOutputTokens: 300 })).maxOutputTokens, undefined);
  assert.equal(ask(bundleOf(rules), llm({ operation: "embeddings" })).maxOutputTokens, undefined);
});

test("a held request that names no output limit carries the approval rule's limit", () => {
  const rules = [everything, rule("ask", "RequireApproval", { llm: { maxOutputTokens: 50 } })];
  const decision = ask(bundleOf(rules), llm({}));
  assert.equal(decision.verdict, "hold");
  assert.equal(decision.maxOutputTokens, 50);
});

const weekend = "time.getDayOfWeek() == 0";
const broken = 'params[5] == "x"';
table([
  [
    "when: a rule whose condition is false does not allow",
    [rule("r", "Allow", { sql: {}, when: "sql.count > 1" })],
    sql(selectOrders),
    "deny",
    "",
  ],
  [
    "when: a rule whose condition is true allows",
    [rule("r", "Allow", { sql: {}, when: "sql.count == 1" })],
    sql(selectOrders),
    "allow",
    "r",
  ],
  [
    "when: a Deny whose condition is false does not speak",
    [everything, rule("d", "Deny", { when: weekend })],
    sql(selectOrders),
    "allow",
  ],
  [
    "when: an Allow whose condition fails does not match",
    [rule("r", "Allow", { sql: {}, when: broken })],
    sql(selectOrders),
    "deny",
    "",
  ],
  [
    "when: a Deny whose condition fails denies",
    [everything, rule("d", "Deny", { sql: {}, when: broken })],
    sql(selectOrders),
    "deny",
    "d",
  ],
  [
    "when: a rule that asks and whose condition fails denies",
    [everything, rule("ask", "RequireApproval", { sql: {}, when: broken })],
    sql(selectOrders),
    "deny",
    "ask",
  ],
  [
    "when: a condition is not evaluated when the fields did not match",
    [everything, rule("d", "Deny", { sql: { statements: ["drop"] }, when: broken })],
    sql(selectOrders),
    "allow",
  ],
  [
    "when: a Deny that surely speaks is named before one whose condition fails",
    [rule("a-broken", "Deny", { sql: {}, when: broken }), rule("b-sure", "Deny", {})],
    sql(selectOrders),
    "deny",
    "b-sure",
  ],
  [
    "when: sees the session",
    [rule("r", "Allow", { when: "session.operations < 1" })],
    sql(selectOrders),
    "deny",
  ],
  [
    "when: sees the llm facts",
    [rule("r", "Allow", { llm: {}, when: "!llm.stream" })],
    llm({}),
    "allow",
  ],
]);

test("a condition that fails is said so by its reason", () => {
  const decision = ask(
    bundleOf([everything, rule("d", "Deny", { sql: {}, when: broken })]),
    sql(selectOrders),
  );
  assert.equal(decision.reason, "ConditionFailed");
  assert.match(decision.message, /agents\/p rule d/);
});

test("every rule that asks adds its terms", () => {
  const approval = {
    approvers: [{ group: "leads" }],
    count: 2,
    holdSeconds: 30,
    validForSeconds: 60,
  };
  const rules = [
    rule("b", "RequireApproval", { sql: { statements: ["update"] }, approval }),
    rule("a", "RequireApproval", { sql: { relations: ["public.orders"] } }),
    rule("z", "RequireApproval", { sql: { statements: ["drop"] } }),
  ];
  const decision = ask(bundleOf(rules), sql(updateOrders));
  assert.deepEqual(decision.approvals, [
    {
      policy: "agents/p",
      rule: "a",
      approvers: [],
      count: 1,
      holdSeconds: 50,
      validForSeconds: 600,
    },
    { policy: "agents/p", rule: "b", ...approval },
  ]);
});

test("chains narrow permissions by what the subject says it runs", () => {
  const rules = [rule("r", "Allow", { chains: ["summarise-*"] })];
  const decideAs = (chain?: string) =>
    decide(
      prepare(bundleOf(rules)),
      chain === undefined ? subject : { ...subject, chain },
      sql(selectOrders),
      context,
    ).verdict;
  assert.equal(decideAs("summarise-invoices"), "allow");
  assert.equal(decideAs("other"), "deny");
  assert.equal(decideAs(), "deny");
});

test("chains never narrow a Deny", () => {
  const rules = [everything, rule("d", "Deny", { chains: ["only-this"] })];
  assert.equal(ask(bundleOf(rules), sql(selectOrders)).rule, "d");
});

test("an operation that was not recognised is refused although everything is allowed", () => {
  const operation = { ...sql(selectOrders), unrecognised: 'syntax error at or near "FORM"' };
  const decision = ask(bundleOf([everything]), operation);
  assert.equal(decision.verdict, "deny");
  assert.equal(decision.reason, "Unrecognised");
  assert.match(decision.message, /syntax error at or near/);
});

test("an operation that touches nothing is refused", () => {
  assert.equal(ask(bundleOf([everything]), sql()).reason, "Unrecognised");
});

test("no policy means no, and says what to do", () => {
  const decision = ask({ ...bundleOf([]), policies: [] }, sql(selectOrders));
  assert.equal(decision.reason, "NoPolicy");
  assert.match(decision.message, /agents\/invoice-agent on connection agents\/orders-db/);
});

test("messages name the access, the policy and the rule", () => {
  const none = ask(bundleOf([readOrders]), sql(selectOrders, selectCustomers));
  assert.equal(none.message, "no rule allows select on public.customers");
  assert.equal(none.reason, "NoMatchingRule");
  const denied = ask(bundleOf([everything, neverDestroy]), sql(dropOrders));
  assert.equal(denied.message, "denied by agents/p rule never-destroy: drop on public.orders");
  const own = ask(
    bundleOf([rule("d", "Deny", { message: "Use the ticket queue." })]),
    sql(dropOrders),
  );
  assert.equal(own.message, "Use the ticket queue.");
});

test("a name that an agent chose is made printable and bounded before it is repeated", () => {
  const decision = ask(
    bundleOf([readOrders]),
    sql(relation("select", `public.a\u001b[2J\n${"x".repeat(500)}`, [])),
  );
  assert.doesNotMatch(decision.message, /\p{Cc}/u);
  assert.ok(decision.message.length < 250);
});

test("Observe beside Enforce never changes the verdict, and says what it would have been", () => {
  const strict = rule("no-select", "Deny", { sql: { statements: ["select"] } }, "Observe");
  const decision = ask(bundleOf([readOrders, strict]), sql(selectOrders));
  assert.equal(decision.verdict, "allow");
  assert.equal(decision.mode, "Enforce");
  assert.equal(decision.wouldBe?.verdict, "deny");
  assert.equal(decision.wouldBe?.rule, "no-select");
  assert.equal(
    ask(
      bundleOf([readOrders, rule("x", "Deny", { sql: { statements: ["drop"] } }, "Observe")]),
      sql(selectOrders),
    ).wouldBe,
    undefined,
  );
});

test("an Observe permission beside Enforce does not let anything pass, session-basics included", () => {
  const bundle = bundleOf([rule("all", "Allow", {}, "Observe")]);
  const decision = ask(bundle, sql(selectOrders));
  assert.equal(decision.verdict, "deny");
  assert.equal(decision.wouldBe?.verdict, "allow");
  assert.equal(ask(bundle, sql(begin)).verdict, "deny");
});

test("with Observe alone what is recognised passes and says what it would have been", () => {
  const bundle = { ...bundleOf([rule("d", "Deny", {}, "Observe")]), observeOnly: true };
  const decision = ask(bundle, sql(dropOrders));
  assert.equal(decision.verdict, "allow");
  assert.equal(decision.reason, "ObserveOnly");
  assert.equal(decision.mode, "Observe");
  assert.deepEqual(decision.wouldBe, {
    verdict: "deny",
    policy: "agents/p",
    rule: "d",
    message: "denied by agents/p rule d: drop on public.orders",
  });
  assert.equal(ask(bundle, { ...sql(dropOrders), unrecognised: "cannot parse" }).verdict, "deny");
});

test("a bundle whose condition does not compile cannot be prepared", () => {
  assert.throws(
    () => prepare(bundleOf([rule("r", "Allow", { when: "no.such.name" })])),
    /agents\/p rule r cannot be used/,
  );
  assert.throws(
    () => prepare(bundleOf([rule("r", "Allow", { llm: { promptMatches: "(?=x)" } })])),
    /cannot be used/,
  );
});
