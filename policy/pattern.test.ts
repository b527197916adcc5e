import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  compileHost,
  compileList,
  compilePath,
  compilePaths,
  compilePattern,
  matches,
  matchesAllBelow,
  matchesAny,
  matchesHost,
  matchesPaths,
  matchesSegments,
  mayMatchBelow,
} from "./pattern.ts";

const letters = fc.string({ unit: fc.constantFrom("a", "b", "."), maxLength: 8 });
const patterns = fc.string({ unit: fc.constantFrom("a", "b", ".", "*"), maxLength: 8 });

/** The plain definition, too slow for use: `*` is `.*`. */
function oracle(pattern: string, text: string): boolean {
  const source = pattern
    .split("*")
    .map((part) => part.replaceAll(".", "\\."))
    .join(".*");
  return new RegExp(`^${source}$`).test(text);
}

test("a pattern matches exactly what its definition as a regular expression matches", () => {
  fc.assert(
    fc.property(patterns, letters, (pattern, text) => {
      assert.equal(matches(compilePattern(pattern), text), oracle(pattern, text));
    }),
    { numRuns: 5000 },
  );
});

test("a list matches when one of its patterns does", () => {
  fc.assert(
    fc.property(fc.array(patterns, { maxLength: 4 }), letters, (sources, text) => {
      assert.equal(
        matchesAny(compileList(sources), text),
        sources.some((source) => oracle(source, text)),
      );
    }),
  );
});

test("what matches some text under a prefix may match below it", () => {
  fc.assert(
    fc.property(patterns, letters, letters, (source, prefix, rest) => {
      const pattern = compilePattern(source);
      if (oracle(source, prefix + rest)) assert.ok(mayMatchBelow(pattern, prefix));
    }),
    { numRuns: 5000 },
  );
});

test("what matches everything below a prefix matches each text there", () => {
  fc.assert(
    fc.property(patterns, letters, letters, (source, prefix, rest) => {
      if (matchesAllBelow(compilePattern(source), prefix)) assert.ok(oracle(source, prefix + rest));
    }),
    { numRuns: 5000 },
  );
});

test("a hostile pattern and text stay fast", () => {
  const pattern = compilePattern(`${"*a".repeat(200)}*b`);
  const started = process.cpuUsage().user;
  assert.equal(matches(pattern, "a".repeat(100_000)), false);
  assert.ok(process.cpuUsage().user - started < 500_000, "took more than half a second of CPU");
});

const hosts: [string, string, boolean][] = [
  ["api.example.com", "api.example.com", true],
  ["API.Example.com", "api.example.com", true],
  ["api.example.com.", "api.example.com", true],
  ["*.example.com", "api.example.com", true],
  ["*.example.com", "example.com", false],
  ["*.example.com", "a.b.example.com", false],
  ["*.*.example.com", "a.b.example.com", true],
  ["api-*.example.com", "api-eu.example.com", true],
  ["api-*.example.com", "web.example.com", false],
  ["*", "anything.example.com", true],
  ["*.example.com", "api.example.com.evil.org", false],
];
for (const [pattern, host, expected] of hosts) {
  test(`host pattern ${pattern} ${expected ? "matches" : "does not match"} ${host}`, () => {
    assert.equal(matchesHost(compileHost(pattern), host), expected);
  });
}

const paths: [string, string, boolean][] = [
  ["/v1/orders", "/v1/orders", true],
  ["/v1/orders", "/v1/orders/", false],
  ["/v1/orders", "/v1/orders/7", false],
  ["/v1/**", "/v1", true],
  ["/v1/**", "/v1/", true],
  ["/v1/**", "/v1/a/b/c", true],
  ["/v1/**", "/v10/a", false],
  ["/**", "/", true],
  ["/**", "/a/b", true],
  ["**", "/a/b", true],
  ["/v1/*", "/v1/orders", true],
  ["/v1/*", "/v1/", false],
  ["/v1/*", "/v1/orders/7", false],
  ["/v1/*/items", "/v1/7/items", true],
  ["/v1/*/items", "/v1/7/8/items", false],
  ["/v1/**/items", "/v1/items", true],
  ["/v1/**/items", "/v1/7/8/items", true],
  ["/v1/**/items", "/v1/7/8/things", false],
  ["/v1/orders-*", "/v1/orders-eu", true],
  ["/v1/*.json", "/v1/a.json", true],
  ["/a/**/b/**/c", "/a/b/x/c", true],
  ["/a/**/b/**/c", "/a/x/c", false],
];
for (const [pattern, path, expected] of paths) {
  test(`path pattern ${pattern} ${expected ? "matches" : "does not match"} ${path}`, () => {
    assert.equal(matchesPaths(compilePaths([pattern]), path), expected);
  });
}

test("prefix patterns match as the segment-wise definition says", () => {
  const segment = fc.constantFrom("a", "b", "**", "*", "");
  fc.assert(
    fc.property(
      fc.array(segment, { maxLength: 4 }),
      fc.array(fc.constantFrom("a", "b", ""), { minLength: 1, maxLength: 5 }),
      (parts, segments) => {
        const source = `/${parts.join("/")}`;
        assert.equal(
          matchesPaths(compilePaths([source]), `/${segments.join("/")}`),
          matchesSegments(compilePath(source), segments),
        );
      },
    ),
    { numRuns: 3000 },
  );
});

test("`**` stands for any number of segments, wherever and however often it stands", () => {
  const segment = fc.constantFrom("a", "ab", "b", "**", "*", "a*");
  fc.assert(
    fc.property(
      fc.array(segment, { maxLength: 7 }),
      fc.array(fc.constantFrom("a", "b", "ab"), { maxLength: 7 }),
      (parts, segments) => {
        const meant = parts.map((part) =>
          part === "**" ? "(?:/[^/]+)*" : `/${part.replace("*", "[^/]*")}`,
        );
        const path = segments.map((one) => `/${one}`).join("");
        assert.equal(
          matchesSegments(compilePath(`/${parts.join("/")}`), segments),
          parts.length > 0 && new RegExp(`^${meant.join("")}$`).test(path),
        );
      },
    ),
    { numRuns: 5000 },
  );
});

test("a hostile path pattern and path stay fast", () => {
  const pattern = compilePaths([`${"/**/a".repeat(200)}/**/b`]);
  const started = process.cpuUsage().user;
  assert.equal(matchesPaths(pattern, "/a".repeat(10_000)), false);
  assert.ok(process.cpuUsage().user - started < 500_000, "took more than half a second of CPU");
});
