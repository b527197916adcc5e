import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import fc from "fast-check";
import { asBody } from "./ast.ts";
import { loadSqlGrammar, type SqlGrammar } from "./grammar.ts";
import { deparseForApproval, summarise } from "./summary.ts";

let grammar: SqlGrammar;
before(async () => {
  grammar = await loadSqlGrammar();
});

/** The tree without the places of its nodes in the text. */
function shape(text: string): unknown {
  const parsed = grammar.parse(text);
  return parsed.ok ? parsed.statements.map(({ node }) => withoutPlaces(node)) : parsed.message;
}

function withoutPlaces(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutPlaces);
  const body = asBody(value);
  if (body === undefined) return value;
  return Object.fromEntries(
    Object.entries(body)
      .filter(([field]) => !field.endsWith("location"))
      .map(([field, inner]) => [field, withoutPlaces(inner)]),
  );
}

describe("the summary", () => {
  test("no blank stands beside another or at an end, and nothing is hidden, wherever they come", () => {
    const piece = fc.constantFrom(
      "a",
      "b1",
      " ",
      " ",
      "\t",
      "\n",
      "\u00a0",
      "\u200b",
      "\u007f",
      "\u0007",
      "é",
      "~",
      "!",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = pieces.join("");
        const expected = text
          .replaceAll(/\s+/g, " ")
          .replaceAll(/[\p{Cc}\p{Cf}\p{Co}\p{Cn}]/gu, "\u00b7")
          .trim();
        assert.equal(
          summarise(text, () => []),
          expected,
        );
      }),
    );
  });

  const shown: [string, string][] = [
    ["SELECT 1 -- approved by the boss\n FROM t", "SELECT 1 FROM t"],
    ["/* harmless */ DELETE /* really */ FROM t", "DELETE FROM t"],
    ["SELECT/**/1", "SELECT 1"],
    [
      "SELECT '-- not a comment', $$/* nor this */$$",
      "SELECT '-- not a comment', $$/* nor this */$$",
    ],
    ["SELECT 'a' -- please approve\n 'b'", "SELECT 'a' 'b'"],
    ["SELECT  1\n\t,2", "SELECT 1 ,2"],
    ["SELECT 'a\u202eb\u0007\u200bc'", "SELECT 'a·b·\u00b7c'"],
    ["ALTER ROLE x PASSWORD 'hunter2'", "ALTER ROLE x PASSWORD '[redacted]'"],
    ["/* nested /* comment */ still */ SELECT 1", "SELECT 1"],
    ["SELECT 1 -- unterminated '", "SELECT 1"],
  ];
  for (const [text, line] of shown) {
    test(`shows ${JSON.stringify(line)}`, () => assert.equal(summarise(text, grammar.scan), line));
  }

  test("is one line of at most 512 characters", () => {
    const line = summarise(`SELECT '${"x".repeat(2000)}'`, grammar.scan);
    assert.equal(line.length, 512);
    assert.ok(line.endsWith("…"));
  });

  test("is readable for a long statement whose literals look like comments", () => {
    const line = summarise(`INSERT INTO t VALUES ('${"-- x ".repeat(8000)}')`, grammar.scan);
    assert.ok(line.startsWith("INSERT INTO t VALUES ('-- x -- x"));
    assert.equal(line.length, 512);
  });

  test("says so when the lexer cannot read the text", () => {
    assert.equal(
      summarise("SELECT 'unterminated -- comment", grammar.scan),
      "(a statement that cannot be read)",
    );
  });
});

describe("the statement for approval", () => {
  const piece = fc.constantFrom(
    "SELECT",
    "1",
    "a",
    ",",
    "FROM",
    "t",
    "-- x\n",
    "/* y */",
    "/* a /* b */ c */",
    "'s'",
    "'it''s'",
    "E'a\\'b'",
    "$$ -- z $$",
    "$q$/*$q$",
    '"Q -- w"',
    "\n",
    "  ",
    "WHERE",
    "=",
    "-",
    "--\n",
    "U&'\\0041'",
    "'p'\n'q'",
    "'p' -- c\n 'q'",
    "E'p\\\\' -- c'\n'q'",
    "+",
    "::",
    "text",
    "B'01'",
    "N'n'",
    "$1",
    ".5",
    "||",
  );
  test("has no comment and the same syntax tree", () => {
    let parsed = 0;
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = `SELECT ${pieces.join("")}`;
        const before = shape(text);
        if (typeof before === "string") return;
        parsed += 1;
        const rewritten = deparseForApproval(text, grammar.scan);
        assert.ok(rewritten !== undefined);
        assert.deepEqual(shape(rewritten), before, `${text} became ${rewritten}`);
        const comments = grammar
          .scan(rewritten)
          .filter(({ tokenName }) => tokenName.endsWith("COMMENT"));
        assert.deepEqual(comments, []);
        assert.ok(!/-- c|\/\* y/.test(rewritten));
      }),
      { numRuns: 6_000 },
    );
    assert.ok(parsed > 300, `only ${parsed} generated texts were SQL`);
  });

  test("is undefined where the lexer fails", () => {
    assert.equal(deparseForApproval("SELECT 'x", grammar.scan), undefined);
  });
});
