import assert from "node:assert/strict";
import { before, test } from "node:test";
import { loadSqlGrammar, type SqlGrammar } from "./grammar.ts";
import { createSqlRecogniser, type SqlRecogniser } from "./recognise.ts";

let grammar: SqlGrammar;
let recogniser: SqlRecogniser;

before(async () => {
  grammar = await loadSqlGrammar();
  recogniser = createSqlRecogniser({ grammar });
});

const useOf = (text: string) => recogniser.recognise(text).nameUse;

for (const [text, query] of [
  ["PREPARE p AS SELECT 1", "SELECT 1"],
  ["prepare p (int, numeric(3, 1)) as select $1 as as_is;", "select $1 as as_is;"],
  ["/* AS */ PREPARE p -- AS SELECT 2\n AS/**/UPDATE t SET a = $1", "/**/UPDATE t SET a = $1"],
  ['PREPARE "p" AS (SELECT 1) UNION SELECT 2', "(SELECT 1) UNION SELECT 2"],
  [
    "PREPARE p AS SELECT x FROM t WHERE x IN (1, 2) AND y = ANY (ARRAY[1, 2])",
    "SELECT x FROM t WHERE x IN (1, 2) AND y = ANY (ARRAY[1, 2])",
  ],
] as const) {
  test(`the statement of ${JSON.stringify(text)} is what stands behind AS`, () => {
    assert.deepEqual(useOf(text), { kind: "prepare", name: "p", query });
  });
}

test("an EXECUTE is known by its name and its literals", () => {
  assert.deepEqual(useOf("EXECUTE P"), { kind: "execute", name: "p", values: [] });
  assert.deepEqual(useOf(`EXECUTE "P" (1, -2.5, 'it''s', NULL, true, E'\\t')`), {
    kind: "execute",
    name: "P",
    values: ["1", "-2.5", "it's", null, "true", "\t"],
  });
});

test("a name is cut where PostgreSQL cuts it", () => {
  const use = useOf(`DEALLOCATE ${"x".repeat(70)}`);
  assert.deepEqual(use, { kind: "deallocate", name: "x".repeat(63) });
});

test("DEALLOCATE names one statement, or all", () => {
  assert.deepEqual(useOf("DEALLOCATE PREPARE a;"), { kind: "deallocate", name: "a" });
  assert.deepEqual(useOf('DEALLOCATE "A""b"'), { kind: "deallocate", name: 'A"b' });
  assert.deepEqual(useOf("DEALLOCATE ALL"), { kind: "deallocate", name: undefined });
});

for (const text of [
  "EXECUTE p(1 + 1)",
  "EXECUTE p('1'::int)",
  "EXECUTE p(now())",
  "EXECUTE p($1)",
  "EXPLAIN EXECUTE p",
  "CREATE TABLE t AS EXECUTE p",
  "PREPARE p AS SELECT 1; EXECUTE p",
  "DEALLOCATE a; PREPARE a AS SELECT 1",
  "SELECT 1",
]) {
  test(`${text} says nothing of a name that a session could rely on`, () => {
    assert.equal(useOf(text), undefined);
  });
}

test("an EXECUTE stays unrecognised by itself", () => {
  const { operation } = recogniser.recognise("EXECUTE p(1)");
  assert.match(operation.unrecognised ?? "", /EXECUTE is decided only/);
});

for (const [text, instead] of [
  ["SET statement_timeout = 0", "SET statement_timeout = '1h'"],
  ["set local lock_timeout to '0ms'", "SET LOCAL lock_timeout = '1h'"],
  ["SET SESSION transaction_timeout = '-0.0 s';", "SET transaction_timeout = '1h'"],
  ["SET search_path TO public", "SET search_path = public, pg_temp"],
  ['SET LOCAL search_path = "$user", public', "SET LOCAL search_path = public, pg_temp"],
  ["SET search_path TO 'public'", "SET search_path = public, pg_temp"],
] as const) {
  test(`${text} becomes ${instead}`, () => {
    const recognised = recogniser.recognise(text);
    assert.equal(recognised.instead, instead);
    assert.equal(recognised.operation.summary, instead);
    assert.equal(recognised.operation.unrecognised, undefined);
  });
}

for (const text of ["SET statement_timeout = 5", "SET search_path = ''", "SET datestyle = ISO"]) {
  test(`${text} runs as it stands`, () => {
    assert.equal(recogniser.recognise(text).instead, undefined);
  });
}
