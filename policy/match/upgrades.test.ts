// What a rule about requests says of one that makes a WebSocket of its connection, and what masks leave of both.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BundleRule, RuleAction } from "../bundle.ts";
import { decide, prepare } from "../decide.ts";
import { bundleOf, context, rule, subject } from "../fixture.ts";
import { recogniseHttp } from "../http/recognise.ts";
import { recognisePassthrough } from "../passthrough/recognise.ts";
import type { Operation } from "../operation.ts";

const asked = (upgrade: boolean) =>
  recogniseHttp({
    method: "GET",
    host: "api.example.com",
    target: "/v1/live",
    headers: {},
    ...(upgrade && { upgrade: "websocket" as const }),
  });

const verdict = (rules: readonly BundleRule[], operation: Operation): string => {
  const { verdict: said, reason } = decide(prepare(bundleOf(rules)), subject, operation, context);
  return said === "deny" ? `deny ${reason}` : said;
};

const live = { paths: ["/v1/live"] };
const sockets = { ...live, upgrades: ["websocket"] };
const only = (action: RuleAction, http: BundleRule["http"]) => [
  rule("r", action, http === undefined ? {} : { http }),
];
const allowAll = rule("sockets", "Allow", { http: sockets });

const table: readonly (readonly [
  string,
  readonly BundleRule[],
  request: string,
  socket: string,
])[] = [
  ["an Allow of the path", only("Allow", live), "allow", "deny NoMatchingRule"],
  ["an Allow of the upgrade", only("Allow", sockets), "deny NoMatchingRule", "allow"],
  ["an Allow without a block", only("Allow", undefined), "allow", "allow"],
  ["a Deny of the path", [...only("Deny", live), allowAll], "deny RuleMatched", "deny RuleMatched"],
  [
    "a Deny of the upgrade",
    [...only("Deny", sockets), rule("a", "Allow", {})],
    "allow",
    "deny RuleMatched",
  ],
  ["a question about the path", [...only("RequireApproval", live), allowAll], "hold", "hold"],
  ["a question about the path alone", only("RequireApproval", live), "hold", "deny NoMatchingRule"],
  ["a question about the upgrade", only("RequireApproval", sockets), "deny NoMatchingRule", "hold"],
];

for (const [what, rules, request, socket] of table)
  test(`${what}: ${request} for the request, ${socket} for the WebSocket`, () => {
    assert.equal(verdict(rules, asked(false)), request);
    assert.equal(verdict(rules, asked(true)), socket);
  });

test("a condition sees whether a request is an upgrade", () => {
  const when = 'http.upgrade == "websocket"';
  assert.equal(verdict([rule("r", "Allow", { when })], asked(true)), "allow");
  assert.equal(verdict([rule("r", "Allow", { when })], asked(false)), "deny NoMatchingRule");
});

test("passthrough is allowed by host, by a rule of its own or one without a block, and never by a rule about requests", () => {
  const tls = recognisePassthrough("files.pypi.org", 443);
  const allow = (body: Parameters<typeof rule>[2]) => verdict([rule("r", "Allow", body)], tls);
  assert.equal(allow({ passthrough: { hosts: ["*.pypi.org"] } }), "allow");
  assert.equal(allow({ passthrough: {} }), "allow");
  assert.equal(allow({}), "allow");
  assert.equal(allow({ passthrough: { hosts: ["pypi.org"] } }), "deny NoMatchingRule");
  assert.equal(allow({ http: { hosts: ["files.pypi.org"] } }), "deny NoMatchingRule");
  assert.equal(
    allow({ when: 'passthrough.host == "files.pypi.org" && passthrough.port == 443' }),
    "allow",
  );
  assert.equal(
    verdict(
      [rule("r", "Allow", {}), rule("d", "Deny", { passthrough: { hosts: ["*.pypi.org"] } })],
      tls,
    ),
    "deny RuleMatched",
  );
});

test("where a policy masks, what cannot be masked is refused: passthrough, and columns where there are none", () => {
  const detect = { detector: "email", transform: { kind: "redact" as const }, policy: "agents/p" };
  const column = {
    column: "public.a.b",
    transform: { kind: "redact" as const },
    policy: "agents/p",
  };
  const under = (masks: object, operation: Operation): string => {
    const bundle = { ...bundleOf([rule("r", "Allow", {})]), ...masks };
    const { verdict: said, reason } = decide(prepare(bundle), subject, operation, context);
    return `${said} ${reason}`;
  };
  assert.equal(under({ detectMasks: [detect] }, asked(true)), "allow RuleMatched");
  assert.equal(under({ detectMasks: [detect] }, asked(false)), "allow RuleMatched");
  assert.equal(under({ columnMasks: [column] }, asked(true)), "deny MaskNotProvable");
  for (const masks of [{ detectMasks: [detect] }, { columnMasks: [column] }])
    assert.equal(under(masks, recognisePassthrough("pypi.org", 443)), "deny MaskNotProvable");
});
