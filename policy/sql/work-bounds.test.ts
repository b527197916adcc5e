// What a hostile statement may cost, in counted steps: texts that would hold the process are refused before they do.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import fc from "fast-check";
import { createCatalogNames } from "./catalog-names.ts";
import { loadSqlGrammar, type SqlGrammar } from "./grammar.ts";
import { recogniseSql } from "./recognise.ts";
import { exceedsTokens, maxTokens } from "./token-count.ts";
import { maxComparisons } from "./walk-context.ts";

let grammar: SqlGrammar;
const names = createCatalogNames();

before(async () => {
  grammar = await loadSqlGrammar();
});

const refusalOf = (text: string): string | undefined =>
  recogniseSql(text, grammar, names).operation.unrecognised;

describe("tokens of one text", () => {
  test("as many as may be are parsed, one more is refused before the parser sees it", () => {
    // SELECT and n constants with n - 1 commas.
    const constants = (count: number): string => `SELECT ${Array(count).fill("1").join(",")}`;
    const most = maxTokens / 2;
    assert.equal(exceedsTokens(constants(most)), false);
    assert.equal(exceedsTokens(`${constants(most)};`), true);
    const parsed = grammar.parses();
    assert.match(refusalOf(`${constants(most)};`) ?? "", /more than 20000 words and signs/);
    assert.equal(grammar.parses(), parsed);
  });

  test("a long literal counts once, whatever stands in it", () => {
    const content = ", ;".repeat(15_000);
    for (const text of [
      `SELECT '${content}''${content.slice(0, 9)}'`,
      `SELECT e'${content}\\'${content.slice(0, 9)}'`,
      `SELECT $a$${content}$b$ ' $a$`,
      `SELECT $$${content}$$`,
      `SELECT "${content}"`,
      `SELECT 1 -- ${content}`,
    ]) {
      assert.equal(exceedsTokens(text), false, text.slice(0, 12));
      assert.equal(exceedsTokens(text, 5), false, text.slice(0, 12));
    }
  });

  test("what is no literal to PostgreSQL hides nothing", () => {
    const many = "1,".repeat(maxTokens);
    for (const text of [
      `SELECT 'a\\', ${many} '`,
      `SELECT /* /* */ ' */ ${many} '`,
      `SELECT a$b$, ${many} $b$`,
      `SELECT $1$, ${many} $1$`,
      `SELECT ge'\\', ${many} '`,
    ])
      assert.equal(exceedsTokens(text), true, text.slice(0, 20));
  });

  test("never fewer are counted than PostgreSQL's lexer finds", () => {
    const words = ["a", "E", "a$b$c", "1.5", "0x1e", ".5", "1e5", "_0", "$1", "é", "U&'x'"];
    const quoted = [
      "e'\\''",
      "'x''y'",
      '"q""r"',
      "$$ ' $$",
      "$t$ $$ $t$",
      "--x\n",
      "/* ' /* */ */",
    ];
    const signs = [" ", "\n", ",", "(", ")", "::", "<=", ";", "-", "$"];
    const piece = fc.constantFrom(...words, ...quoted, ...signs);
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        const text = pieces.join("");
        let found: number;
        try {
          found = grammar.scan(text).filter(({ tokenName }) => !/COMMENT/.test(tokenName)).length;
        } catch {
          return;
        }
        if (found > 0) assert.equal(exceedsTokens(text, found - 1), true, text);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("columns compared with relations", () => {
  /** One level around the statement, two of its own; each item counts itself and its relation. */
  const reach = (items: number): number => 3 + 2 * items;
  const statement = (items: number, columns: number): string =>
    `SELECT ${Array(columns).fill("a").join(",")} FROM ${Array.from({ length: items }, (_, at) => `t t${at}`).join(",")}`;

  test("as many as may be are compared, one column more is refused", () => {
    const items = 200;
    const most = Math.floor(maxComparisons / reach(items));
    assert.equal(refusalOf(statement(items, most)), undefined);
    assert.match(refusalOf(statement(items, most + 1)) ?? "", /more than 250000 times/);
  });

  test("a wide report is far from that", () => {
    assert.equal(refusalOf(statement(60, 400)), undefined);
  });
});

test("joins with aliases in one another name each relation once, however deep", () => {
  let from = "t";
  for (let level = 0; level < 100; level++) from = `(${from} JOIN u${level} ON true) AS j${level}`;
  const { operation } = recogniseSql(`SELECT a FROM ${from}`, grammar, names);
  assert.equal(operation.unrecognised, undefined);
  assert.equal(operation.accesses.length, 101);
});
