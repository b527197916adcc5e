import assert from "node:assert/strict";
import { test } from "node:test";

import { readHead } from "./head.ts";
import { agentHeaders, upstreamHeaders } from "./headers.ts";

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
  assert.deepEqual(upstreamHeaders(head, lease, false), [
    "accept-encoding",
    "gzip",
    "x-a",
    "1",
    "X-TOKEN",
    "real",
  ]);
});

test("a password is sent as Basic, and an answer that is read is asked for without encoding", () => {
  const lease = { kind: "password", username: "u", password: "p:ä" } as const;
  const headers = upstreamHeaders(head, lease, true);
  assert.deepEqual(headers.slice(4), [
    "accept-encoding",
    "identity",
    "authorization",
    `Basic ${Buffer.from("u:p:ä").toString("base64")}`,
  ]);
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
  assert.deepEqual(agentHeaders(headers), [
    "content-type",
    "a/b",
    "set-cookie",
    "a",
    "set-cookie",
    "b",
  ]);
});
