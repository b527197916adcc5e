import assert from "node:assert/strict";
import { test } from "node:test";
import { loadSqlGrammar } from "./grammar.ts";
import { recogniseSql } from "./recognise.ts";
import { createCatalogNames } from "./catalog-names.ts";

const grammar = await loadSqlGrammar();
const names = createCatalogNames();
const unparsed = (text: string): string | undefined =>
  recogniseSql(text, grammar, names).operation.unparsed;

for (const text of [
  "SELECT json_scalar(1, 2)",
  "SELECT * FROM GRAPH_TABLE (g MATCH (a) COLUMNS (a.x))",
  "REPACK people;",
  "/* ; begin */ WAIT FOR LSN '0/1' -- ; commit",
  "UPDATE t SET a = json_scalar(1, 2)",
  "SELECT json_scalar(1, 'begin; execute'), \"copy\", $x$ ; prepare $x$",
  "SELECT 'é😀', json_scalar(1, 2)",
])
  test(`a rule may let through: ${text}`, () => assert.equal(unparsed(text), ""));

for (const [text, why] of [
  ["SELECT json_scalar(1, 2); SELECT 1", /more than one statement/],
  [";SELECT json_scalar(1, 2)", /more than one statement|does not begin/],
  ["SET a b c", /SET/],
  ["/* c */ ReSeT a b", /RESET/],
  ["BEGIN NEWLY", /BEGIN/],
  ["START TRANSACTION NEWLY", /START/],
  ["COMMIT NEWLY", /COMMIT/],
  ["END NEWLY", /END/],
  ["ROLLBACK NEWLY x", /ROLLBACK/],
  ["SAVEPOINT a b", /SAVEPOINT/],
  ["PREPARE x FROM 'y'", /PREPARE/],
  ["EXPLAIN NEWLY EXECUTE x", /EXECUTE/],
  ["CREATE TABLE t NEWLY AS EXECUTE x", /EXECUTE/],
  ["DEALLOCATE a b", /DEALLOCATE/],
  ["DISCARD NEWLY", /DISCARD/],
  ["DECLARE c NEWLY CURSOR FOR SELECT 1", /DECLARE/],
  ["FETCH NEWLY NEWLY FROM c", /FETCH/],
  ["COPY t TO STDOUT NEWLY", /COPY/],
  ["WITH x AS (COPY t FROM STDIN) SELECT 1", /COPY/],
  ["DO NEWLY", /DO/],
  ["CALL x", /CALL/],
  ["USE other", /USE/],
  ["ALTER SYSTEM NEWLY", /ALTER/],
  ["ALTER ROLE x SET a = b c", /ALTER/],
  ["ALTER /* c */ DATABASE x SET a = b c", /ALTER/],
  ["(SELECT json_scalar(1, 2))", /does not begin/],
  ['"BEGIN" x', /does not begin/],
  ["SELECT 'open", /where its words end/],
  ["SELECT $$ open", /where its words end/],
] as const)
  test(`no rule lets through: ${text}`, () => assert.match(unparsed(text) ?? "", why));

for (const text of ["SELECT 1", "SELECT 1\0", "SELECT '\ud800'", `SELECT ${"(".repeat(9_000)}`])
  test(`is no matter of grammar: ${JSON.stringify(text.slice(0, 20))}`, () =>
    assert.equal(unparsed(text), undefined));
