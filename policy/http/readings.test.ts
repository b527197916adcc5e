// What servers make of a path or a parameter beyond what stands there, held against rules: a Deny cannot be led around, a permission is not widened.
import assert from "node:assert/strict";
import { test } from "node:test";

import type { BundleRule } from "../bundle.ts";
import { ask, bundleOf, http, llm, rule } from "../fixture.ts";
import { recogniseHttp } from "./recognise.ts";

const all = rule("all", "Allow", {});
const noAdmin = rule("no-admin", "Deny", { http: { paths: ["/v1/Admin", "/v1/keys/**", "/*/x"] } });

function verdict(rules: readonly BundleRule[], target: string): string {
  const head = { method: "GET", host: "api.example.com", target, headers: {} };
  return ask(bundleOf(rules), recogniseHttp(head)).verdict;
}

for (const path of [
  "/v1/Admin",
  "/v1/Admin/",
  "/v1/admin",
  "/v1/ADMIN",
  "/V1/aDmIn/",
  "/v1/%41dmin",
  "/v1/Admin.json",
  "/v1/admin.XML",
  "/v1/admin.html/",
  "/v1/admin.",
  "/v1/admin...",
  "/v1/admin%20",
  "/v1/admin.%20.",
  "/v1./admin",
  "/v1/admin%3Fx",
  "/v1/admin%23x",
  "/v1/admin/%3Fx",
  "/v1/%EF%BD%81dmin",
  "/v1/adm%C4%B1n",
  "/v1/key%C5%BF/1",
  "/v1/keys",
  "/v1/KEYS/1/2",
  "/v1/keys./1",
  "/anything/X",
])
  test(`a Deny of /v1/Admin, /v1/keys/** and /*/x speaks about ${path}`, () =>
    assert.equal(verdict([all, noAdmin], path), "deny"));

for (const path of [
  "/v1/admins",
  "/v1/admin/x/y",
  "/v1/admin.1",
  "/v1/admin.tar.gz",
  "/v1/key/1",
  "/v2/admin",
  "/x",
  "/admin",
])
  test(`the same Deny does not speak about ${path}`, () =>
    assert.equal(verdict([all, noAdmin], path), "allow"));

for (const path of ["/v1/users/", "/v1/Users", "/v1/users.json", "/v1/users.", "/v1/users%20"])
  test(`an Allow of /v1/users does not cover ${path}`, () =>
    assert.equal(verdict([rule("r", "Allow", { http: { paths: ["/v1/users"] } })], path), "deny"));

test("an approval asked for a path is asked for what a tolerant server takes for it too", () => {
  const asks = rule("asks", "RequireApproval", { http: { paths: ["/v1/refunds"] } });
  for (const path of ["/v1/refunds", "/v1/Refunds/", "/v1/refunds.json"])
    assert.equal(verdict([all, asks], path), "hold", path);
});

const noDebug = rule("no-debug", "Deny", { http: { query: { "debug.mode": "on" } } });
for (const query of [
  "debug.mode=on",
  "debug.mode=off&debug.mode=on",
  "debug_mode=on",
  "Debug.Mode=on",
  "+debug.mode=on",
  "debug.mode[]=on",
  "debug.mode%5B0%5D=on",
  "debug%20mode=on",
  "debug[mode=on",
])
  test(`a Deny of debug.mode=on speaks about ?${query}`, () =>
    assert.equal(verdict([all, noDebug], `/?${query}`), "deny"));
test("and not about another value or parameter", () => {
  assert.equal(verdict([all, noDebug], "/?debug.mode=off&other=on"), "allow");
  assert.equal(verdict([all, noDebug], "/?debug=on"), "allow");
});

test("an Allow of a parameter is not met by another spelling, and not kept when one says otherwise", () => {
  const dry = [rule("dry", "Allow", { http: { query: { dry_run: "true" } } })];
  assert.equal(verdict(dry, "/?dry_run=true"), "allow");
  assert.equal(verdict(dry, "/?dry_run=true&x=1"), "allow");
  for (const query of [
    "Dry_Run=true",
    "dry_run[]=true",
    "dry_run=true&dry.run=false",
    "dry_run=true&DRY_RUN=false",
    "dry_run=true&dry_run[]=false",
  ])
    assert.equal(verdict(dry, `/?${query}`), "deny", query);
});

const ambiguousPath = "/projects/group%2Fproject";
const ambiguousQuery = "/search?q=a;b";
const readsPath = rule("paths", "Deny", { http: { paths: ["/x"] } });
const readsQuery = rule("query", "Deny", { http: { query: { x: "1" } } });
const readsAll = rule("when", "Deny", { when: 'http.path == "/x"' });
for (const [what, rules, path, query] of [
  [
    "no rule reads either",
    [all, rule("m", "Deny", { http: { methods: ["PUT"] } })],
    "allow",
    "allow",
  ],
  ["a rule reads paths", [all, readsPath], "deny", "allow"],
  ["a rule reads the query", [all, readsQuery], "allow", "deny"],
  ["a rule has a condition", [all, readsAll], "deny", "deny"],
  [
    "a rule that only observes reads paths",
    [all, { ...readsPath, mode: "Observe" as const }],
    "deny",
    "allow",
  ],
] as const) {
  test(`a path with two readings is refused where a rule reads it, and so is a query: ${what}`, () => {
    assert.equal(verdict(rules, ambiguousPath), path);
    assert.equal(verdict(rules, ambiguousQuery), query);
  });
}

test("what is refused for its two readings says which character it is about", () => {
  const head = { method: "GET", host: "a", target: ambiguousPath, headers: {} };
  const decision = ask(bundleOf([all, readsPath]), recogniseHttp(head));
  assert.equal(decision.reason, "Unrecognised");
  assert.match(decision.message, /encoded slash/);
});

test("a plain fact of another kind is decided as before", () => {
  assert.equal(ask(bundleOf([all, noAdmin]), http("GET", "/v1/other")).verdict, "allow");
  assert.equal(ask(bundleOf([all]), llm({})).verdict, "allow");
});
