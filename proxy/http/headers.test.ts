import assert from "node:assert/strict";
import { test } from "node:test";

import type { Endpoint, Lease } from "../../contract/control.ts";
import { FieldMemory, readHead } from "./head.ts";
import { agentHeaders, answerRules, SentHeaders, upstreamHeaders } from "./headers.ts";

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

test("what went out before is made anew for other headers, another credential, another endpoint and another form of answer", () => {
  const sent = new SentHeaders();
  const lease = (value: string): Lease => ({ kind: "headers", headers: [{ name: "k", value }] });
  const old = lease("old");
  const grant = { lease: old, endpoint };
  const first = sent.of(head, grant, "as asked");
  assert.equal(sent.of({ ...head, target: "/b" }, { ...grant }, "as asked"), first);
  const kept = ["x-b", "2"];
  const others = [
    sent.of({ ...head, kept }, grant, "as asked"),
    sent.of(head, { ...grant, lease: lease("new") }, "as asked"),
    sent.of(
      head,
      { ...grant, endpoint: { ...endpoint, headers: [{ name: "p", value: "q" }] } },
      "as asked",
    ),
    sent.of(head, grant, "readable"),
  ];
  assert.deepEqual(others, [
    ["x-b", "2", "k", "old"],
    [...first.slice(0, -2), "k", "new"],
    [...first.slice(0, -2), "p", "q", "k", "old"],
    ["x-token", "mine", "x-a", "1", "accept-encoding", "identity", "k", "old"],
  ]);
  assert.deepEqual(sent.of(head, grant, "as asked"), first);
});

test("headers that were refused are refused again, and what is remembered is another list's no more", () => {
  const { read } = new FieldMemory();
  const good = ["host", "a", "x-a", "1"];
  const bad = ["host", "a", "x_api_key", "1"];
  const kept = (headers: readonly string[]) => readHead("GET", "/", headers, undefined, read).kept;
  for (const _ of [1, 2]) {
    assert.deepEqual(kept(good), ["x-a", "1"]);
    assert.throws(() => kept(bad), { code: "MalformedRequest" });
    assert.throws(() => kept(bad), { code: "MalformedRequest" });
    assert.deepEqual(kept(["host", "a", "x-a", "2"]), ["x-a", "2"]);
  }
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
