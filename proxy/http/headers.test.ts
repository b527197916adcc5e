import assert from "node:assert/strict";
import { test } from "node:test";

import type { Endpoint, Lease } from "../../contract/control.ts";
import { readHead } from "./head.ts";
import { agentHeaders, answerRules, upstreamHeaders } from "./headers.ts";

const endpoint: Endpoint = { host: "a", port: 80, tls: { mode: "Disable" }, basePath: "" };

const head = readHead("GET", "/", [
  "Host",
  "a",
  "Accept-Encoding",
  "gzip",
  "X-Token",
  "mine",
  "X-A",
  "1",
]);

test("the lease's headers replace the agent's of the same name, whatever their case", () => {
  const lease = { kind: "headers", headers: [{ name: "X-TOKEN", value: "real" }] } as const;
  assert.deepEqual(upstreamHeaders(head, { lease, endpoint }, "as asked"), [
    "accept-encoding",
    "gzip",
    "x-a",
    "1",
    "X-TOKEN",
    "real",
  ]);
});

test("an answer that is read is asked for without encoding", () => {
  const headers = upstreamHeaders(head, { lease: { kind: "none" }, endpoint }, "readable");
  assert.deepEqual(headers.slice(4), ["accept-encoding", "identity"]);
  assert.equal(headers.filter((name) => name === "accept-encoding").length, 1);
});

test("the agent gets the upstream's headers but for its hop's, also when Connection comes twice", () => {
  const headers = {
    connection: ["keep-alive, X-Hop", "x-other"],
    "x-hop": "1",
    "x-other": "2",
    "transfer-encoding": "chunked",
    "content-type": "a/b",
    "set-cookie": ["a", "b"],
    upgrade: "h2",
  };
  assert.deepEqual(agentHeaders(headers, { passesCookies: true, hide: undefined }), [
    "content-type",
    "a/b",
    "set-cookie",
    "a",
    "set-cookie",
    "b",
  ]);
});

test("what the Connection sets for every request replaces the agent's, and the credential stands above it", () => {
  const lease: Lease = { kind: "headers", headers: [{ name: "x-token", value: "real" }] };
  const headers = [
    { name: "X-A", value: "fixed" },
    { name: "X-Token", value: "fixed" },
  ];
  assert.deepEqual(
    upstreamHeaders(head, { lease, endpoint: { ...endpoint, headers } }, "as asked"),
    ["accept-encoding", "gzip", "X-A", "fixed", "x-token", "real"],
  );
});

test("a login for PostgreSQL is not left out of an HTTP request: the request is not made", () => {
  const lease: Lease = { kind: "password", username: "u", password: "p" };
  assert.throws(
    () => upstreamHeaders(head, { lease, endpoint }, "as asked"),
    /credential.static.basic/,
  );
});

test("cookies are dropped both ways unless the Connection lets them pass", () => {
  const asking = readHead("GET", "/", ["Host", "a", "Cookie", "a=b"]);
  const answer = { "set-cookie": ["c=d"], "www-authenticate": "Bearer" };
  const drop = { lease: { kind: "none" }, endpoint } as const;
  const pass = { ...drop, endpoint: { ...endpoint, cookies: "Pass" } } as const;
  assert.deepEqual(upstreamHeaders(asking, drop, "as asked"), []);
  assert.deepEqual(upstreamHeaders(asking, pass, "as asked"), ["cookie", "a=b"]);
  assert.deepEqual(agentHeaders(answer, answerRules(drop)), ["www-authenticate", "Bearer"]);
  assert.deepEqual(agentHeaders(answer, answerRules(pass)), [
    "set-cookie",
    "c=d",
    "www-authenticate",
    "Bearer",
  ]);
  const lease: Lease = { kind: "headers", headers: [{ name: "Cookie", value: "session=real" }] };
  assert.deepEqual(upstreamHeaders(asking, { ...pass, lease }, "as asked"), [
    "Cookie",
    "session=real",
  ]);
});
