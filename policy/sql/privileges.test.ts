import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { BundleRule, SqlMatch } from "../bundle.ts";
import { ask, bundleOf, relation, rule, sql } from "../fixture.ts";
import type { StatementKind } from "../operation.ts";
import {
  privilegesOf,
  type GrantCatalog,
  type GrantRelation,
  type ObjectPrivilege,
} from "./privileges.ts";

const table = (
  schema: string,
  name: string,
  columns: readonly string[] = ["id", "ssn"],
  changes: Partial<GrantRelation> = {},
): GrantRelation => ({ schema, name, kind: "table", columns, sequences: [], ...changes });

const catalog: GrantCatalog = {
  schemas: ["public", "sales", "ext"],
  relations: [
    table("public", "orders", ["id", "status", "total"], {
      sequences: [{ schema: "public", name: "orders_id_seq" }],
    }),
    table("public", "customers", ["id", "name", "ssn"]),
    table("sales", "leads"),
    table("public", "cards", ["id"], { kind: "view" }),
    table("public", "orders_id_seq", [], { kind: "sequence" }),
  ],
};

function line(item: ObjectPrivilege): string {
  if (item.on === "schema") return `${item.privilege} ${item.schema}`;
  const column = item.on === "table" && item.column !== undefined ? `(${item.column})` : "";
  return `${item.privilege}${column} ${item.on === "sequence" ? "sequence " : ""}${item.schema}.${item.name}`;
}

function given(rules: readonly BundleRule[], of = catalog): readonly string[] {
  return privilegesOf(bundleOf(rules), of).privileges.map(line);
}

const allow = (match: SqlMatch, name = "a"): BundleRule => rule(name, "Allow", { sql: match });
const deny = (match: SqlMatch, name = "d"): BundleRule => rule(name, "Deny", { sql: match });

const cases: readonly {
  readonly title: string;
  readonly rules: readonly BundleRule[];
  readonly gives: readonly string[];
}[] = [
  { title: "no rule gives nothing", rules: [], gives: [] },
  {
    title: "select of a named table gives SELECT on it and USAGE of its schema, and nothing else",
    rules: [allow({ statements: ["select"], relations: ["public.orders"] })],
    gives: ["USAGE public", "SELECT public.orders"],
  },
  {
    title: "a wildcard is resolved against the relations that exist",
    rules: [allow({ statements: ["select"], relations: ["sales.*", "public.c*"] })],
    gives: [
      "USAGE public",
      "USAGE sales",
      "SELECT public.customers",
      "SELECT sales.leads",
      "SELECT public.cards",
    ],
  },
  {
    title: "columns give those columns only",
    rules: [
      allow({
        statements: ["select"],
        columns: ["public.customers.id", "public.customers.name"],
      }),
    ],
    gives: ["USAGE public", "SELECT(id) public.customers", "SELECT(name) public.customers"],
  },
  {
    title: "every column by a wildcard is the whole table, also columns that are still to come",
    rules: [allow({ statements: ["select"], columns: ["public.customers.*"] })],
    gives: ["USAGE public", "SELECT public.customers"],
  },
  {
    title: "an insert may draw from the sequence of a default, and does not read",
    rules: [allow({ statements: ["insert"], relations: ["public.orders"] })],
    gives: ["USAGE public", "INSERT public.orders", "USAGE sequence public.orders_id_seq"],
  },
  {
    title: "an update held for a person gives UPDATE, and SELECT for its WHERE",
    rules: [
      rule("h", "RequireApproval", {
        sql: { statements: ["update"], relations: ["public.orders"], hasWhere: true },
      }),
    ],
    gives: ["USAGE public", "SELECT public.orders", "UPDATE public.orders"],
  },
  {
    title: "a Deny of a column leaves the others",
    rules: [
      allow({ statements: ["select"], relations: ["public.customers"] }),
      deny({ statements: ["select"], columns: ["public.customers.ssn"] }),
    ],
    gives: ["USAGE public", "SELECT(id) public.customers", "SELECT(name) public.customers"],
  },
  {
    title: "a Deny of kinds takes them away",
    rules: [
      allow({ relations: ["public.customers"] }),
      deny({ statements: ["delete", "truncate", "insert"] }),
    ],
    gives: ["USAGE public", "SELECT public.customers", "UPDATE public.customers"],
  },
  {
    title: "a Deny that speaks sometimes only takes nothing away",
    rules: [
      allow({ statements: ["delete"], relations: ["public.customers"] }),
      deny({ statements: ["delete"], hasWhere: false }),
      rule("w", "Deny", { sql: { statements: ["delete"] }, when: "sql.count > 1" }),
    ],
    gives: ["USAGE public", "SELECT public.customers", "DELETE public.customers"],
  },
  {
    title: "a rule that lists columns permits no delete, so it gives nothing for one",
    rules: [allow({ statements: ["delete"], columns: ["public.orders.id"] })],
    gives: [],
  },
  {
    title: "what only observes neither gives nor takes",
    rules: [
      allow({ statements: ["select"], relations: ["sales.leads"] }),
      rule("o", "Allow", { sql: { statements: ["delete"] } }, "Observe"),
      rule("p", "Deny", { sql: {} }, "Observe"),
    ],
    gives: ["USAGE sales", "SELECT sales.leads"],
  },
  {
    title: "a view is never truncated and a sequence only read",
    rules: [allow({ relations: ["public.cards", "public.orders_id_seq"] })],
    gives: [
      "USAGE public",
      "SELECT public.cards",
      "INSERT public.cards",
      "UPDATE public.cards",
      "DELETE public.cards",
      "SELECT sequence public.orders_id_seq",
    ],
  },
  {
    title: "functions by name give USAGE of their schema",
    rules: [allow({ statements: ["select"], functions: ["ext.lookup"] })],
    gives: ["USAGE ext"],
  },
];

for (const { title, rules, gives } of cases)
  test(title, () => assert.deepEqual([...given(rules)].sort(), [...gives].sort()));

test("a name with a dot in it is not mistaken for another schema's table", () => {
  const odd: GrantCatalog = {
    schemas: ["a.b", "a"],
    relations: [table("a.b", "c"), table("a", "b.c")],
  };
  assert.deepEqual(given([allow({ statements: ["select"], relations: ["a.b.c"] })], odd), []);
});

test("rules that only read make the role read-only, also when they name functions", () => {
  const readOnly = (...rules: BundleRule[]): boolean =>
    privilegesOf(bundleOf(rules), catalog).readOnly;
  const read = allow({ statements: ["select", "explain", "copy"], relations: ["public.*"] });
  assert.equal(readOnly(read), true);
  assert.equal(readOnly(read, allow({ statements: ["select"], functions: ["*"] }, "f")), true);
  assert.equal(readOnly(read, allow({ statements: ["insert"] }, "i")), false);
  assert.equal(readOnly(read, allow({ statements: ["do"] }, "do")), false);
  assert.equal(readOnly(read, allow({ statements: ["call"] }, "c")), false);
  assert.equal(
    readOnly(read, allow({ statements: ["insert"] }, "i"), deny({ statements: ["insert"] })),
    true,
  );
});

test("what only an owner can do is said, with the rule that permits it", () => {
  const { ungrantable } = privilegesOf(
    bundleOf([allow({ statements: ["select", "create", "drop"] }, "ddl")]),
    catalog,
  );
  assert.equal(ungrantable.length, 1);
  assert.match(ungrantable[0] ?? "", /agents\/p rule ddl permits create, drop, .*owner/);
});

test("says that replication cannot be given to a role made for a grant", () => {
  const { ungrantable } = privilegesOf(
    bundleOf([rule("stream", "Allow", { sql: { statements: ["replication"] } })]),
    catalog,
  );
  assert.deepEqual(ungrantable.length, 1);
  assert.match(ungrantable[0] ?? "", /rule stream permits replication, .*static credential/);
});

test("policies that only observe refuse nothing, so neither does the database", () => {
  const bundle = { ...bundleOf([rule("o", "Allow", {}, "Observe")]), observeOnly: true };
  const { privileges, readOnly } = privilegesOf(bundle, catalog);
  assert.equal(readOnly, false);
  assert.ok(privileges.map(line).includes("TRUNCATE sales.leads"));
});

const kinds = ["select", "insert", "update", "delete", "truncate"] as const;
const needs: Readonly<Record<(typeof kinds)[number], readonly string[]>> = {
  select: ["SELECT"],
  insert: ["INSERT"],
  update: ["UPDATE", "SELECT"],
  delete: ["DELETE", "SELECT"],
  truncate: ["TRUNCATE"],
};
const givenBy: Readonly<Record<string, readonly StatementKind[]>> = {
  SELECT: ["select", "update", "delete", "merge"],
  INSERT: ["insert"],
  UPDATE: ["update"],
  DELETE: ["delete"],
  TRUNCATE: ["truncate"],
};
const some = <T>(values: readonly T[]) =>
  fc.option(fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 3 }), {
    nil: undefined,
  });
const anyRule: fc.Arbitrary<BundleRule> = fc
  .record({
    action: fc.constantFrom("Allow", "Allow", "RequireApproval", "Deny"),
    statements: some([...kinds, "copy", "merge"]),
    relations: some(["public.*", "public.orders", "sales.leads", "*", "public.c*"]),
    columns: some(["public.orders.id", "public.customers.*", "*.ssn", "sales.leads.id"]),
    hasWhere: fc.option(fc.boolean(), { nil: undefined }),
  })
  .map(({ action, statements, relations, columns, hasWhere }) =>
    rule("r", action as BundleRule["action"], {
      sql: {
        ...(statements && { statements }),
        ...(relations && { relations }),
        ...(columns && { columns }),
        ...(hasWhere !== undefined && { hasWhere }),
      },
    }),
  );
const tables = catalog.relations.filter(({ kind }) => kind === "table");

function passes(
  rules: readonly BundleRule[],
  statement: StatementKind,
  name: string,
  columns: readonly string[] | "*",
): boolean {
  const wheres = statement === "update" || statement === "delete" ? [true, false] : [undefined];
  return wheres.some((hasWhere) => {
    const access = relation(statement, name, columns, hasWhere === undefined ? {} : { hasWhere });
    return ask(bundleOf(rules), sql(access)).verdict !== "deny";
  });
}

test("the role holds what every permitted access needs, and nothing that no access is permitted to use", () => {
  fc.assert(
    fc.property(fc.array(anyRule, { maxLength: 5 }), (rules) => {
      const { privileges } = privilegesOf(bundleOf(rules), catalog);
      const held = new Set(privileges.map(line));
      for (const { schema, name, columns } of tables) {
        const full = `${schema}.${name}`;
        for (const kind of kinds) {
          if (passes(rules, kind, full, "*"))
            for (const privilege of needs[kind]) assert.ok(held.has(`${privilege} ${full}`), kind);
          if (kind === "delete" || kind === "truncate") continue;
          for (const column of columns)
            if (passes(rules, kind, full, [column]))
              for (const privilege of needs[kind])
                assert.ok(
                  held.has(`${privilege} ${full}`) || held.has(`${privilege}(${column}) ${full}`),
                  `${kind} ${full}.${column}`,
                );
        }
      }
      for (const item of privileges) {
        if (item.on !== "table" || item.name === "cards") continue;
        const touched = item.column === undefined ? ("*" as const) : [item.column];
        assert.ok(
          (givenBy[item.privilege] ?? []).some((kind) =>
            passes(rules, kind, `${item.schema}.${item.name}`, kind === "delete" ? "*" : touched),
          ),
          line(item),
        );
      }
    }),
    { numRuns: 500 },
  );
});
