// The spelling that is sent means to every server what was decided on: paths and queries as Node, Go, nginx and Python read them.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import fc from "fast-check";

import { normalisePath } from "../../policy/http/path.ts";
import { readQuery } from "../../policy/http/query.ts";
import { spellTarget } from "../../policy/http/target.ts";
import { reasonWithoutPython } from "../clients/python.ts";
import { reasonWithoutGo, skipped } from "../clients/toolchains.ts";
import { read } from "../http-readers/reader.ts";
import type { Reader } from "../http-readers/reader.ts";
import { reasonWithoutNginx, startReaders } from "../http-readers/readers.ts";

/** The same targets on every machine. */
const seed = 11;
const samples = 6_000;
/** So many on one connection; servers close theirs after a hundred or more. */
const together = 50;
const readMs = 5_000;

interface Decided {
  readonly sent: string;
  readonly path: string;
  /** `name=value`, sorted. */
  readonly query: readonly string[];
}

const piece = fc.constantFrom(
  ..."/ / / a B . .. %2e %2F %5c ; %3B \\ ~ %7e + %2B %20 : %3a @ %40 , ! ' ( ) * & = $ % %25 %41 %61 %C3%A9 %c3%a9 %E2%80%A5 %EF%BC%8F %F0%9F%98%80 %3F %23 %00 %0a { } | \" < [ ] ^ `".split(
    " ",
  ),
);
const parameter = fc.constantFrom(
  ..."a b = = & & + %2B %20 %26 %3D %3b ; %61 [ ] %5B / ? : @ %2f %C3%A9 %25 %41 %0A ' \" < { ~ %7E , %00".split(
    " ",
  ),
);
const target = fc
  .tuple(fc.array(piece, { maxLength: 10 }), fc.option(fc.array(parameter, { maxLength: 10 })))
  .map(([path, query]) => `/${path.join("")}${query === null ? "" : `?${query.join("")}`}`);

/** Every target that has one reading, each once. */
function decide(): readonly Decided[] {
  const decided = new Map<string, Decided>();
  for (const raw of fc.sample(target, { seed, numRuns: samples })) {
    const [path = "", ...rest] = raw.split("?");
    const one = normalisePath(path);
    const query = readQuery(rest.join("?"));
    if ("problem" in one || "problem" in query) continue;
    const pairs = Object.entries(query.value).flatMap(([name, values]) =>
      values.map((value) => `${name}=${value}`),
    );
    decided.set(raw, { sent: spellTarget(raw), path: one.path, query: pairs.toSorted() });
  }
  return [...decided.values()];
}

const decided = decide();
let readers: readonly Reader[];

before(async () => {
  readers = await startReaders();
});

after(async () => {
  for (const reader of readers ?? []) await reader.close();
});

test("enough targets have one reading for this to say something", () => {
  assert.ok(decided.length > 1_000, `only ${decided.length}`);
  assert.ok(decided.filter(({ sent }) => sent.includes("%")).length > 300);
  assert.ok(decided.filter(({ query }) => query.length > 1).length > 100);
});

for (const [name, reason] of [
  ["node", undefined],
  ["go", reasonWithoutGo()],
  ["nginx", await reasonWithoutNginx()],
] as const) {
  test(
    `${name} reads in what is sent the path and the parameters that were decided on`,
    skipped(reason),
    async () => {
      const reader = readers.find((one) => one.name === name);
      assert.ok(reader !== undefined);
      for (let at = 0; at < decided.length; at += together) {
        const some = decided.slice(at, at + together);
        const bytes = some.map(({ sent }) => `GET ${sent} HTTP/1.1\r\nHost: a\r\n\r\n`).join("");
        const { readings } = await read(reader, bytes, readMs, some.length);
        assert.equal(readings.length, some.length, `${name} refuses one of ${bytes}`);
        for (const [index, reading] of readings.entries()) {
          const { sent, path, query } = some[index] ?? assert.fail();
          assert.equal(reading.path, path, sent);
          if (reading.query !== undefined) assert.deepEqual(reading.query.toSorted(), query, sent);
          // Nothing to clean, and nowhere else to send the client.
          if (reading.clean !== undefined)
            assert.equal(reading.clean, path === "/" ? "/" : path.replace(/\/$/, ""), sent);
          if (reading.mux !== undefined) assert.equal(reading.mux, 200, sent);
        }
      }
    },
  );
}

const script = `
import json, posixpath, sys
from urllib.parse import parse_qsl, unquote, urlsplit
out = []
for sent in json.load(sys.stdin):
    parts = urlsplit("http://a" + sent)
    path = unquote(parts.path, errors="strict")
    wsgi = unquote(parts.path, "latin1").encode("latin1").decode("utf8")
    out.append([path, wsgi, posixpath.normpath(path), sorted("%s=%s" % p for p in parse_qsl(parts.query, keep_blank_values=True, errors="strict"))])
json.dump(out, sys.stdout)
`;

test(
  "Python reads it so as well, in urllib and as WSGI gives it to a program",
  skipped(reasonWithoutPython()),
  async () => {
    const running = promisify(execFile)("python3", ["-c", script], { maxBuffer: 1 << 26 });
    running.child.stdin?.end(JSON.stringify(decided.map(({ sent }) => sent)));
    const read_ = JSON.parse((await running).stdout) as [string, string, string, string[]][];
    assert.equal(read_.length, decided.length);
    for (const [at, [path, wsgi, normal, query]] of read_.entries()) {
      const expected = decided[at] ?? assert.fail();
      assert.equal(path, expected.path);
      assert.equal(wsgi, expected.path);
      assert.equal(normal, path === "/" ? "/" : path.replace(/\/$/, ""));
      assert.deepEqual(query.toSorted(), expected.query, expected.sent);
    }
  },
);

test("what is sent is written in letters that need no reading, and writing it again changes nothing", () => {
  for (const { sent } of decided) {
    assert.match(sent, /^\/[-A-Za-z0-9._~!$&'()*,=:@/%?]*$/);
    assert.doesNotMatch(sent, /%(?![0-9A-F]{2})/);
    assert.doesNotMatch(sent.split("?")[0] ?? "", /%(2F|5C|2E|3B)|\/\/|\/\.+(\/|$)/i);
    assert.equal(spellTarget(sent), sent);
  }
});
