import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import fc from "fast-check";
import { notation } from "./access-notation.ts";
import { loadSqlGrammar, maxSqlBytes, type SqlGrammar } from "./grammar.ts";
import { createSqlRecogniser, type SqlRecogniser } from "./recognise.ts";

let grammar: SqlGrammar;
let recogniser: SqlRecogniser;

before(async () => {
  grammar = await loadSqlGrammar();
  recogniser = createSqlRecogniser({ grammar });
});

const accessesOf = (sql: string): string[] =>
  recogniser.recognise(sql).operation.accesses.map(notation);
const refusalOf = (sql: string): string | undefined =>
  recogniser.recognise(sql).operation.unrecognised;

interface Case {
  readonly section: string;
  readonly sql: string;
  readonly expected: readonly string[];
}

function corpus(): Case[] {
  const cases: { section: string; sql: string; expected: string[] }[] = [];
  let section = "";
  for (const line of readFileSync(new URL("./accesses.corpus.txt", import.meta.url), "utf8").split(
    "\n",
  )) {
    if (line === "" || line.startsWith("-- ")) continue;
    if (line.startsWith("# ")) section = line.slice(2);
    else if (line.startsWith("    ")) cases.at(-1)?.expected.push(line.trim());
    else cases.push({ section, sql: line, expected: [] });
  }
  return cases;
}

describe("what a statement touches", () => {
  for (const { section, sql, expected } of corpus()) {
    test(`${section}: ${sql}`, () => {
      const refusal = refusalOf(sql);
      assert.deepEqual(
        [...accessesOf(sql), ...(refusal === undefined ? [] : [`refused: ${refusal}`])],
        expected,
      );
    });
  }
});

describe("session basics", () => {
  const drivers = JSON.parse(
    readFileSync(new URL("./driver-statements.fixture.json", import.meta.url), "utf8"),
  ) as Record<string, string[]>;
  for (const [driver, statements] of Object.entries(drivers)) {
    test(`cover everything ${driver} and its inspector send by themselves`, () => {
      assert.ok(statements.length > 2);
      for (const sql of statements) {
        const { operation } = recogniser.recognise(sql);
        assert.equal(operation.unrecognised, undefined, sql);
        const beyond = operation.accesses.filter(
          (access) => !("basic" in access && access.basic === true),
        );
        assert.deepEqual(beyond.map(notation), [], sql);
      }
    });
  }
});

describe("facts", () => {
  test("hasWhere holds only when every update and delete of the text has a WHERE", () => {
    const has = (sql: string): boolean => recogniser.recognise(sql).operation.facts.hasWhere;
    assert.equal(has("UPDATE t SET a = 1 WHERE b = 2"), true);
    assert.equal(has("UPDATE t SET a = 1 WHERE b = 2; DELETE FROM t"), false);
    assert.equal(has("WITH d AS (DELETE FROM t) UPDATE t SET a = 1 WHERE b = 2"), false);
    assert.equal(has("SELECT 1"), false);
    assert.equal(has("MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE"), false);
  });

  test("name every kind, relation, column and function once, and count top-level statements", () => {
    const { facts } = recogniser.recognise(
      "SELECT lower(a) FROM t; WITH x AS (UPDATE u SET b = 1) SELECT a FROM t; BEGIN",
    ).operation;
    assert.deepEqual(facts, {
      statements: ["select", "update", "transaction"],
      relationsRead: ["public.t"],
      relationsWritten: ["public.u"],
      columns: ["public.t.a", "public.u.b"],
      functions: ["pg_catalog.lower"],
      hasWhere: false,
      count: 3,
    });
  });
});

const unparsed = { kind: "statement", statement: "unrecognised", opaque: true };

describe("texts that are not recognised", () => {
  test("a syntax error carries PostgreSQL's own words and position", () => {
    const result = recogniser.recognise("SELECT 1 FORM t x");
    assert.deepEqual(result.syntaxError, { message: 'syntax error at or near "t"', position: 15 });
    assert.equal(result.operation.unrecognised, 'syntax error at or near "t"');
    assert.deepEqual(result.operation.accesses, [unparsed]);
  });

  test("a NUL is refused, because the grammar would see only what stands before it", () => {
    assert.match(refusalOf("SELECT 1\0; DROP TABLE customers") ?? "", /NUL/);
  });

  test("broken Unicode is refused, because PostgreSQL would see other characters", () => {
    assert.match(refusalOf("SELECT '\ud800'") ?? "", /Unicode/);
  });

  test("a text over 64 KiB is refused before it is parsed", () => {
    const parsed = grammar.parses();
    assert.match(
      refusalOf(`SELECT '${"é".repeat(maxSqlBytes / 2)}'`) ?? "",
      /longer than 65536 bytes/,
    );
    assert.equal(grammar.parses(), parsed);
  });

  test("a statement that names hundreds of relations is refused, not compared with itself", () => {
    const tables = Array.from({ length: 1000 }, (_, index) => `t${index}`).join(",");
    assert.match(refusalOf(`SELECT a FROM ${tables}`) ?? "", /more than 512/);
  });
});

describe("deep nesting", () => {
  const shapes: Record<string, (levels: number) => string> = {
    "left-deep operators": (n) => `SELECT 1${"+1".repeat(n)}`,
    "prefix operators": (n) => `SELECT ${"- ".repeat(n)}a`,
    casts: (n) => `SELECT 1${"::int".repeat(n)}`,
    parentheses: (n) => `SELECT ${"(".repeat(n)}1${")".repeat(n)}`,
    "sub-selects": (n) => `SELECT ${"(SELECT ".repeat(n)}1${")".repeat(n)}`,
    "CTEs in CTEs": (n) => `${"WITH a AS (".repeat(n)}SELECT 1${") SELECT 1".repeat(n)}`,
    joins: (n) => `SELECT 1 FROM a${" NATURAL JOIN a".repeat(n)}`,
    unions: (n) => `SELECT 1${" UNION SELECT 1".repeat(n)}`,
    "CASE in CASE": (n) => `SELECT ${"1 + CASE WHEN true THEN ".repeat(n)}1${" END".repeat(n)}`,
    calls: (n) => `SELECT ${"f(".repeat(n)}1${")".repeat(n)}`,
    "NOT NOT": (n) => `SELECT ${"NOT ".repeat(n)}true`,
    collations: (n) => `SELECT a${" COLLATE b".repeat(n)}`,
    arrays: (n) => `SELECT ${"ARRAY[".repeat(n)}1${"]".repeat(n)}`,
  };
  for (const [name, shape] of Object.entries(shapes)) {
    test(`${name} are recognised to a hundred levels and refused far beyond, without harming the grammar`, () => {
      assert.equal(refusalOf(shape(40)), undefined);
      for (const levels of [400, 1500, 4000, 20_000]) {
        assert.match(
          refusalOf(shape(levels).slice(0, maxSqlBytes)) ?? "",
          /nests too deeply|words and signs|syntax error|memory exhausted|unterminated/,
        );
      }
      assert.equal(grammar.healthy(), true);
    });
  }

  test("long flat statements are not mistaken for deep ones", () => {
    const rows = Array.from({ length: 1500 }, (_, index) => `(-${index}, 'a'::text || 'b')`).join(
      ",",
    );
    assert.equal(refusalOf(`INSERT INTO t VALUES ${rows}`), undefined);
    const terms = Array.from({ length: 1000 }, (_, index) => `a = ${index}`).join(" OR ");
    assert.equal(refusalOf(`SELECT 1 FROM t WHERE ${terms}`), undefined);
    assert.equal(refusalOf(`SELECT '${"((((((-----".repeat(500)}'`), undefined);
  });
});

describe("the cache", () => {
  test("parses equal texts once", () => {
    const fresh = createSqlRecogniser({ grammar });
    const parsed = grammar.parses();
    for (const sql of ["SELECT 'x1'", "SELECT 'x1'", "SELECT 'x2'", "SELECT 'x1'"])
      fresh.recognise(sql);
    assert.equal(grammar.parses() - parsed, 2);
  });

  test("is bounded in bytes too", () => {
    const tiny = createSqlRecogniser({ grammar, maxBytes: 1000 });
    const before = grammar.parses();
    const long = `SELECT '${"x".repeat(2000)}'`;
    tiny.recognise(long);
    tiny.recognise(long);
    assert.equal(grammar.parses() - before, 2);
  });
});

describe("a resolver", () => {
  const columns = new Map([
    ["public.orders", new Set(["id", "customer_id", "total"])],
    ["public.customers", new Set(["id", "name", "ssn"])],
  ]);
  const resolver = {
    columnsOf: (relation: string) => columns.get(relation),
    publicFunctions: new Set(["lower", "spill"]),
  };
  const resolved = (sql: string): string[] =>
    createSqlRecogniser({ grammar, resolver }).recognise(sql).operation.accesses.map(notation);

  test("gives an unqualified column only to relations that have it", () => {
    assert.deepEqual(
      resolved(
        "SELECT total FROM orders WHERE customer_id IN (SELECT id FROM customers WHERE name = 'x')",
      ),
      ["select public.orders(total,customer_id,id)", "select public.customers(id,name)"],
    );
  });

  test("unmasks a function called as if it were a column", () => {
    assert.deepEqual(resolved("SELECT o.spill FROM orders o"), [
      "select public.orders(spill,*)",
      "select public.spill() !",
    ]);
  });

  test("counts a function of the user's own beside the catalog's of that name", () => {
    assert.deepEqual(resolved("SELECT lower('a')"), [
      "select public.lower() !",
      "select pg_catalog.lower() ~",
    ]);
    assert.deepEqual(resolved("SELECT pg_catalog.lower('a')"), ["select pg_catalog.lower() ~"]);
  });
});

describe("properties", () => {
  const word = fc.constantFrom(
    "SELECT",
    "FROM",
    "WHERE",
    "t",
    "u",
    "a",
    "*",
    ",",
    "(",
    ")",
    "1",
    "'x'",
    "=",
    "WITH",
    "AS",
    "DELETE",
    "UPDATE",
    "SET",
    "INSERT",
    "INTO",
    "VALUES",
    "RETURNING",
    ";",
    "--",
    "/*",
    "*/",
    "\n",
    "$1",
    "::",
    "int",
    "JOIN",
    "ON",
    "UNION",
    "COPY",
    "TO",
    "STDOUT",
    '"',
    "E'",
  );

  test("no text makes the recogniser throw, and what it does not parse has no access but one that only a rule naming it covers", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: "binary", maxLength: 200 }),
          fc.array(word, { maxLength: 40 }).map((words) => words.join(" ")),
        ),
        (text) => {
          const { operation, syntaxError } = recogniser.recognise(text);
          assert.ok(operation.summary.length <= 512);
          if (syntaxError !== undefined) assert.deepEqual(operation.accesses, [unparsed]);
          else if (operation.unrecognised === undefined)
            assert.ok(operation.accesses.length > 0, text);
        },
      ),
      { numRuns: 3000 },
    );
  });

  test("every relation of a generated statement is reported, at any depth and under any alias", () => {
    const name = fc.constantFrom("orders", "customers", "items", "sales.log");
    const query = fc.letrec<{ select: string; source: string }>((tie) => ({
      source: fc.oneof(
        { depthSize: "small", withCrossShrink: true },
        name,
        name.map((table) => `${table} AS x`),
        tie("select").map((inner) => `(${inner}) AS y`),
        fc
          .tuple(tie("source"), tie("source"))
          .map(([left, right]) => `(${left} CROSS JOIN LATERAL (SELECT 1 FROM ${right}) l)`),
      ),
      select: fc.oneof(
        { depthSize: "small", withCrossShrink: true },
        tie("source").map((from) => `SELECT 1 FROM ${from}`),
        fc
          .tuple(tie("select"), tie("source"))
          .map(([inner, from]) => `SELECT (${inner} LIMIT 1) FROM ${from}`),
        fc
          .tuple(tie("select"), tie("select"))
          .map(([one, other]) => `(${one}) UNION ALL (${other})`),
        fc
          .tuple(tie("select"), tie("source"))
          .map(([inner, from]) => `WITH cte AS (${inner}) SELECT 1 FROM cte, ${from}`),
        fc
          .tuple(tie("source"), tie("select"))
          .map(([from, inner]) => `SELECT 1 FROM ${from} WHERE EXISTS (${inner})`),
      ),
    })).select;
    fc.assert(
      fc.property(query, (sql) => {
        const expected = new Set(
          [...sql.matchAll(/\b(orders|customers|items|sales\.log)\b/g)].map(([, table = ""]) =>
            table.includes(".") ? table : `public.${table}`,
          ),
        );
        const { operation } = recogniser.recognise(sql);
        if (/nests too deeply/.test(operation.unrecognised ?? "")) return;
        assert.equal(operation.unrecognised, undefined, sql);
        assert.deepEqual(new Set(operation.facts.relationsRead), expected);
      }),
      { numRuns: 500 },
    );
  });
});
