import assert from "node:assert/strict";
import { before, test } from "node:test";
import { createCatalogNames } from "./catalog-names.ts";
import { loadSqlGrammar, type SqlGrammar } from "./grammar.ts";
import { overloadedCalls, overloadsFromRows } from "./overloads.ts";

let grammar: SqlGrammar;
const names = createCatalogNames();
const overloads = overloadsFromRows([
  ["f", "lower"],
  ["f", "peek"],
  ["f", "json_value"],
  ["f", "json_arrayagg"],
  ["f", "json"],
  ["f", "merge_action"],
  ["r", "peek"],
  ["o", "+"],
  ["o", "="],
]);

before(async () => {
  grammar = await loadSqlGrammar();
});

const cases: [string, string[]][] = [
  ["SELECT lower(a) FROM t", ["select public.lower"]],
  ["SELECT pg_catalog.lower(a) FROM t", []],
  // Its own access already.
  ["SELECT public.lower(a), peek(t) FROM t", []],
  ["SELECT upper(a), t.a, t.* FROM t", []],
  ["SELECT t.peek FROM t", ["select public.peek"]],
  ["SELECT public.t.peek FROM public.t", ["select public.peek"]],
  ["SELECT (t).peek FROM t", ["select public.peek"]],
  ["SELECT peek FROM t", []],
  ["SELECT a + 1 FROM t", ["select public.+"]],
  ["SELECT a OPERATOR(pg_catalog.+) 1 FROM t", []],
  ["UPDATE t SET a = lower(b)", ["update public.lower"]],
  ["PREPARE p AS SELECT 1 + 1", ["select public.+"]],
  ["COPY (SELECT lower(a) FROM t) TO STDOUT", ["select public.lower"]],
  ["SELECT CASE a WHEN 1 THEN 2 END FROM t", ["select public.="]],
  ["SELECT a FROM t WHERE a IN (SELECT b FROM u)", ["select public.="]],
  ["SELECT FROM nowhere WHERE", []],
  // Words of a newer grammar, which an older server calls.
  ["SELECT json_value(a, 'x') FROM t", ["select public.json_value"]],
  ["SELECT a FROM t WHERE json(a) IS NULL", ["select public.json"]],
  ["UPDATE t SET a = JSON_ARRAYAGG(b)", ["update public.json_arrayagg"]],
  ["SELECT merge_action()", ["select public.merge_action"]],
  ["SELECT json_query(a, 'x') FROM t", []],
  // What the text itself makes.
  [
    "CREATE FUNCTION upper(t) RETURNS text LANGUAGE sql AS ''; SELECT upper(t), t.upper FROM t",
    ["select public.upper"],
  ],
  [
    "CREATE AGGREGATE max(t) (SFUNC = f, STYPE = text); SELECT max(t) FROM t",
    ["select public.max"],
  ],
  [
    "CREATE OPERATOR public.- (LEFTARG = t, RIGHTARG = t, FUNCTION = f); SELECT a - b FROM t",
    ["select public.-"],
  ],
  ["ALTER FUNCTION f(t) RENAME TO upper; SELECT upper(t) FROM t", ["select public.upper"]],
  ["ALTER FUNCTION s.upper(t) SET SCHEMA public; SELECT upper(t) FROM t", ["select public.upper"]],
  ["ALTER OPERATOR s.- (t, t) SET SCHEMA public; SELECT a - b FROM t", ["select public.-"]],
];

for (const [sql, expected] of cases) {
  test(`${sql} may run ${expected.join(", ") || "nothing more"}`, () => {
    const calls = overloadedCalls(sql, grammar, names, overloads);
    assert.deepEqual(
      calls.map((call) => `${call.statement} ${call.function}`),
      expected,
    );
    assert.ok(calls.every(({ safe }) => !safe));
  });
}
