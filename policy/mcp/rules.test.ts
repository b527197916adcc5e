import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Bundle, BundleRule, McpMatch, RuleAction } from "../bundle.ts";
import { neverMatches, unreachableRules } from "../conflicts.ts";
import { decide, prepare } from "../decide.ts";
import type { Decision } from "../decision.ts";
import { explain } from "../explain.ts";
import { bundleOf, context, rule, subject } from "../fixture.ts";
import type { JsonObject, McpAccess, McpOperation } from "../operation.ts";
import { checkWhen } from "../when.ts";
import { isBasic } from "./methods.ts";
import { mayUse } from "./listing.ts";
import { operationOf } from "./recognise.ts";

const http = {
  facts: {
    method: "POST",
    host: "tools",
    path: "/mcp",
    query: {},
    contentType: "application/json",
  },
};

function of(method: string, more: Partial<McpAccess> = {}): McpOperation {
  const access: McpAccess = {
    kind: "mcp",
    method,
    ...more,
    ...(isBasic(method) && { basic: true }),
  };
  return operationOf(http, [access], "2025-11-25");
}

const call = (tool: string, args: JsonObject = {}): McpOperation =>
  of("tools/call", { tool, arguments: args });

const allow = (mcp: McpMatch, more: Partial<BundleRule> = {}): BundleRule =>
  rule("allow", "Allow", { mcp, ...more });
const deny = (mcp: McpMatch, more: Partial<BundleRule> = {}): BundleRule =>
  rule("deny", "Deny", { mcp, ...more });
const person = (mcp: McpMatch): BundleRule => rule("person", "RequireApproval", { mcp });

function mcpBundle(...rules: readonly BundleRule[]): Bundle {
  return {
    ...bundleOf(rules),
    connection: { namespace: "agents", name: "tools", protocol: "mcp" },
  };
}

function ask(operation: McpOperation, ...rules: readonly BundleRule[]): Decision {
  return decide(prepare(mcpBundle(...rules)), subject, operation, context);
}

const verdict = (operation: McpOperation, ...rules: readonly BundleRule[]): string =>
  ask(operation, ...rules).verdict;

describe("rules with an mcp block", () => {
  test("allow the tools that they list, and nothing else", () => {
    const search = allow({ tools: ["search", "read_*"] });
    assert.equal(verdict(call("search"), search), "allow");
    assert.equal(verdict(call("read_file"), search), "allow");
    assert.equal(verdict(call("delete"), search), "deny");
    assert.equal(verdict(of("resources/read", { resource: "file:///a" }), search), "deny");
    assert.equal(verdict(of("tasks/get"), search), "deny");
    assert.match(ask(call("delete"), search).message, /no rule allows tools\/call delete/);
  });

  test("what a session lives on comes with any permission, until a Deny names it", () => {
    const search = allow({ tools: ["search"] });
    for (const method of [
      "initialize",
      "ping",
      "tools/list",
      "stream/open",
      "session/end",
      "server/discover",
    ])
      assert.equal(ask(of(method), search).reason, "SessionBasics", method);
    assert.equal(verdict(of("initialize")), "deny");
    assert.equal(verdict(of("stream/open"), search, deny({ methods: ["stream/*"] })), "deny");
  });

  test("what the server asks of the agent is allowed by the name of its method alone", () => {
    const sampling = of("sampling/createMessage", { fromServer: true });
    assert.equal(verdict(sampling, allow({})), "deny");
    assert.equal(verdict(sampling, rule("all", "Allow", {})), "deny");
    assert.equal(verdict(sampling, allow({ methods: ["sampling/createMessage"] })), "allow");
    assert.equal(verdict(sampling, allow({ methods: ["*"] })), "allow");
    assert.equal(
      verdict(sampling, allow({ methods: ["*"] }), deny({ methods: ["sampling/*"] })),
      "deny",
    );
    assert.match(ask(sampling, allow({})).message, /the server's request sampling\/createMessage/);
  });

  test("a tool that changed is used where a rule names that, and no other", () => {
    const changed: McpAccess = {
      kind: "mcp",
      method: "tools/changed",
      tool: "search",
      arguments: {},
    };
    const operation = operationOf(http, [...call("search").accesses, changed], "2025-11-25");
    assert.equal(verdict(operation, allow({ tools: ["search"] })), "deny");
    assert.equal(verdict(operation, rule("any", "Allow", {})), "deny");
    assert.equal(verdict(operation, person({ tools: ["search"] })), "deny");
    const named = person({ methods: ["tools/changed"] });
    assert.equal(verdict(operation, allow({ tools: ["search"] }), named), "hold");
    assert.equal(verdict(call("search"), allow({ tools: ["search"] }), named), "allow");
  });

  test("resources and prompts are matched by URI and by name", () => {
    const rules = [allow({ resources: ["file:///data/*"] }), allow({ prompts: ["review"] })];
    assert.equal(verdict(of("resources/read", { resource: "file:///data/a" }), ...rules), "allow");
    assert.equal(verdict(of("resources/read", { resource: "file:///etc/a" }), ...rules), "deny");
    assert.equal(
      verdict(of("prompts/get", { prompt: "review", arguments: {} }), ...rules),
      "allow",
    );
    assert.equal(verdict(of("prompts/get", { prompt: "other", arguments: {} }), ...rules), "deny");
  });

  test("a rule that asks a person holds the call, even where another allows it", () => {
    assert.equal(verdict(call("refund"), allow({}), person({ tools: ["refund"] })), "hold");
    assert.equal(verdict(call("search"), allow({}), person({ tools: ["refund"] })), "allow");
    assert.equal(verdict(of("initialize"), person({})), "allow");
  });

  test("a rule with the block of another protocol says nothing here, one without any does", () => {
    assert.equal(verdict(call("search"), rule("http", "Allow", { http: {} })), "deny");
    assert.equal(verdict(call("search"), rule("any", "Allow", {})), "allow");
  });
});

describe("arguments", () => {
  const inData = { path: "/data/[a-z/]*" };
  const cases: readonly [
    string,
    JsonObject,
    Record<string, string>,
    "covers" | "touches" | "neither" | "both",
  ][] = [
    ["a text that matches whole", { path: "/data/a" }, inData, "both"],
    ["a text that matches in part", { path: "/data/a; rm" }, inData, "neither"],
    ["an absent argument", {}, inData, "neither"],
    ["a list, each of whose elements matches", { path: ["/data/a", "/data/b"] }, inData, "both"],
    ["a list, of which one matches", { path: ["/etc", "/data/b"] }, inData, "touches"],
    ["an empty list", { path: [] }, inData, "neither"],
    ["an object where a text is expected", { path: { a: 1 } }, inData, "touches"],
    ["a name in another case beside it", { path: "/data/a", Path: "/etc" }, inData, "touches"],
    ["a name in another case alone", { PATH: "/data/a" }, inData, "touches"],
    ["a deep one", { a: { b: "x" } }, { "a.b": "x" }, "both"],
    ["a deep one in a list", { a: [{ b: "x" }, { b: "y" }] }, { "a.b": "x|y" }, "both"],
    ["a text where an object is expected", { a: "x" }, { "a.b": "x" }, "neither"],
    ["a number", { n: 12 }, { n: "[0-9]{1,2}" }, "both"],
    ["a number written otherwise", { n: 1e1 }, { n: "10" }, "both"],
    ["a number that readers round differently", { n: 1e300 }, { n: ".*" }, "touches"],
    ["true and null", { a: true, b: null }, { a: "true", b: "null" }, "both"],
    ["a member that every object inherits", {}, { constructor: ".*" }, "neither"],
  ];
  for (const [what, given, wanted, expected] of cases)
    test(`${what}: an Allow covers what matches for sure, a Deny speaks where it could`, () => {
      const mcp = { tools: ["t"], arguments: wanted };
      const covers = verdict(call("t", given), allow(mcp)) === "allow";
      const touches = verdict(call("t", given), allow({}), deny(mcp)) === "deny";
      const both = {
        covers: [true, false],
        touches: [false, true],
        neither: [false, false],
        both: [true, true],
      };
      assert.deepEqual([covers, touches], both[expected]);
    });

  test("of a message that has none are not matched by a rule that names some", () => {
    const mcp = { arguments: { path: ".*" } };
    assert.equal(verdict(of("resources/read", { resource: "file:///a" }), allow(mcp)), "deny");
  });

  test("of a call that masks changed count as they were and as they are", () => {
    const before: McpAccess = {
      kind: "mcp",
      method: "tools/call",
      tool: "t",
      arguments: { to: "ann@example.com" },
    };
    const after = { ...before, arguments: { to: "[redacted]" } };
    const changed = operationOf(http, [after, before], "2025-11-25");
    const onlyMasked = allow({ tools: ["t"], arguments: { to: "\\[redacted\\]" } });
    assert.equal(verdict(changed, onlyMasked), "deny");
    assert.equal(
      verdict(changed, onlyMasked, allow({ arguments: { to: ".*@example\\.com" } })),
      "allow",
    );
    assert.equal(verdict(changed, allow({}), deny({ arguments: { to: "ann@.*" } })), "deny");
  });
});

describe("conditions see the facts of a message", () => {
  const when = (source: string, operation: McpOperation): string =>
    verdict(operation, allow({}, { when: source }));

  test("method, tool, arguments at any depth, version", () => {
    const operation = call("pay", { amount: 50, to: { iban: "x" }, tags: ["a"] });
    assert.equal(when("mcp.arguments.amount <= 100 && mcp.tool == 'pay'", operation), "allow");
    assert.equal(when("mcp.arguments.amount > 100", operation), "deny");
    assert.equal(
      when("mcp.arguments.to.iban == 'x' && mcp.arguments.tags.exists(t, t == 'a')", operation),
      "allow",
    );
    assert.equal(when("mcp.version == '2025-11-25' && !mcp.fromServer", operation), "allow");
    assert.equal(when("mcp.arguments.missing == 1", operation), "deny");
    assert.equal(
      ask(operation, allow({}), deny({}, { when: "mcp.arguments.missing == 1" })).reason,
      "ConditionFailed",
    );
  });

  test("and are checked at admission", () => {
    assert.equal(checkWhen("mcp.tool.startsWith('a')", "mcp"), undefined);
    assert.match(checkWhen("mcp.nothing == 1", "mcp") ?? "", /the field nothing/);
    assert.match(checkWhen("mcp.tool == 'a'", "http") ?? "", /only a rule with the block mcp/);
  });
});

describe("lists show what could be used", () => {
  const seen = (name: string, ...rules: readonly BundleRule[]): boolean =>
    mayUse(prepare(mcpBundle(...rules)), undefined, { method: "tools/call", name });
  const template = (name: string, ...rules: readonly BundleRule[]): boolean =>
    mayUse(prepare(mcpBundle(...rules)), undefined, {
      method: "resources/read",
      name,
      isTemplate: true,
    });

  test("tools that a rule allows or holds, whatever it asks of their arguments", () => {
    assert.ok(seen("search", allow({ tools: ["search"], arguments: { q: "a" } })));
    assert.ok(seen("refund", person({ tools: ["refund"] })));
    assert.ok(seen("search", allow({ tools: ["search"] }, { when: "mcp.arguments.q == 'a'" })));
    assert.ok(!seen("delete", allow({ tools: ["search"] })));
    assert.ok(!seen("delete", allow({ resources: ["*"] })));
    assert.ok(!seen("search"));
  });

  test("not those that a Deny takes away for sure", () => {
    assert.ok(!seen("search", allow({}), deny({ tools: ["s*"] })));
    assert.ok(seen("search", allow({}), deny({ tools: ["s*"], arguments: { q: "a" } })));
    assert.ok(
      seen("search", allow({}), deny({ tools: ["s*"] }, { when: "mcp.arguments.q == 'a'" })),
    );
  });

  test("not those of a chain that the agent does not claim", () => {
    const chained = allow({}, { chains: ["nightly"] });
    assert.ok(!seen("search", chained));
    assert.ok(
      mayUse(prepare(mcpBundle(chained)), "nightly", { method: "tools/call", name: "search" }),
    );
  });

  test("templates of which one resource could be read", () => {
    assert.ok(template("file:///data/{name}", allow({ resources: ["file:///data/a"] })));
    assert.ok(template("file:///{+path}", allow({ resources: ["file:///data/*"] })));
    assert.ok(!template("db://{table}", allow({ resources: ["file:///*"] })));
    assert.ok(!template("file:///data/{name}", allow({}), deny({ resources: ["file:///*"] })));
    assert.ok(template("file:///data/{name}", allow({}), deny({ resources: ["file:///data/a"] })));
  });
});

describe("explain and the checks of rules", () => {
  test("explain names the field that kept a rule from speaking", () => {
    const because = (operation: McpOperation, mcp: McpMatch): string => {
      const { accesses } = explain(prepare(mcpBundle(allow(mcp))), subject, operation, context);
      return accesses[0]?.nearly[0]?.because ?? "";
    };
    assert.equal(because(call("delete"), { tools: ["search"] }), "tools does not list delete");
    assert.equal(because(call("delete"), { resources: ["a"] }), "it is about resources");
    assert.equal(
      because(call("delete"), { methods: ["tools/list"] }),
      "methods does not list tools/call",
    );
    assert.equal(
      because(call("a", { p: "x" }), { tools: ["a"], arguments: { p: "y" } }),
      "arguments does not match what the call brings",
    );
    assert.match(because(of("roots/list", { fromServer: true }), {}), /allowed by name alone/);
  });

  test("fields that contradict each other can never match", () => {
    const dead = (mcp: McpMatch, action: RuleAction = "Allow") =>
      neverMatches({ name: "r", action, mcp }).map(({ path }) => path.join("."));
    assert.deepEqual(dead({ methods: ["resources/read"], tools: ["a"] }), ["mcp.tools"]);
    assert.deepEqual(dead({ methods: ["tools/*"], tools: ["a"], arguments: { a: "b" } }), []);
    assert.deepEqual(dead({ methods: ["ping"], arguments: { a: "b" } }), ["mcp.arguments"]);
    assert.deepEqual(dead({ methods: ["sampling/createMessage"] }, "RequireApproval"), [
      "mcp.methods.0",
    ]);
  });

  test("a rule that another always overrules is named", () => {
    const overruled = (wide: McpMatch, narrow: McpMatch): boolean =>
      unreachableRules([
        { name: "wide", action: "Deny", mcp: wide },
        { name: "narrow", action: "Allow", mcp: narrow },
      ]).some(({ index }) => index === 1);
    assert.ok(overruled({}, { tools: ["a"] }));
    assert.ok(overruled({ tools: ["a*"] }, { tools: ["ab"], arguments: { x: "y" } }));
    assert.ok(
      overruled({ arguments: { x: "y" } }, { tools: ["ab"], arguments: { x: "y", z: "y" } }),
    );
    assert.ok(!overruled({ tools: ["a*"] }, { methods: ["tools/call"] }));
    assert.ok(!overruled({ arguments: { x: "y" } }, { tools: ["ab"] }));
  });
});
