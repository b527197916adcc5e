// What PostgreSQL's grammar here cannot parse passes where a rule permits `unrecognised` by name, and only where nothing else could have a say in it.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bundle, BundleRule } from "./bundle.ts";
import { unreachableRules } from "./conflicts.ts";
import { decide, prepare } from "./decide.ts";
import { explain, formatExplanation } from "./explain.ts";
import { bundleOf, context, rule, sql, statement, subject } from "./fixture.ts";
import type { SqlOperation } from "./operation.ts";

const text: SqlOperation = {
  ...sql({ ...statement("unrecognised"), opaque: true }),
  unrecognised: 'syntax error at or near "MATCH"',
  unparsed: "",
};
const lets = rule("newer", "Allow", { sql: { statements: ["select", "unrecognised"] } });
const says = (
  rules: readonly BundleRule[],
  changes: Partial<Bundle> = {},
  operation = text,
  marks: readonly string[] = [],
) =>
  decide(prepare({ ...bundleOf(rules), ...changes }), subject, operation, {
    ...context,
    session: { ...context.session, marks },
  });

test("passes by a rule that names it, and the decision says which", () => {
  const { verdict, rule: name } = says([lets]);
  assert.deepEqual([verdict, name], ["allow", "newer"]);
});

test("is held by a RequireApproval that names it", () => {
  const asks = rule("ask", "RequireApproval", { sql: { statements: ["unrecognised"] } });
  assert.equal(says([asks]).verdict, "hold");
});

for (const [what, other] of [
  ["without a block", rule("x", "Allow", {})],
  ["with any function", rule("x", "Allow", { sql: { functions: ["*"] } })],
  ["with any relation", rule("x", "Allow", { sql: { relations: ["*"] } })],
  [
    "with every other kind",
    rule("x", "Allow", { sql: { statements: ["select", "do", "call", "other", "utility"] } }),
  ],
  [
    "that names it beside relations",
    rule("x", "Allow", { sql: { statements: ["select", "unrecognised"], relations: ["*"] } }),
  ],
  ["that only observes", { ...lets, mode: "Observe" } as const],
  ["that only restricts", { ...lets, action: "RequireApproval", restricts: true } as const],
  ["with a condition on what nobody knows", { ...lets, when: "!sql.hasWhere" }],
  ["with a condition that is false", { ...lets, when: "time.getFullYear() == 1999" }],
] as const)
  test(`does not pass by a rule ${what}`, () => {
    assert.equal(
      says([other, rule("read", "Allow", { sql: { statements: ["select"] } })]).verdict,
      "deny",
    );
  });

test("a condition on other things is asked", () => {
  assert.equal(says([{ ...lets, when: "session.operations >= 0" }]).verdict, "allow");
});

for (const [what, other] of [
  ["about relations", rule("x", "Deny", { sql: { relations: ["public.other"] } })],
  ["about a kind", rule("x", "Deny", { sql: { statements: ["drop"] } })],
  ["about functions", rule("x", "Deny", { sql: { functions: ["public.f"] } })],
  ["of a condition that is false", rule("x", "Deny", { sql: {}, when: "false" })],
  [
    "about marks that are not there",
    rule("x", "Deny", { sql: {}, when: "session.marks.exists(m, m == 'pii')" }),
  ],
  ["without a block", rule("x", "Deny", {})],
] as const)
  test(`a Deny ${what} denies it, and a RequireApproval asks`, () => {
    assert.deepEqual([says([lets, other]).verdict, says([lets, other]).rule], ["deny", "x"]);
    assert.equal(says([lets, { ...other, action: "RequireApproval" }]).verdict, "hold");
  });

test("a Deny about another protocol has nothing to say", () => {
  assert.equal(says([lets, rule("x", "Deny", { http: {} })]).verdict, "allow");
});

const columnMasks = [
  { column: "public.a.b", transform: { kind: "redact" }, policy: "agents/p" },
] as const;
const detectMasks = [
  { detector: "email", transform: { kind: "redact" }, policy: "agents/p" },
] as const;
for (const masks of [{ columnMasks }, { detectMasks }])
  test(`never beside masks, and it is said why (${Object.keys(masks).join()})`, () => {
    const { verdict, reason, message } = says([lets], masks);
    assert.deepEqual([verdict, reason], ["deny", "MaskNotProvable"]);
    assert.match(message, /has masks.*cannot parse it \(syntax error at or near "MATCH"\)/);
  });

test("never where the text may change the session, and it is said why", () => {
  const { reason, message } = says([lets], {}, { ...text, unparsed: "it is two" });
  assert.equal(reason, "Unrecognised");
  assert.match(message, /syntax error at or near "MATCH"; no rule lets it pass, because it is two/);
});

test("never what is not understood for another reason than the grammar", () => {
  const { unparsed: _, ...other } = text;
  assert.equal(says([lets], {}, other).reason, "Unrecognised");
});

test("never where every policy only observes", () => {
  assert.equal(says([{ ...lets, mode: "Observe" }], { observeOnly: true }).reason, "Unrecognised");
});

test("as before where no rule names it", () => {
  const { reason, message } = says(
    [rule("any", "Allow", {})],
    {},
    { ...text, unparsed: "it is two" },
  );
  assert.equal(reason, "Unrecognised");
  assert.match(message, /understood: syntax error at or near "MATCH"$/);
});

test("naming it makes no session writable", () => {
  assert.equal(prepare(bundleOf([lets])).readOnly, true);
});

test("puts the marks of every rule that could speak about it", () => {
  const marking = rule("m", "Allow", { sql: { relations: ["public.a"] }, marks: ["pii"] });
  assert.deepEqual(
    says([lets, marking]).marks?.map(({ mark }) => mark),
    ["pii"],
  );
});

test("explain says what spoke, and what would have to name it", () => {
  const explained = (rules: readonly BundleRule[]) =>
    formatExplanation(explain(prepare(bundleOf(rules)), subject, text, context));
  assert.match(
    explained([lets]),
    /ALLOW[^]*unrecognised, a text that cannot be parsed here[^]*covered by agents\/p rule newer/,
  );
  const select = rule("x", "Allow", {});
  assert.match(
    explained([lets, rule("never", "Deny", { sql: { statements: ["drop"] } }), select]),
    /denied by agents\/p rule never/,
  );
  assert.match(explained([select]), /not by agents\/p rule x: .*statements/);
});

test("check says that a Deny of the policy leaves nothing of a rule for it alone", () => {
  const alone = { name: "newer", action: "Allow", sql: { statements: ["unrecognised"] } } as const;
  const never = {
    name: "never",
    action: "Deny",
    sql: { statements: ["drop"] },
    when: "false",
  } as const;
  assert.deepEqual(
    unreachableRules([alone, never]).map(({ index, by }) => [index, by]),
    [[0, "never"]],
  );
  assert.deepEqual(unreachableRules([{ ...alone, sql: lets.sql ?? {} }, never]), []);
  assert.deepEqual(unreachableRules([alone, { name: "never", action: "Deny", http: {} }]), []);
});
