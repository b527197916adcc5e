import assert from "node:assert/strict";
import { before, test } from "node:test";
import fc from "fast-check";
import { loadSqlGrammar } from "../../policy/sql/grammar.ts";
import { createSqlRecogniser } from "../../policy/sql/recognise.ts";
import { shapeOf } from "./shape.ts";
import { createStudy, understand } from "./understanding.ts";
import type { Recognise } from "./understanding.ts";

let recognise: Recognise;

before(async () => {
  const recogniser = createSqlRecogniser({ grammar: await loadSqlGrammar() });
  recognise = (text) => recogniser.recognise(text);
});

const templates = [
  "SELECT abalance FROM pgbench_accounts WHERE aid = #;",
  "UPDATE pgbench_accounts SET abalance = abalance + # WHERE aid = #",
  "UPDATE t SET a=# WHERE b>=# AND c<>#",
  "DELETE FROM t WHERE id < #",
  "SELECT a, b FROM t WHERE a = # ORDER BY # LIMIT #",
  "SELECT t.a#b FROM t WHERE a = #e# OR b = #.#",
  "SELECT f(a => #) FROM t",
  "SELECT * FROM t WHERE a = $# AND b = #",
  "INSERT INTO t VALUES (#, #) ON CONFLICT (id) DO UPDATE SET n = #",
  "SELECT 1 WHERE 1 =#",
  "SELECT # = # = #",
  "select a from t where a = #abc",
];

test("a text understood by its shape has exactly the facts it would have by itself", () => {
  const study = createStudy((text) => recognise(text));
  fc.assert(
    fc.property(
      fc.constantFrom(...templates),
      fc.array(fc.integer({ min: 0, max: 2_000_000_000 }), { minLength: 4, maxLength: 4 }),
      (template, numbers) => {
        let index = 0;
        const text = template.replaceAll("#", () => String(numbers[index++ % numbers.length]));
        const { shape: _shape, ...actual } = study(text);
        const { shape: _own, ...expected } = understand(text, recognise(text));
        assert.deepEqual(actual, expected);
      },
    ),
    { numRuns: 500 },
  );
});

/** The same, said by regular expressions. */
function shapeByPatterns(text: string): string | undefined {
  const unclear = /['"\\`\u0080-\uffff]|--|\/\*|\$[^\d]|\$$|;\s*\S|=>|password/i;
  const compared = /((?:[^=<>]=|[<>]=?)\s?)\d{1,9}(?![\w.$])/g;
  if (!/^\s*(?:select|insert|update|delete)\b/i.test(text) || unclear.test(text)) return undefined;
  const shape = text.replace(compared, "$10");
  return shape === text ? undefined : shape;
}

test("the shape of a text is what its patterns say, whatever the text", () => {
  const pieces = [
    "=",
    "<",
    ">",
    "b= 17",
    "<>4",
    ">= 9,",
    " ",
    "\t",
    "\n",
    "\v",
    "0",
    "7",
    "123456789",
    "1234567890",
    ".",
    "e",
    "_",
    "$",
    "$1",
  ];
  const rare = [
    "-",
    "--",
    "/",
    "/*",
    ";",
    "p",
    "PassWord",
    "'",
    '"',
    "\\",
    "`",
    "\u00a0",
    "é",
    "+",
    "(",
    ",",
  ];
  const piece = fc.oneof(
    { weight: 60, arbitrary: fc.constantFrom(...pieces) },
    { weight: 1, arbitrary: fc.constantFrom(...rare) },
  );
  let shaped = 0;
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 24 }), (parts) => {
      const text = `select a ${parts.join("")}`;
      const shape = shapeOf(text);
      assert.equal(shape, shapeByPatterns(text));
      if (shape !== undefined) shaped += 1;
    }),
    { numRuns: 3_000 },
  );
  assert.ok(shaped > 300, `only ${shaped} of the texts had a shape`);
});

test("texts that differ only in the integer they compare with are one shape", () => {
  assert.equal(shapeOf("SELECT 1 FROM t WHERE a = 5;"), shapeOf("SELECT 1 FROM t WHERE a = 77;"));
});

for (const text of [
  "SET statement_timeout = 5000",
  "SELECT 1; SET statement_timeout = 5000",
  "SELECT set_config('statement_timeout', '0', false) WHERE 1 = 1",
  "SELECT a FROM t ORDER BY 2",
  "SELECT f(a => 5)",
  "SELECT $a$ = 5 $a$",
  "SELECT 1 /* = 5 */",
  "SELECT 1 -- = 5",
  "SELECT a FROM t WHERE b = 5e1",
  "SELECT a FROM t WHERE b = 12345678901",
  "CREATE TABLE t (a int) WITH (fillfactor = 70)",
  "SELECT a FROM t WHERE b =\u00a05",
]) {
  test(`no shape for ${text}`, () => {
    assert.equal(shapeOf(text), undefined);
  });
}
