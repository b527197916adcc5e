import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { liesUnder, readHead } from "./head.ts";

const host = ["Host", "a.example:8080"];

test("reads host, port, target, framing and chain, and sets credentials apart", () => {
  const head = readHead("POST", "/v1/x?y=1", [
    ...host,
    "Content-Length",
    "3",
    "Authorization",
    "Bearer p",
    "Chaperone-Chain",
    "c",
    "X-A",
    "1",
    "x-a",
    "2",
  ]);
  assert.equal(head.host, "a.example");
  assert.equal(head.port, 8080);
  assert.equal(head.target, "/v1/x?y=1");
  assert.equal(head.path, "/v1/x");
  assert.equal(head.contentLength, 3);
  assert.equal(head.chain, "c");
  assert.deepEqual(head.credentials, ["Bearer p"]);
  assert.deepEqual(head.kept, ["x-a", "1", "x-a", "2"]);
  assert.deepEqual({ ...head.all }, { "x-a": ["1", "2"] });
});

test("an absolute target becomes a path when it agrees with Host", () => {
  assert.equal(readHead("GET", "http://A.example:8080/b?c", host).target, "/b?c");
  assert.equal(readHead("GET", "http://a.example:8080", host).target, "/");
  assert.equal(readHead("GET", "http://a.example:8080?q", host).target, "/?q");
  assert.throws(() => readHead("GET", "http://b.example/", host), { code: "MalformedRequest" });
});

test("a header named in Connection is gone for the recogniser as well as for the upstream", () => {
  const head = readHead("POST", "/", [
    ...host,
    "Content-Type",
    "text/plain",
    "Connection",
    "close, Content-Type",
  ]);
  assert.deepEqual(head.kept, []);
  assert.equal(head.all["content-type"], undefined);
});

for (const [value, name, port] of [
  ["api.example.com", "api.example.com", undefined],
  ["API.Example.com.", "api.example.com", undefined],
  ["127.0.0.1:80", "127.0.0.1", 80],
  ["[::1]:8443", "[::1]", 8443],
  ["orders_db", "orders_db", undefined],
] as const) {
  test(`Host ${value} names ${name}`, () => {
    const head = readHead("GET", "/", ["host", value]);
    assert.deepEqual([head.host, head.port], [name, port]);
  });
}

for (const path of ["/v1", "/v1/", "/v1/a/b", "/v1/a..b", "/v1/.well-known"])
  test(`${path} lies under /v1`, () => assert.ok(liesUnder(path, "/v1")));
for (const path of [
  "/",
  "/v2",
  "/v11",
  "/V1/a",
  "/v1/..",
  "/v1/../v2",
  "/v1/./a",
  "/v1/%2e%2e/v2",
  "/v1/.%2E/v2",
  "/v1/a%2f..%2f",
  "/v1/..\\v2",
  "/v1/%5c",
  "/v1/..;/v2",
  "/v1//v2",
  "/v1/..%20/v2",
]) {
  test(`${path} does not`, () => assert.ok(!liesUnder(path, "/v1")));
}

for (const name of [
  "x_api_key",
  "X.Api.Key",
  "content_length",
  "Transfer_Encoding",
  "x_forwarded_for",
  "chaperone_chain",
  "X_Original-URL",
  "content_type",
])
  test(`${name} is refused, since some servers read it under another name`, () =>
    assert.throws(() => readHead("GET", "/", [...host, name, "1"]), { code: "MalformedRequest" }));

test("a name with an underscore that is nobody's twin is kept", () => {
  assert.deepEqual(readHead("GET", "/", [...host, "request_id", "1"]).kept, ["request_id", "1"]);
});

for (const option of ["Host", "content-length", "close, Transfer-Encoding"])
  test(`a Connection that names ${option} is refused`, () =>
    assert.throws(() => readHead("GET", "/", [...host, "Connection", option]), {
      code: "MalformedRequest",
    }));

for (const method of ["get", "Get", "G T", "", "A".repeat(33)])
  test(`the method ${JSON.stringify(method)} is refused`, () =>
    assert.throws(() => readHead(method, "/", host), { code: "MalformedRequest" }));

test("path and query go on in their one spelling, and the path alone is what routes are chosen by", () => {
  const { target, path } = readHead("GET", "/%76%31/a+b?x=%7e+%2f", host);
  assert.deepEqual([target, path], ["/v1/a%2Bb?x=~%20%2F", "/v1/a%2Bb"]);
  assert.equal(readHead("GET", "/a%2fb?x=1", host).target, "/a%2fb?x=1");
});

test("no header that is not the agent's to send is ever kept", () => {
  const name = fc.constantFrom(
    "Authorization",
    "X-Api-Key",
    "api-key",
    "X-Goog-Api-Key",
    "Proxy-Authorization",
    "Forwarded",
    "X-Forwarded-Proto",
    "Chaperone-Chain",
    "Chaperone-X",
    "TE",
    "Keep-Alive",
    "Connection",
    "Trailer",
    "X-Kept",
    "Cookie",
  );
  fc.assert(
    fc.property(fc.uniqueArray(name), (names) => {
      const { kept } = readHead("GET", "/", [...host, ...names.flatMap((one) => [one, "value"])]);
      const left = kept.filter((_, index) => index % 2 === 0);
      assert.deepEqual(
        left,
        names.filter((one) => one === "X-Kept" || one === "Cookie").map((one) => one.toLowerCase()),
      );
    }),
  );
});
