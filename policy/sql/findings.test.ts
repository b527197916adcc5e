// What detectors find in the text of a statement, however the value is spelled in it.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { createSqlDetector } from "../mask/detect.ts";
import { bundleOf, context, rule, sql, subject } from "../fixture.ts";
import { decide, prepare } from "../decide.ts";
import { DecisionMemo } from "../decision-memo.ts";
import { findIn, Findings } from "./findings.ts";
import { loadSqlGrammar } from "./grammar.ts";
import { createLiterals, type LiteralsOf } from "./literals.ts";

const card = createSqlDetector({ detector: "credit-card" });
const order = createSqlDetector({ detector: "order", pattern: "^ORD-[0-9]{6}$" });
let literalsOf: LiteralsOf;

before(async () => {
  literalsOf = createLiterals(await loadSqlGrammar());
});

const written: readonly string[] = [
  "SELECT '4111111111111111'",
  "SELECT '4111 1111 1111 1111'",
  "SELECT 4111111111111111",
  "SELECT 4111_1111_1111_1111",
  "SELECT 4.111111111111111e15",
  "SELECT 0xE9AFA2E1AF1C7 /* another */, 4111111111111111::text",
  `SELECT 0x${4111111111111111n.toString(16)}`,
  "SELECT E'\\x34111111111111111'",
  "SELECT E'\\064111111111111111'",
  "SELECT E'\\u0034111111111111111'",
  "SELECT U&'\\0034111111111111111'",
  "SELECT U&'!0034111111111111111' UESCAPE '!'",
  "SELECT $tag$4111111111111111$tag$",
  "SELECT '41111111'\n  '11111111'",
  "SELECT '41111111' || '11111111'",
  "SELECT '4111' || ('1111'::text || '1111') || 1111",
  `SELECT '{"a":"\\u0034111111111111111"}'::jsonb`,
  `SELECT '{"4\\111111111111111"}'::text[]`,
  `SELECT '\\x${Buffer.from("4111111111111111").toString("hex")}'::bytea`,
  "SELECT 1 -- 4111111111111111",
  "PREPARE p AS SELECT '4111111111111111'",
  "EXECUTE p('4111111111111111')",
  "DECLARE c CURSOR FOR SELECT '4111111111111111'",
  "SELECT 1; INSERT INTO t VALUES (U&'\\0034111111111111111')",
  "COMMENT ON TABLE t IS U&'\\0034111111111111111'",
  "NOTIFY told, E'\\x34111111111111111'",
  "DO $$ BEGIN PERFORM '4111111111111111'; END $$",
];

for (const text of written)
  test(`a card number is found in ${text}`, () => {
    assert.equal(findIn(literalsOf(text), [card]).has(card), true);
  });

test("a pattern that is anchored is held against each value by itself", () => {
  const found = (text: string): boolean => findIn(literalsOf(text), [order]).has(order);
  assert.equal(found("SELECT * FROM orders WHERE number = 'ORD-123456'"), true);
  assert.equal(found("SELECT * FROM orders WHERE number = 'no ORD-123456'"), false);
});

test("a long chain of || is joined once", () => {
  const text = `SELECT ${Array.from({ length: 100 }, (_, at) => `'part-${at}'`).join(" || ")}`;
  const joined = literalsOf(text).texts.filter((one) => one.startsWith("part-0part-1"));
  assert.equal(joined.length, 1);
});

/** Honest limits (docs/masking.md): a value that only the database puts together is not seen. */
for (const text of [
  "SELECT concat('41111111', '11111111')",
  "SELECT reverse('1111111111111114')",
  "SELECT 4111111111111110 + 1",
])
  test(`nothing is found in ${text}, which the database puts together`, () => {
    assert.deepEqual(findIn(literalsOf(text), [card]).found, undefined);
  });

test("COPY FROM STDIN cannot be looked into, COPY TO and COPY from a file can", () => {
  const unread = (text: string): string | undefined => literalsOf(text).unread;
  assert.equal(unread("COPY t FROM STDIN"), "the data of COPY FROM STDIN");
  assert.equal(
    unread("SELECT 1; COPY t (a) FROM STDIN (FORMAT binary)"),
    unread("COPY t FROM STDIN"),
  );
  assert.equal(unread("COPY t TO STDOUT"), undefined);
  assert.equal(unread("COPY t FROM '/tmp/x'"), undefined);
  assert.equal(unread("no SQL at all"), "its text");
});

const detect = { sql: { detect: ["credit-card"] } };
const denies = rule("no-cards", "Deny", detect);
const asks = rule("ask", "RequireApproval", detect);
const only = rule("only", "Allow", detect);
const anything = rule("anything", "Allow", {});

function found(count: number, unread?: string): Findings {
  return new Findings([card], new Map([[card.key, count]]), unread);
}

test("what is found is spoken about; what cannot be looked into is read against the agent each time", () => {
  const operation = sql({
    kind: "relation",
    statement: "select",
    relation: "public.t",
    columns: [],
    allColumns: false,
  });
  const verdict = (rules: (typeof denies)[], findings?: Findings): string =>
    decide(
      prepare(bundleOf(rules)),
      subject,
      findings === undefined ? operation : { ...operation, findings },
      context,
    ).verdict;
  const table: [string, (typeof denies)[], string, string, string, string][] = [
    ["Deny", [denies, anything], "deny", "allow", "deny", "deny"],
    ["RequireApproval", [asks, anything], "hold", "allow", "hold", "hold"],
    ["RequireApproval alone", [asks], "hold", "deny", "deny", "deny"],
    ["Allow", [only], "allow", "deny", "deny", "deny"],
  ];
  for (const [what, rules, hit, miss, unread, absent] of table) {
    assert.equal(verdict(rules, found(1)), hit, what);
    assert.equal(verdict(rules, found(0)), miss, what);
    assert.equal(verdict(rules, found(0, "the data of COPY FROM STDIN")), unread, what);
    assert.equal(verdict(rules, found(1, "a parameter")), hit, what);
    assert.equal(verdict(rules), absent, what);
    // Rules that came since look for what nobody looked for.
    assert.equal(verdict(rules, new Findings([], new Map())), absent, what);
  }
});

test("a decision says which detector spoke and not what it found, or what could not be looked into", () => {
  const operation = sql({
    kind: "relation",
    statement: "select",
    relation: "public.t",
    columns: [],
    allColumns: false,
  });
  const message = (findings: Findings): string =>
    decide(prepare(bundleOf([denies, anything])), subject, { ...operation, findings }, context)
      .message;
  assert.match(message(found(1)), / \(found: credit-card\)$/);
  assert.match(
    message(found(0, "the data of COPY FROM STDIN")),
    /cannot look into the data of COPY FROM STDIN\)$/,
  );
});

test("the memo of decisions never answers for another Bind where a rule looks for something", () => {
  const operation = sql({
    kind: "relation",
    statement: "select",
    relation: "public.t",
    columns: [],
    allColumns: false,
  });
  const memo = new DecisionMemo();
  const prepared = prepare(bundleOf([denies, anything]));
  const verdict = (count: number): string =>
    memo.decide(prepared, subject, { ...operation, findings: found(count) }, context).verdict;
  assert.deepEqual([verdict(0), verdict(1), verdict(0)], ["allow", "deny", "allow"]);
});
