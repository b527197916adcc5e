import assert from "node:assert/strict";
import { test } from "node:test";

import { ProxyError } from "../errors.ts";
import { answerFields, requestFields, requestParts, fieldsByName } from "./h2-headers.ts";

test("pseudo-headers are read apart from the others, and the crumbs of a cookie are one field again", () => {
  const parts = requestParts(
    [":method", "GET", ":scheme", "https", ":authority", "a", ":path", "/x?y"].concat([
      "cookie",
      "a=1",
      "x-one",
      "1",
      "cookie",
      "b=2",
      "x-one",
      "2",
      "cookie",
      "c=3",
    ]),
  );
  assert.deepEqual(
    [parts.method, parts.scheme, parts.authority, parts.target],
    ["GET", "https", "a", "/x?y"],
  );
  assert.deepEqual(parts.headers, ["cookie", "a=1; b=2; c=3", "x-one", "1", "x-one", "2"]);
  assert.equal(parts.contentLength, undefined);
});

test("CONNECT, which has no path, asks for its authority", () => {
  assert.equal(requestParts([":method", "CONNECT", ":authority", "a:443"]).target, "a:443");
});

test("what would be read differently further on is not written", () => {
  const request = {
    method: "GET",
    path: "/",
    authority: "a",
    headers: ["X-Name", "v"],
    contentLength: 3,
  };
  assert.equal(requestFields(request).slice(8).join(" "), "x-name v content-length 3 te trailers");
  for (const broken of [
    { ...request, path: "/a b" },
    { ...request, path: "/a\r\nb" },
    { ...request, headers: ["x", "a\nb"] },
    { ...request, headers: ["x", "a\0b"] },
  ])
    assert.throws(() => requestFields(broken), ProxyError);
});

test("fields that come several times stay several", () => {
  assert.deepEqual(
    { ...answerFields([":status", "200", "a", "1", "b", "x", "a", "2", "a", "3"]) },
    {
      a: ["1", "2", "3"],
      b: "x",
    },
  );
  assert.deepEqual(
    { ...fieldsByName(["Set-Cookie", "1", "set-cookie", "2"]) },
    {
      "set-cookie": ["1", "2"],
    },
  );
});
