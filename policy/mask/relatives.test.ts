import assert from "node:assert/strict";
import { before, test } from "node:test";
import type { SqlMatch } from "../bundle.ts";
import { decide, prepare } from "../decide.ts";
import { bundleOf, context, rule, subject } from "../fixture.ts";
import { followedBy } from "../followed.ts";
import type { Access, RelationAccess } from "../operation.ts";
import { loadSqlGrammar } from "../sql/grammar.ts";
import { createSqlRecogniser, type SqlRecogniser } from "../sql/recognise.ts";
import { maskCatalogFromRows, maxCatalogRelations } from "./catalog-query.ts";
import { createMaskCatalog, type CatalogRelation, type MaskCatalog } from "./catalog.ts";
import { createRelatives, type Relatives } from "./relatives.ts";

let recogniser: SqlRecogniser;
before(async () => {
  recogniser = createSqlRecogniser({ grammar: await loadSqlGrammar() });
});

let oids = 20_000;
function relation(name: string, more: Partial<CatalogRelation> = {}): CatalogRelation {
  oids += 1;
  return {
    oid: oids,
    schema: "public",
    name,
    kind: "table",
    columns: [],
    parents: [],
    reads: [],
    callsFunctions: false,
    hasRules: false,
    ...more,
  };
}

const catalog = createMaskCatalog({
  relations: [
    relation("top", { partitioned: true }),
    relation("middle", { partitioned: true, parents: ["public.top"] }),
    relation("leaf", { parents: ["public.middle"] }),
    relation("side", { parents: ["public.top"] }),
    relation("mother"),
    relation("father"),
    relation("child", { parents: ["public.mother", "public.father"] }),
    relation("seen", { kind: "view", reads: ["public.leaf"] }),
    relation("seen_again", { kind: "view", reads: ["public.seen", "public.mother"] }),
    relation("ruled", { reads: ["public.side"], hasRules: true }),
    relation("apart"),
  ],
});

/** What each access touches besides, as far as a rule about any table could be about it. */
function touched(text: string, of: MaskCatalog = catalog): Record<string, string[]> {
  const { operation } = recogniser.recognise(text);
  const { accesses } = everything(of).of(operation.accesses, operation.facts.count > 1);
  return Object.fromEntries(
    accesses.flatMap((access) =>
      access.kind === "relation" && access.relatives !== undefined
        ? [[`${access.statement} ${short(access.relation)}`, names(access)]]
        : [],
    ),
  );
}

function everything(of: MaskCatalog): Relatives {
  const followed = followedBy({
    rules: [rule("no", "Deny", { sql: { relations: ["public.*"] } })],
  });
  assert.ok(followed);
  return createRelatives(of, followed, () => undefined);
}

function names({ relatives = [] }: RelationAccess): string[] {
  return relatives.map(({ as, relation: name }) => `${as} ${short(name)}`).sort();
}

function short(name: string): string {
  return name.replace("public.", "");
}

const cases: readonly (readonly [string, Record<string, string[]>])[] = [
  ["SELECT * FROM leaf", { "select leaf": ["whole middle", "whole top"] }],
  ["SELECT * FROM top", { "select top": ["part leaf", "part middle", "part side"] }],
  ["SELECT * FROM middle", { "select middle": ["part leaf", "whole top"] }],
  ["SELECT * FROM ONLY middle", { "select middle": ["whole top"] }],
  ["SELECT * FROM ONLY top", {}],
  ["SELECT * FROM ONLY top, top AS t", { "select top": ["part leaf", "part middle", "part side"] }],
  ["INSERT INTO top VALUES (1)", { "insert top": ["part leaf", "part middle", "part side"] }],
  ["INSERT INTO mother VALUES (1)", {}],
  ["UPDATE mother SET a = 1", { "update mother": ["part child", "whole father"] }],
  ["UPDATE ONLY mother SET a = 1", {}],
  ["DELETE FROM child", { "delete child": ["whole father", "whole mother"] }],
  ["SELECT * FROM seen", { "select seen": ["read leaf", "read middle", "read top"] }],
  [
    "SELECT * FROM seen_again",
    {
      "select seen_again": [
        "read child",
        "read father",
        "read leaf",
        "read middle",
        "read mother",
        "read seen",
        "read top",
      ],
    },
  ],
  ["DROP VIEW seen", {}],
  ["GRANT SELECT ON seen TO x", {}],
  ["INSERT INTO ruled VALUES (1)", {}],
  ["SELECT * FROM apart, nobody", {}],
  ["SELECT 1", {}],
  ["CREATE TABLE fresh (a int)", {}],
  [
    "CREATE TABLE fresh (a int); INSERT INTO fresh VALUES (1)",
    { "create fresh": ["together fresh"], "insert fresh": ["together fresh"] },
  ],
  [
    "CREATE TABLE fresh (a int); SELECT * FROM apart",
    { "create fresh": ["together apart", "together fresh"] },
  ],
  [
    "CREATE VIEW fresh AS SELECT * FROM apart; DELETE FROM fresh",
    {
      "create fresh": ["together apart", "together fresh"],
      "delete fresh": ["together apart", "together fresh"],
    },
  ],
];

for (const [text, wanted] of cases)
  test(`${text} touches ${JSON.stringify(wanted)}`, () => {
    assert.deepEqual(touched(text), wanted);
  });

test("a schema is all that is in it", () => {
  const found = touched("DROP SCHEMA public CASCADE");
  assert.equal(Object.values(found).flat().length, catalog.relations.size);
});

test("what no rule names is not kept, and accesses without anything stay the same object", () => {
  const followed = followedBy({
    rules: [rule("no", "Deny", { sql: { relations: ["public.top"] } })],
  });
  assert.ok(followed);
  const relatives = createRelatives(catalog, followed, () => undefined);
  const of = (text: string): readonly [readonly Access[], readonly Access[]] => {
    const { accesses } = recogniser.recognise(text).operation;
    return [accesses, relatives.of(accesses, false).accesses];
  };
  const [plain, same] = of("SELECT * FROM child, top");
  assert.equal(same, plain);
  const [leaf, found] = of("SELECT * FROM leaf");
  assert.notEqual(found, leaf);
  assert.equal(of("SELECT * FROM leaf")[1], found, "and once per text");
  assert.equal(relatives.of(found, false).accesses, found);
});

test("nothing has to be known where no Deny and no RequireApproval names more than everything", () => {
  const rules = [
    rule("a", "Allow", { sql: { relations: ["public.top"], columns: ["public.top.a"] } }),
    rule("b", "Deny", { sql: { statements: ["drop"] } }),
    rule("c", "Deny", { sql: { relations: ["*"], columns: ["*.*.*"] } }),
    rule("d", "RequireApproval", {}),
  ];
  assert.equal(followedBy({ rules }), undefined);
  const asks = rule("e", "RequireApproval", { sql: { columns: ["public.top.a"] } });
  assert.deepEqual(followedBy({ rules: [...rules, asks] })?.columnNames, ["public.top.a"]);
});

test("in a database with more relations than are known, what is not known is refused, and so is what belongs to it", () => {
  const row = (oid: number, name: string): (string | null)[] => [
    String(oid),
    "public",
    name,
    "r",
    null,
    null,
    "f",
  ];
  const rows = Array.from({ length: maxCatalogRelations }, (_, index) => row(index, `t${index}`));
  const full = maskCatalogFromRows([
    rows,
    [
      ["3", "99999999"],
      ["99999999", "4"],
      ["5", "6"],
    ],
    [],
    [],
    [],
    [],
  ]);
  const refused = (text: string): boolean => {
    const { accesses } = recogniser.recognise(text).operation;
    return everything(full).of(accesses, false).refused !== undefined;
  };
  assert.deepEqual(
    ["t1", "t3", "t4", "t5", "t6", "nobody"].map((name) => refused(`SELECT * FROM ${name}`)),
    [false, true, true, false, false, true],
  );
  assert.equal(refused("SELECT * FROM pg_class"), false);
});

test("a text that makes and names more than can be told apart is refused", () => {
  const many = createMaskCatalog({
    relations: Array.from({ length: 300 }, (_, index) =>
      relation(`p${index}`, { parents: ["public.all"] }),
    ).concat(relation("all")),
  });
  const { accesses } = recogniser.recognise(
    'CREATE TABLE x (a int); SELECT * FROM "all"',
  ).operation;
  assert.match(everything(many).of(accesses, true).refused ?? "", /send its statements one by one/);
});

/** Whether a Deny beside `Allow public.*` speaks about the text. */
function denied(sql: SqlMatch, text: string): boolean {
  const bundle = bundleOf([
    rule("all", "Allow", { sql: { relations: ["*"] } }),
    rule("kinds", "Allow", {
      sql: { statements: ["truncate", "drop", "alter"], functions: ["*"] },
    }),
    rule("no", "Deny", { sql }),
  ]);
  const { operation } = recogniser.recognise(text);
  return decide(prepare(bundle), subject, { ...operation, params: [] }, context).verdict === "deny";
}

test("what takes rows or columns from under their name is of any kind of statement to a Deny", () => {
  const reads: SqlMatch = { statements: ["select"], relations: ["public.top", "public.leaf"] };
  for (const text of [
    "ALTER TABLE top RENAME TO x",
    "ALTER TABLE top RENAME a TO b",
    "ALTER TABLE leaf SET SCHEMA x",
    "ALTER TABLE middle DETACH PARTITION leaf",
    "ALTER TABLE leaf NO INHERIT middle",
    "ALTER VIEW top RENAME TO x",
  ])
    assert.equal(denied(reads, text), true, text);
  for (const text of ["ALTER TABLE top ADD b int", "ALTER TABLE side RENAME TO x", "TRUNCATE top"])
    assert.equal(denied(reads, text), false, text);
});

test("what ties rows to another table, or makes a view to write them through, is of the kinds that this leads to", () => {
  const of = (kind: "select" | "insert" | "delete"): SqlMatch => ({
    statements: [kind],
    relations: ["public.top"],
  });
  const cases: readonly (readonly [string, boolean, boolean, boolean])[] = [
    ["CREATE TABLE new PARTITION OF top DEFAULT", false, true, false],
    ["CREATE TABLE new () INHERITS (top)", false, true, false],
    ["ALTER TABLE top ATTACH PARTITION new DEFAULT", false, true, false],
    ["ALTER TABLE own ATTACH PARTITION top DEFAULT", true, true, true],
    ["ALTER TABLE top INHERIT own", true, true, true],
    ["ALTER TABLE own INHERIT top", false, true, false],
    ["CREATE VIEW v AS SELECT * FROM top", true, true, true],
    ["CREATE VIEW v AS SELECT * FROM top, own", true, false, false],
    ["CREATE VIEW v AS SELECT DISTINCT a FROM top", true, false, false],
    ["CREATE VIEW v AS SELECT a FROM top LIMIT 1", true, false, false],
    ["CREATE MATERIALIZED VIEW v AS SELECT * FROM top", true, false, false],
    ["CREATE TABLE v AS SELECT * FROM top", true, false, false],
  ];
  for (const [text, select, insert, remove] of cases)
    assert.deepEqual(
      (["select", "insert", "delete"] as const).map((kind) => denied(of(kind), text)),
      [select, insert, remove],
      text,
    );
});

test("CASCADE reaches what it does not name, unless only views and constraints go with a table", () => {
  const sql: SqlMatch = { relations: ["public.top"] };
  for (const text of [
    "TRUNCATE apart CASCADE",
    "DROP TYPE kind CASCADE",
    "DROP DOMAIN kind CASCADE",
  ])
    assert.equal(denied(sql, text), true, text);
  for (const text of [
    "TRUNCATE apart",
    "DROP TYPE kind",
    "DROP TABLE apart CASCADE",
    "DROP VIEW apart CASCADE",
  ])
    assert.equal(denied(sql, text), false, text);
  assert.equal(
    denied({ statements: ["drop"], relations: ["public.top"] }, "TRUNCATE apart CASCADE"),
    false,
  );
});
