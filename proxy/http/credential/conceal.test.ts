import assert from "node:assert/strict";
import { test } from "node:test";

import type { Lease } from "../../../contract/control.ts";
import { concealCredential, concealInFields } from "./conceal.ts";

const secret = 's3cr"et/+ü';

for (const [title, lease, text, left] of [
  [
    "a bearer token",
    { kind: "headers", headers: [{ name: "authorization", value: `Bearer ${secret}` }] },
    `got Bearer ${secret}, that is ${secret}`,
    "got [credential], that is [credential]",
  ],
  [
    "a password of Basic, in base64 and without",
    {
      kind: "headers",
      headers: [{ name: "authorization", value: `Basic ${btoa("user:pass:word1")}` }],
    },
    `${btoa("user:pass:word1")} user:pass:word1`,
    "[credential] user:[credential]",
  ],
  [
    "a query parameter, in JSON and in a URL",
    { kind: "query", name: "key", value: secret },
    `${JSON.stringify({ next: secret })} ?key=${encodeURIComponent(secret)}`,
    '{"next":"[credential]"} ?key=[credential]',
  ],
  [
    "AWS's keys",
    {
      kind: "awsSigV4",
      service: "s3",
      region: "eu",
      accessKeyId: "AKIDEXAMPLE",
      secretAccessKey: "wJalrXUtn",
      sessionToken: "session1",
      payload: "Signed",
    },
    "AKIDEXAMPLE wJalrXUtn session1",
    "AKIDEXAMPLE [credential] [credential]",
  ],
  ["nothing where there is none", { kind: "none" }, "text", "text"],
] as const satisfies readonly (readonly [string, Lease, string, string])[]) {
  test(`what is recorded of an answer conceals ${title}`, () => {
    assert.equal(concealCredential(lease)(text), left);
  });
}

test("a field of an answer conceals what is long enough to be nothing else, and keeps its own words", () => {
  const token = "sk-0123456789abcdef";
  const bearer: Lease = {
    kind: "headers",
    headers: [{ name: "authorization", value: `Bearer ${token}` }],
  };
  const hide = concealInFields(bearer);
  assert.equal(hide?.(`/next?token=${token}&a=b`), "/next?token=[credential]&a=b");
  assert.equal(hide?.("Bearer realm=api"), "Bearer realm=api");
  const worded: Lease = {
    kind: "headers",
    headers: [{ name: "authorization", value: `Basic ${btoa("me:no-transform")}` }],
  };
  assert.equal(concealInFields(worded)?.("no-transform"), "no-transform");
  assert.equal(concealInFields(worded)?.(btoa("me:no-transform")), "[credential]");
  assert.equal(concealInFields({ kind: "none" }), undefined);
});
