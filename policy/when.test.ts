import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { checkWhen, compileWhen } from "./when.ts";
import { llm as llmOperation } from "./fixture.ts";
import type { RuleBlock, WhenScope } from "./when.ts";

const scope: WhenScope = {
  subject: { namespace: "agents", serviceAccount: "invoice-agent", pod: "invoice-1" },
  connection: { namespace: "agents", name: "orders-db", protocol: "postgres" },
  operation: { kind: "sql", summary: "UPDATE orders SET paid = true WHERE id = $1" },
  session: { id: "01J", operations: 7, marks: [] },
  params: ["42", null],
  time: new Date("2026-11-20T10:00:00Z"),
};

const sql = {
  statements: ["update"] as const,
  relationsRead: [],
  relationsWritten: ["public.orders"],
  columns: ["public.orders.id"],
  functions: [],
  hasWhere: true,
  count: 1,
};

const http = {
  method: "POST",
  host: "api.example.com",
  path: "/v1/orders",
  query: { tag: ["a", "b"] },
  contentType: "application/json",
};

const llm = llmOperation({
  tools: ["search", "pay"],
  toolsOffered: ["search", "pay"],
  toolsCalled: ["search"],
  prompts: ["be brief", "please pay invoice 7"],
  messages: [
    { role: "system", text: "be brief" },
    { role: "user", text: "please pay invoice 7" },
  ],
  attachments: [{ kind: "image", mediaType: "image/png", source: "inline" }],
}).facts;

const truths: readonly [string, RuleBlock | undefined, boolean][] = [
  ["sql.hasWhere && sql.count == 1", "sql", true],
  ["'public.orders' in sql.relationsWritten", "sql", true],
  ["subject.namespace == 'agents' && connection.namespace == 'agents'", "sql", true],
  ["subject.chain == ''", undefined, true],
  ["session.operations > 10", undefined, false],
  ["params[0] == '42' && params.size() == 2", undefined, true],
  ["time.getHours() == 10 && time > timestamp('2026-01-01T00:00:00Z')", undefined, true],
  ["http.query['tag'].exists(t, t == 'b') && !('x' in http.query)", "http", true],
  ["llm.prompts.exists(p, ['pay', 'refund'].exists(w, p.contains(w)))", "llm", true],
  ["llm.prompts.exists(p, p.matches('(?i)INVOICE \\\\d+'))", "llm", true],
  ["llm.messages.exists(m, m.role == 'user' && m.text.contains('invoice'))", "llm", true],
  ["llm.messages.exists(m, m.role == 'system' && m.text.contains('invoice'))", "llm", false],
  ["llm.attachments.all(a, a.kind == 'image' && a.source == 'inline')", "llm", true],
  [
    "'search' in llm.toolsCalled && !('pay' in llm.toolsCalled) && 'pay' in llm.toolsOffered",
    "llm",
    true,
  ],
  [
    "llm.user == '' && llm.responseFormat == '' && !llm.reasoning && llm.toolResults.size() == 0",
    "llm",
    true,
  ],
  ["has(llm.maxOutputTokens) && llm.maxOutputTokens > 100", "llm", false],
];

for (const [source, block, expected] of truths) {
  test(`the condition ${source} is accepted and gives ${expected}`, () => {
    assert.equal(checkWhen(source, block), undefined);
    assert.equal(compileWhen(source).evaluate({ ...scope, sql, http, llm }), expected);
  });
}

const errors: readonly [string, RuleBlock | undefined, RegExp][] = [
  ["sql.hasWhere", "http", /only a rule with the block sql can see/],
  ["sql.hasWhere", undefined, /only a rule with the block sql can see/],
  [
    "user == 'x'",
    "sql",
    /unknown name user: it can see subject, connection, operation, session, params, time, sql/,
  ],
  ["sql.tables.size() > 0", "sql", /field tables, which does not exist/],
  ["sql.count", "sql", /gives int, not true or false/],
  ["sql.count == 'one'", "sql", /no such overload/],
  ["sql.hasWhere &&", "sql", /cannot be read/],
  ["subject.pod.matches('(a')", "sql", /no RE2 pattern/],
  ["subject.pod.matches('(a)\\\\1')", "sql", /no RE2 pattern/],
  ["subject.pod.matches(subject.chain)", "sql", /needs its pattern written out/],
  ["dyn(subject).x == 1", "sql", /function dyn is not available/],
  ["cel.bind(x, 'a', x + x) == 'aa'", "sql", /bind is not available/],
  ["subject.pod.split('').size() > 1", "sql", /split is not available/],
  ["sql.columns.exists(a, sql.columns.exists(b, a == b))", "sql", /could run too long/],
  [
    "[1,2,3,4,5,6,7].all(a, [1,2,3,4,5,6,7].all(b, [1,2,3,4,5,6,7].all(c, a + b + c > 0)))",
    "sql",
    /would run 343 times and may 256 times/,
  ],
  [`${"subject.pod == 'x' || ".repeat(200)}true`, "sql", /cannot be read/],
];

for (const [source, block, expected] of errors) {
  test(`the condition ${source.slice(0, 60)} of a rule with block ${block} is refused with ${expected}`, () => {
    assert.match(checkWhen(source, block) ?? "accepted", expected);
  });
}

test("a pattern that makes JavaScript's RegExp run for ages is answered at once", () => {
  const condition = compileWhen("llm.prompts.exists(p, p.matches('^(a+)+$'))");
  const started = performance.now();
  assert.equal(
    condition.evaluate({ ...scope, llm: { ...llm, prompts: [`${"a".repeat(5000)}b`] } }),
    false,
  );
  assert.ok(performance.now() - started < 2000);
});

test("lists written out may be nested as long as they are short", () => {
  assert.equal(
    checkWhen("['a','b'].exists(x, ['c','d'].exists(y, sql.columns.exists(c, c == x + y)))", "sql"),
    undefined,
  );
});

test("a fact that is not known makes the condition fail instead of giving a wrong answer", () => {
  const unknownFacts = { ...scope, llm: { ...llm, promptsUnreadable: true as const } };
  assert.throws(() => compileWhen("llm.prompts.size() == 0").evaluate(unknownFacts));
  assert.throws(() => compileWhen("llm.maxOutputTokens < 100").evaluate(unknownFacts));
  assert.throws(() => compileWhen("params[1] != 'secret'").evaluate(scope));
  assert.throws(() => compileWhen("params[9] != 'secret'").evaluate(scope));
  assert.throws(() => compileWhen("sql.hasWhere").evaluate(scope));
});

test("a source that is no condition is not compiled", () => {
  assert.throws(() => compileWhen("sql.count"), /not true or false/);
  assert.throws(() => compileWhen("nobody == 1"), /unknown name nobody/);
});

test("checking never throws, whatever the text", () => {
  const pieces = fc.constantFrom(
    "sql",
    ".",
    "hasWhere",
    "(",
    ")",
    "[",
    "]",
    "&&",
    "'",
    '"',
    "exists",
    "matches",
    "x",
    "1",
    "?",
    ":",
    "{",
    "}",
    "\\",
    "__proto__",
    "constructor",
    "\u0000",
    "é",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(pieces).map((parts) => parts.join("")),
      ),
      (source) => {
        const answer = checkWhen(source, "sql");
        assert.ok(answer === undefined || answer.startsWith("when "));
      },
    ),
  );
});
