import assert from "node:assert/strict";
import { test } from "node:test";
import { maxQueryParameters } from "./query.ts";
import { recogniseHttp } from "./recognise.ts";
import type { HttpRequestHead } from "./recognise.ts";

function recognise(head: Partial<HttpRequestHead>) {
  return recogniseHttp({
    method: "GET",
    host: "api.example.com",
    target: "/",
    headers: {},
    ...head,
  });
}

test("recognises method, host, path, query and content type", () => {
  const operation = recognise({
    method: "POST",
    host: "API.Example.com:8443",
    target: "/v1/orders?page=2&tag=a&tag=b+c&flag&caf%C3%A9=1",
    headers: { "content-type": "Application/JSON; charset=utf-8" },
  });
  assert.equal(operation.unrecognised, undefined);
  assert.equal(operation.summary, "POST api.example.com/v1/orders");
  assert.deepEqual(operation.accesses, [
    { kind: "http", method: "POST", host: "api.example.com", path: "/v1/orders" },
  ]);
  assert.deepEqual(
    { ...operation.facts, query: { ...operation.facts.query } },
    {
      method: "POST",
      host: "api.example.com",
      path: "/v1/orders",
      query: { page: ["2"], tag: ["a", "b c"], flag: [""], café: ["1"] },
      contentType: "application/json",
    },
  );
});

test("an absolute target is read when it names the same host", () => {
  assert.equal(recognise({ target: "http://API.example.com:80/v1?x=1" }).facts.path, "/v1");
  assert.equal(recognise({ target: "http://api.example.com" }).facts.path, "/");
  assert.equal(recognise({ target: "http://api.example.com?x=1" }).facts.path, "/");
});

test("an address is a host", () => {
  assert.equal(recognise({ host: "[2001:DB8::1]:443" }).facts.host, "[2001:db8::1]");
  assert.equal(recognise({ host: "10.0.0.1:80" }).facts.host, "10.0.0.1");
  assert.equal(recognise({ host: "api.example.com." }).facts.host, "api.example.com");
});

test("a parameter may be called __proto__", () => {
  assert.deepEqual(Object.keys(recognise({ target: "/?__proto__=1" }).facts.query), ["__proto__"]);
});

const refused: [what: string, head: Partial<HttpRequestHead>, why: RegExp][] = [
  ["a target for another host", { target: "http://other.example.com/" }, /different hosts/],
  [
    "a target with user information",
    { target: "http://api.example.com@evil.org/" },
    /neither a path/,
  ],
  ["an asterisk target", { method: "OPTIONS", target: "*" }, /neither a path/],
  ["CONNECT", { method: "CONNECT", target: "api.example.com:443" }, /tunnel/],
  ["a method in small letters", { method: "get" }, /method/],
  ["an empty host", { host: "" }, /host/],
  ["a host with a path", { host: "api.example.com/x" }, /host/],
  ["a query with a space", { target: "/?a=b c" }, /request line/],
  ["a path with a fragment", { target: "/a#b" }, /request line/],
  [
    "two content types",
    { headers: { "content-type": ["text/plain", "application/json"] } },
    /several/,
  ],
  ["a content type that is none", { headers: { "content-type": "json" } }, /media type/],
  ...["utf-7", "utf-16le", '"UTF-7"', "utf-8; charset=utf-7", "iso-8859-1"].map(
    (charset): [string, Partial<HttpRequestHead>, RegExp] => [
      `JSON in ${charset}`,
      { headers: { "content-type": `application/json; charset=${charset}` } },
      /not in UTF-8/,
    ],
  ),
  [
    "a method override",
    { method: "POST", headers: { "x-http-method-override": "DELETE" } },
    /x-http-method-override/,
  ],
  ["a path override", { headers: { "x-original-url": "/admin" } }, /x-original-url/],
];
for (const [what, head, why] of refused) {
  test(`does not recognise ${what}`, () => {
    assert.match(recognise(head).unrecognised ?? "was recognised", why);
  });
}

const ambiguous: [target: string, part: "path" | "query", why: RegExp][] = [
  ["/a/../b", "path", /`\.\.`/],
  ["/a;b?x=1", "path", /`;`/],
  ["/?a=%zz", "query", /invalid percent/],
  ["/?a=1;b=2", "query", /`;`/],
  ["/?a=%00", "query", /NUL/],
  [`/?${"a&".repeat(maxQueryParameters + 1)}`, "query", /parameters/],
];
for (const [target, part, why] of ambiguous) {
  test(`${target.slice(0, 30)} is recognised, with a ${part} that no rule may read`, () => {
    const operation = recognise({ target });
    assert.equal(operation.unrecognised, undefined);
    assert.match(operation.ambiguous?.[part] ?? "", why);
    assert.equal(operation.facts.path, target.split("?")[0]);
  });
}

test("a summary is printable and bounded", () => {
  const { summary } = recognise({
    method: `A${"\u001b".repeat(5)}`,
    target: `/%1b${"x".repeat(5000)}`,
  });
  assert.ok(summary.length <= 300);
  assert.doesNotMatch(summary, /\p{Cc}/u);
});

test("an empty Content-Type says as much as none", () => {
  const none = recognise({ method: "POST" });
  assert.deepEqual(recognise({ method: "POST", headers: { "content-type": " " } }), none);
  assert.equal(none.unrecognised, undefined);
});

for (const name of ["x-amz-copy-source", "x-ms-copy-source", "x-goog-copy-source", "destination"]) {
  test(`a request whose ${name} names another path is not decided by rules about paths`, () => {
    const asked = {
      method: "PUT",
      host: "storage.example",
      target: "/mine/copy",
      headers: { [name]: "/theirs/secret" },
    };
    const operation = recogniseHttp(asked);
    assert.match(operation.ambiguous?.path ?? "", new RegExp(`${name} names another path`));
    assert.equal(operation.unrecognised, undefined);
    assert.equal(recogniseHttp({ ...asked, headers: {} }).ambiguous, undefined);
  });
}
