import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bundle } from "./bundle.ts";
import { decide, prepare } from "./decide.ts";
import type { Decision } from "./decision.ts";
import { explain, formatExplanation } from "./explain.ts";
import { bundleOf, context, http, relation, rule, sql, statement, subject } from "./fixture.ts";
import { masksThatHold } from "./mask/conditional.ts";
import { marksByDetector } from "./marks.ts";
import type { Operation } from "./operation.ts";
import { mergeMasks } from "./strictness.ts";
import { checkMaskWhen, checkWhen } from "./when.ts";

const noPii = "session.marks.exists(m, m == 'pii')";

function asked(bundle: Bundle, operation: Operation, ...marks: string[]): Decision {
  const session = { ...context.session, marks };
  return decide(prepare(bundle), subject, operation, { ...context, session });
}

const email = sql(relation("select", "public.customers", ["email"]));
const orders = sql(relation("select", "public.orders", ["id"]));

test("a mark turns what was allowed into a refusal that names it", () => {
  const bundle = bundleOf([
    rule("post", "Allow", { http: {} }),
    rule("no-pii", "Deny", { http: { methods: ["POST"] }, when: noPii }),
  ]);
  assert.equal(asked(bundle, http("POST", "/notes")).verdict, "allow");
  assert.equal(asked(bundle, http("POST", "/notes"), "secret").verdict, "allow");
  assert.equal(asked(bundle, http("GET", "/notes"), "pii").verdict, "allow");
  const refused = asked(bundle, http("POST", "/notes"), "pii", "eu");
  assert.equal(refused.verdict, "deny");
  assert.equal(refused.rule, "no-pii");
  assert.deepEqual(refused.carried, ["pii", "eu"]);
  assert.match(refused.message, /\(this pod's session carries the marks pii, eu\)$/);
});

test("a mark holds, and takes a permission away that needs its absence", () => {
  const held = bundleOf([
    rule("post", "Allow", { http: {} }),
    rule("ask", "RequireApproval", { http: {}, when: noPii }),
  ]);
  assert.equal(asked(held, http("POST", "/")).verdict, "allow");
  const hold = asked(held, http("POST", "/"), "pii");
  assert.equal(hold.verdict, "hold");
  assert.deepEqual(hold.carried, ["pii"]);
  const only = bundleOf([rule("post", "Allow", { http: {}, when: `!${noPii}` })]);
  assert.equal(asked(only, http("POST", "/")).verdict, "allow");
  const none = asked(only, http("POST", "/"), "pii");
  assert.equal(none.reason, "NoMatchingRule");
  assert.match(none.message, /carries the mark pii/);
});

test("a refusal that no mark has to do with says nothing of them", () => {
  const bundle = bundleOf([
    rule("get", "Allow", { http: { methods: ["GET"] } }),
    rule("never", "Deny", { http: { methods: ["DELETE"] } }),
    rule("no-pii", "Deny", { http: { methods: ["POST"] }, when: noPii }),
  ]);
  const refused = asked(bundle, http("DELETE", "/"), "pii");
  assert.equal(refused.rule, "never");
  assert.equal(refused.carried, undefined);
  assert.doesNotMatch(refused.message, /mark/);
});

test("a rule puts its marks wherever it speaks about any part of what passes, whichever rule allowed it", () => {
  const bundle = bundleOf([
    rule("all", "Allow", { sql: {} }),
    rule("mail", "Allow", { sql: { columns: ["public.customers.email"] }, marks: ["pii"] }),
  ]);
  const pii = { mark: "pii", policy: "agents/p", rule: "mail" };
  assert.deepEqual(asked(bundle, email).marks, [pii]);
  const whole = sql(relation("select", "public.customers", "*"));
  assert.deepEqual(asked(bundle, whole).marks, [pii]);
  assert.equal(asked(bundle, orders).marks, undefined);
  const both = sql(
    relation("select", "public.customers", ["id", "email"]),
    relation("select", "public.orders", ["id"]),
  );
  assert.deepEqual(asked(bundle, both).marks, [pii]);
});

test("a rule's marks hang on its condition, and one that cannot be evaluated puts them", () => {
  const marked = (when: string) =>
    asked(
      bundleOf([
        rule("all", "Allow", { sql: {} }),
        rule("m", "Allow", { sql: {}, when, marks: ["pii"] }),
      ]),
      orders,
    ).marks?.map(({ mark }) => mark);
  assert.deepEqual(marked("sql.count == 1"), ["pii"]);
  assert.equal(marked("sql.count == 2"), undefined);
  assert.deepEqual(marked("params[3] == 'x'"), ["pii"]);
});

test("what is refused, and what an Observe policy says, puts no marks; what is held does", () => {
  const terms = { approvers: [], count: 1, holdSeconds: 1, validForSeconds: 60 };
  assert.equal(asked(bundleOf([rule("no", "Deny", { sql: {} })]), orders).marks, undefined);
  assert.equal(
    asked(
      bundleOf([
        rule("all", "Allow", { sql: {} }),
        rule("seen", "Allow", { sql: {}, marks: ["pii"] }, "Observe"),
      ]),
      orders,
    ).marks,
    undefined,
  );
  const held = asked(
    bundleOf([rule("ask", "RequireApproval", { sql: {}, approval: terms, marks: ["pii"] })]),
    orders,
  );
  assert.equal(held.verdict, "hold");
  assert.deepEqual(held.marks, [{ mark: "pii", policy: "agents/p", rule: "ask" }]);
});

test("a Connection's marks come with everything that may read, and not with what only keeps a session open", () => {
  const bundle = { ...bundleOf([rule("all", "Allow", { sql: {} })]), marks: ["pii"] };
  assert.deepEqual(asked(bundle, orders).marks, [{ mark: "pii" }]);
  const begin = sql(statement("transaction", { basic: true }));
  assert.equal(asked(bundle, begin).marks, undefined);
});

test("marks of several masks on one column are everybody's, whatever order they come in", () => {
  const mask = (policy: string, mark: string) => ({
    column: "public.c.email",
    transform: { kind: "redact" as const },
    policy,
    marks: [{ mark, policy }],
  });
  const [a, b] = [mask("agents/a", "pii"), mask("agents/b", "eu")];
  assert.deepEqual(mergeMasks([a, b]), mergeMasks([b, a]));
  assert.deepEqual(mergeMasks([a, b]).marks, [
    { mark: "eu", policy: "agents/b" },
    { mark: "pii", policy: "agents/a" },
  ]);
  assert.deepEqual(mergeMasks([mergeMasks([a, b]), a]), mergeMasks([a, b]));
});

test("findings put what any mask of their detector puts", () => {
  const mask = (detector: string, ...marks: string[]) => ({
    detector,
    transform: { kind: "redact" as const },
    policy: "agents/p",
    ...(marks.length > 0 && { marks: marks.map((mark) => ({ mark, policy: "agents/p" })) }),
  });
  assert.equal(marksByDetector([mask("email"), mask("ip")]), undefined);
  const found = marksByDetector([mask("email", "pii"), mask("email", "eu"), mask("ip")]);
  assert.deepEqual(
    found?.get("email")?.map(({ mark, detector }) => [mark, detector]),
    [
      ["pii", "email"],
      ["eu", "email"],
    ],
  );
  assert.equal(found?.has("ip"), false);
});

test("a mask with a condition holds while it is true, and where it cannot be evaluated; the list is one object meanwhile", () => {
  const mask = (detector: string, when?: string) => ({
    detector,
    transform: { kind: "redact" as const },
    policy: "agents/p",
    ...(when !== undefined && { when }),
  });
  const masks = [mask("email", noPii), mask("ip"), mask("jwt", "session.marks[0] == 'x'")];
  const scope = (...marks: string[]) => ({
    subject,
    connection: bundleOf([]).connection,
    session: { ...context.session, marks },
    time: context.time,
  });
  const names = (...marks: string[]) =>
    masksThatHold(masks, () => scope(...marks)).map(({ detector }) => detector);
  assert.deepEqual(names(), ["ip", "jwt"]);
  assert.deepEqual(names("pii"), ["email", "ip"]);
  assert.deepEqual(names("x", "pii"), ["email", "ip", "jwt"]);
  assert.equal(
    masksThatHold(masks, () => scope("pii")),
    masksThatHold(masks, () => scope("pii")),
  );
  const always = [mask("ip")];
  const never = (): never => assert.fail("asked for a scope that nothing needs");
  assert.equal(masksThatHold(always, never), always);
});

test("conditions see session.marks as a list of texts, and masks nothing of an operation", () => {
  assert.equal(checkWhen(noPii, "http"), undefined);
  assert.equal(checkWhen("'pii' in session.marks", undefined), undefined);
  assert.match(checkWhen("session.marks == 'pii'", "http") ?? "", /not a valid condition/);
  assert.match(checkWhen("session.mark.exists(m, m == 'pii')", "http") ?? "", /field mark/);
  assert.equal(checkMaskWhen(noPii), undefined);
  assert.match(checkMaskWhen("operation.kind == 'http'") ?? "", /operation, which a masking entry/);
  assert.match(checkMaskWhen("http.method == 'POST'") ?? "", /uses http/);
});

test("explain says which marks the session is taken to carry, and which the operation would put", () => {
  const bundle = {
    ...bundleOf([
      rule("all", "Allow", { sql: {} }),
      rule("mail", "Allow", { sql: { columns: ["public.customers.email"] }, marks: ["pii"] }),
      rule("never", "Deny", { sql: { relations: ["public.notes"] }, when: noPii }),
    ]),
    columnMasks: [
      {
        column: "public.customers.email",
        transform: { kind: "redact" as const },
        policy: "agents/p",
        marks: [{ mark: "contact", policy: "agents/p" }],
      },
    ],
  };
  const told = (operation: Operation, ...marks: string[]) =>
    formatExplanation(
      explain(prepare(bundle), subject, operation, {
        ...context,
        session: { ...context.session, marks },
      }),
    );
  const read = told(email);
  assert.match(read, /mark the session pii \(agents\/p rule mail\)/);
  assert.match(read, /public\.customers\.email: redact \(agents\/p\), marks the session contact/);
  assert.doesNotMatch(read, /session {5}carries/);
  const refused = told(sql(relation("insert", "public.notes", ["text"])), "pii");
  assert.match(refused, /^DENY/);
  assert.match(refused, /session {5}carries pii/);
});

test("explain lists what a request is masked by, and when, and what comes back", () => {
  const policy = "agents/p";
  const bundle = {
    ...bundleOf([rule("post", "Allow", { http: {} })]),
    requestMasks: [
      { detector: "email", transform: { kind: "restore" as const, detector: "email" }, policy },
      { detector: "ip", transform: { kind: "redact" as const }, policy, when: noPii },
    ],
  };
  const told = formatExplanation(
    explain(prepare(bundle), subject, http("POST", "/notes"), context),
  );
  assert.match(told, /mask detected email in the request: a token, turned back in the answer/);
  assert.match(told, /mask detected ip in the request when session\.marks\.exists.*: redact/);
});
