import assert from "node:assert/strict";
import { posix } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { normalisePath } from "./path.ts";

const read: [raw: string, path: string, sent?: string][] = [
  ["/", "/"],
  ["/v1/orders", "/v1/orders"],
  ["/v1/orders/", "/v1/orders/"],
  ["/a%20b", "/a b"],
  ["/caf%C3%A9", "/café"],
  ["/caf%c3%a9", "/café", "/caf%C3%A9"],
  ["/%7Euser", "/~user", "/~user"],
  ["/%61dmin", "/admin", "/admin"],
  ["/users/@me", "/users/@me"],
  ["/users/%40me", "/users/@me", "/users/@me"],
  ["/a+b", "/a+b", "/a%2Bb"],
  ["/room/%23general:example.org", "/room/#general:example.org"],
  ["/a%3fb", "/a?b", "/a%3Fb"],
  ["/v1/models/meta-llama:8b", "/v1/models/meta-llama:8b"],
  ["/a.b/..c/d..", "/a.b/..c/d.."],
  ["/100%25", "/100%"],
  ["/report%E2%80%A6.pdf", "/report\u2026.pdf"],
  ["/%EF%BD%81", "/\uff41"],
];
for (const [raw, path, sent = raw] of read) {
  test(`reads ${raw} as ${path}, sent as ${sent}`, () =>
    assert.deepEqual(normalisePath(raw), { path, sent }));
}

const refused: [raw: string, why: RegExp][] = [
  ["", /slash/],
  ["orders", /slash/],
  ["/a//b", /`\/\/`/],
  ["//host/a", /`\/\/`/],
  ["/a/../b", /`\.\.`/],
  ["/a/..", /`\.\.`/],
  ["/./a", /segment/],
  ["/a/%2e%2e/b", /encoded dot/],
  ["/a/.%2E/b", /encoded dot/],
  ["/a%2fb", /encoded slash/],
  ["/a%2Fb", /encoded slash/],
  ["/a%5cb", /encoded backslash/],
  ["/a\\b", /backslash/],
  ["/admin;/x", /`;`/],
  ["/admin;jsessionid=1", /`;`/],
  ["/admin%3Bx", /`;`/],
  ["/a#b", /fragment/],
  ["/a%", /invalid percent/],
  ["/a%4", /invalid percent/],
  ["/a%zz", /invalid percent/],
  ["/a%ff", /UTF-8/],
  ["/a%c0%af", /UTF-8/],
  ["/a%252e%252e/b", /twice/],
  ["/a%00", /control/],
  ["/a%0d%0aX", /control/],
  ["/a b", /percent-encoded/],
  ["/caf\u00e9", /percent-encoded/],
  ["/a/...", /`\.\.`/],
  ["/a/..%20/b", /dots and blanks/],
  ["/a/%20", /dots and blanks/],
  ["/%E2%80%A5/a", /looks like/],
  ["/a%C2%ADb", /looks like/],
  ["/a%EF%BC%8Fb", /looks like/],
  ["/a%E2%80%8Bb", /looks like/],
  [`/${"a".repeat(20_000)}`, /longer/],
];
for (const [raw, why] of refused) {
  test(`refuses ${raw.slice(0, 40)}`, () => {
    const result = normalisePath(raw);
    assert.ok("problem" in result, "was read");
    assert.match(result.problem, why);
  });
}

const hostile = fc.string({
  unit: fc.constantFrom(
    "/",
    ".",
    "..",
    "%2e",
    "%2F",
    "%25",
    "%c3%a9",
    "%C3",
    ";",
    "\\",
    "a",
    "B",
    "~",
    "%20",
    "?",
    "#",
    "+",
    "%3a",
    "%41",
    "%E2%80%A5",
    "é",
    "\n",
    "{",
  ),
  maxLength: 12,
});

test("whatever is read is read alike by the URL standard and by POSIX path rules", () => {
  let seen = 0;
  fc.assert(
    fc.property(hostile, (rest) => {
      const raw = `/${rest}`;
      if (raw.includes("?")) return;
      const result = normalisePath(raw);
      if ("problem" in result) return;
      seen++;
      assert.equal(decodeURIComponent(new URL(`http://host.example${raw}`).pathname), result.path);
      assert.equal(posix.normalize(result.path), result.path);
    }),
    { numRuns: 5000 },
  );
  assert.ok(seen > 300, `only ${seen} paths were read`);
});

test("a path made of any text, encoded as URLs are, is read as that text", () => {
  const segment = fc.string({ unit: "grapheme", minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), (segments) => {
      const result = normalisePath(`/${segments.map(encodeURIComponent).join("/")}`);
      const text = `/${segments.join("/")}`;
      if ("path" in result) assert.equal(result.path, text);
      else {
        const strange = /[\\/;#%]|\p{C}|\p{Z}|\/[. ]+(\/|$)|[\u2215\u2044]/u;
        assert.ok(
          segments.some((one) => strange.test(one) || strange.test(`/${one.normalize("NFKC")}`)),
          text,
        );
      }
    }),
  );
});

test("what is sent is read as what was decided, and is its own spelling", () => {
  fc.assert(
    fc.property(hostile, (rest) => {
      const once = normalisePath(`/${rest}`);
      if ("problem" in once) return;
      assert.match(once.sent, /^\/(?:[-A-Za-z0-9._~!$&'()*,=:@/]|%[0-9A-F]{2})*$/);
      assert.deepEqual(normalisePath(once.sent), once);
    }),
    { numRuns: 3000 },
  );
});
