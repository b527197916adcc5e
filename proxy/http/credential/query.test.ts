import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import { readHead } from "../head.ts";
import { hideCredential, percentEncoded, withCredential, withoutParameter } from "./query.ts";
import { decidedHead, sentTarget } from "./target.ts";

const secret = { name: "api_key", value: "s3cr&t =ä" };

test("the agent's own copies of the parameter go, however they are written, and nothing else changes", () => {
  const cases: readonly (readonly [target: string, left: string])[] = [
    ["/a", "/a"],
    ["/a?", "/a?"],
    ["/a?x=1&y=%20+", "/a?x=1&y=%20+"],
    ["/a?api_key=mine", "/a"],
    ["/a?api_key", "/a"],
    ["/a?x=1&api_key=mine&y=2", "/a?x=1&y=2"],
    ["/a?API_Key=mine&%61pi%5Fkey=mine&x=api_key", "/a?x=api_key"],
    ["/a?+api_key=mine&api_key%20=mine", "/a"],
    ["/a?x=1;api_key=mine&y=2", "/a?y=2"],
    ["/a?api_keys=1&xapi_key=2", "/a?api_keys=1&xapi_key=2"],
    ["/a?%zzapi_key=1", "/a?%zzapi_key=1"],
  ];
  for (const [target, left] of cases) assert.equal(withoutParameter(target, "api_key"), left);
});

test("ours is the last parameter, encoded, and a server reads it as it is meant", () => {
  for (const [target, start] of [
    ["/a", "/a?"],
    ["/a?", "/a?"],
    ["/a?x=1", "/a?x=1&"],
  ] as const) {
    const sent = withCredential(target, secret);
    assert.equal(sent, `${start}api_key=s3cr%26t%20%3D%C3%A4`);
    assert.equal(new URL(sent, "http://a").searchParams.get("api_key"), secret.value);
  }
});

test("whatever query an agent sends, a server finds exactly one credential there, which is ours", () => {
  const piece = fc.constantFrom("api_key", "API_KEY", "%61pi_key", "=", "&", "x", "%26", "1", "+");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const head = readHead("GET", `/a?${pieces.join("")}`, ["Host", "a"]);
      const lease = { kind: "query", ...secret } as const;
      const sent = sentTarget(decidedHead(head, lease), lease);
      const { searchParams } = new URL(sent, "http://a");
      const found = [...searchParams].filter(([name]) => name.toLowerCase() === "api_key");
      assert.deepEqual(found, [["api_key", secret.value]]);
    }),
  );
});

test("a request that waited while its connection's parameter changed is sent again, not rewritten", () => {
  const head = readHead("GET", "/a?token=mine", ["Host", "a"]);
  const before = { kind: "query", name: "key", value: "1" } as const;
  assert.throws(
    () => sentTarget(decidedHead(head, before), { ...before, name: "token" }),
    /GrantEnded|credential of the connection changed/,
  );
});

test("an answer's header that repeats the query loses the credential, also where it is encoded twice", () => {
  const credential = { name: "key", value: "s3cr/t+value" };
  const hide = hideCredential(credential);
  const encoded = percentEncoded(credential.value);
  const cases: readonly (readonly [header: string, left: string])[] = [
    [`https://b/next?page=2&key=${encoded}`, "https://b/next?page=2"],
    [`https://b/next?key=${encoded}&page=2`, "https://b/next?page=2"],
    [`/next?key=${credential.value}#top`, "/next#top"],
    [`/next?KEY=${encoded.toLowerCase()}`, "/next"],
    [`/login?next=${percentEncoded(`/a?x=1&key=${encoded}`)}`, "/login?next=%2Fa%3Fx%3D1"],
    [`</a?key=${encoded}&p=2>; rel=next`, "</a?p=2>; rel=next"],
    [`token ${credential.value}`, "token removed"],
    ["/other?key=else", "/other?key=else"],
  ];
  for (const [header, left] of cases) assert.equal(hide(header), left);
});

test("a credential never survives in a header, in whatever part of it stands and however often it is encoded", () => {
  fc.assert(
    fc.property(
      fc.string({ minLength: 8, maxLength: 40, unit: "grapheme" }),
      fc.string(),
      fc.integer({ min: 0, max: 3 }),
      (value, around, times) => {
        let text = value;
        for (let at = 0; at < times; at += 1) text = percentEncoded(text);
        // As it comes off the wire: bytes.
        text = Buffer.from(text).toString("latin1");
        const left = hideCredential({ name: "key", value })(`/a?x=${around}&key=${text}`);
        assert.ok(!left.includes(text), left);
      },
    ),
  );
});
