// Compiled rules and the relations of a real database -> the privileges a role must hold to do what the rules permit, and no more.
// Pure. The rules are asked through the very matchers that decide, so that the two cannot come to differ.
import { permits, type Bundle } from "../bundle.ts";
import { everySql, sqlMismatch } from "../match/sql.ts";
import type { SqlMatcher } from "../match/sql.ts";
import { compileRule } from "../match/rule.ts";
import type { Access, RelationAccess, SqlFacts, StatementKind } from "../operation.ts";
import { mayMatchBelow } from "../pattern.ts";
import { dotted } from "./catalog-names.ts";

export type RelationPrivilege = "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "TRUNCATE";

/** One relation of the database; what PostgreSQL itself owns is not among them. */
export interface GrantRelation {
  readonly schema: string;
  readonly name: string;
  readonly kind: "table" | "view" | "materialised view" | "sequence";
  readonly columns: readonly string[];
  /** Sequences that the defaults of its columns draw from. */
  readonly sequences: readonly { readonly schema: string; readonly name: string }[];
}

export interface GrantCatalog {
  readonly schemas: readonly string[];
  readonly relations: readonly GrantRelation[];
}

/** One privilege on one object; without `column` it is the whole relation's. */
export type ObjectPrivilege =
  | { readonly on: "schema"; readonly schema: string; readonly privilege: "USAGE" }
  | {
      readonly on: "table";
      readonly schema: string;
      readonly name: string;
      readonly column?: string;
      readonly privilege: RelationPrivilege;
    }
  | {
      readonly on: "sequence";
      readonly schema: string;
      readonly name: string;
      readonly privilege: "SELECT" | "USAGE";
    };

export interface RolePrivileges {
  readonly privileges: readonly ObjectPrivilege[];
  /** Nothing the rules permit writes: the role's transactions begin read-only. */
  readonly readOnly: boolean;
  /** Sentences about what the rules permit and no privilege can give. */
  readonly ungrantable: readonly string[];
}

interface Rules {
  readonly permits: readonly SqlMatcher[];
  /** Those that always speak: one with a condition may not, so it takes nothing away. */
  readonly denies: readonly SqlMatcher[];
}

/** Matchers look at `hasWhere` of the facts only for functions, which no privilege here depends on. */
const facts: SqlFacts = {
  statements: [],
  relationsRead: [],
  relationsWritten: [],
  columns: [],
  functions: [],
  hasWhere: false,
  count: 1,
};

/**
 * What each permitted access needs:
 *
 * | access | privilege |
 * | --- | --- |
 * | select | SELECT |
 * | insert | INSERT, and USAGE on the sequences of the columns' defaults; RETURNING and ON CONFLICT also read, for which a rule must permit `select` |
 * | update, delete | UPDATE or DELETE, and SELECT of the same columns: their WHERE reads |
 * | merge | SELECT of its columns; its actions are accesses of their own |
 * | truncate | TRUNCATE |
 * | copy | nothing: its select or insert is an access of its own |
 */
export function privilegesOf(bundle: Bundle, catalog: GrantCatalog): RolePrivileges {
  const rules = rulesOf(bundle);
  const privileges = catalog.relations.flatMap((relation) => ofRelation(relation, rules));
  const schemas = new Set(privileges.map(({ schema }) => schema));
  for (const schema of catalog.schemas) if (callsInto(schema, rules)) schemas.add(schema);
  return {
    privileges: [
      ...[...schemas].map((schema) => ({ on: "schema", schema, privilege: "USAGE" }) as const),
      ...privileges,
    ],
    readOnly: !privileges.some(isWrite) && !writesUnseen(rules),
    ungrantable: bundle.observeOnly ? [] : ungrantable(bundle),
  };
}

/** A key by which two lists of privileges can be compared. */
export function privilegeKey(item: ObjectPrivilege): string {
  const name = item.on === "schema" ? "" : item.name;
  const column = item.on === "table" ? (item.column ?? "") : "";
  return JSON.stringify([item.on, item.schema, name, column, item.privilege]);
}

function rulesOf(bundle: Bundle): Rules {
  // Whatever is recognised passes, so the database must not refuse it either.
  if (bundle.observeOnly) return { permits: [everySql], denies: [] };
  const enforced = bundle.rules
    .filter(({ mode }) => mode === "Enforce")
    .map((rule, order) => compileRule(rule, order));
  return {
    permits: enforced.flatMap((rule) => (permits(rule) && rule.sql ? [rule.sql] : [])),
    denies: enforced.flatMap(({ action, sql, when }) =>
      action !== "Deny" || !sql || when ? [] : [sql],
    ),
  };
}

function isPermitted(access: Access, { permits, denies }: Rules): boolean {
  return (
    permits.some((rule) => sqlMismatch(rule, access, facts, "covers") === undefined) &&
    !denies.some((rule) => sqlMismatch(rule, access, facts, "denies") === undefined)
  );
}

/** Whether some statement of the kind may touch the column, or every column when none is given. */
function may(
  statement: StatementKind,
  relation: GrantRelation,
  column: string | undefined,
  rules: Rules,
): boolean {
  const name = dotted(relation.schema, relation.name);
  const access: RelationAccess = {
    kind: "relation",
    statement,
    relation: name,
    columns: column === undefined ? [] : [dotted(relation.schema, relation.name, column)],
    allColumns: column === undefined,
  };
  // No privilege depends on a WHERE: what is permitted with one or without one is permitted.
  return statement === "update" || statement === "delete"
    ? [true, false].some((hasWhere) => isPermitted({ ...access, hasWhere }, rules))
    : isPermitted(access, rules);
}

/** A DELETE touches whole rows whatever its WHERE names, so a rule of some columns permits none. */
const ofWholeRows: ReadonlySet<StatementKind> = new Set(["delete"]);

/** Which accesses call for which privilege. */
const byColumn = [
  ["SELECT", ["select", "update", "delete", "merge"]],
  ["INSERT", ["insert"]],
  ["UPDATE", ["update"]],
] as const satisfies readonly (readonly [RelationPrivilege, readonly StatementKind[]])[];
const whole = [
  ["DELETE", "delete"],
  ["TRUNCATE", "truncate"],
] as const satisfies readonly (readonly [RelationPrivilege, StatementKind])[];

const privilegesByKind: Readonly<Record<GrantRelation["kind"], readonly RelationPrivilege[]>> = {
  table: ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"],
  view: ["SELECT", "INSERT", "UPDATE", "DELETE"],
  "materialised view": ["SELECT"],
  sequence: ["SELECT"],
};

function ofRelation(relation: GrantRelation, rules: Rules): readonly ObjectPrivilege[] {
  const { schema, name, kind } = relation;
  if (kind === "sequence")
    return may("select", relation, undefined, rules)
      ? [{ on: "sequence", schema, name, privilege: "SELECT" }]
      : [];
  const able = privilegesByKind[kind];
  const items: ObjectPrivilege[] = [];
  const add = (privilege: RelationPrivilege, column?: string): void =>
    void items.push({
      on: "table",
      schema,
      name,
      privilege,
      ...(column === undefined ? {} : { column }),
    });
  for (const [privilege, statements] of byColumn) {
    if (!able.includes(privilege)) continue;
    const touches = (column: string | undefined): boolean =>
      statements.some(
        (statement) =>
          (column === undefined || !ofWholeRows.has(statement)) &&
          may(statement, relation, column, rules),
      );
    if (touches(undefined)) add(privilege);
    else for (const column of relation.columns.filter(touches)) add(privilege, column);
  }
  for (const [privilege, statement] of whole)
    if (able.includes(privilege) && may(statement, relation, undefined, rules)) add(privilege);
  if (!items.some(({ privilege }) => privilege === "INSERT")) return items;
  const draws = relation.sequences.map(
    (sequence) => ({ on: "sequence", ...sequence, privilege: "USAGE" }) as const,
  );
  return [...items, ...draws];
}

function isWrite({ on, privilege }: ObjectPrivilege): boolean {
  return on === "table" && privilege !== "SELECT";
}

/** Statements that run what cannot be seen from their text. */
function writesUnseen(rules: Rules): boolean {
  return (["call", "do", "utility", "other"] as const).some((statement) =>
    isPermitted({ kind: "statement", statement, opaque: true }, rules),
  );
}

/** A rule names functions that may stand in this schema. */
function callsInto(schema: string, { permits }: Rules): boolean {
  const prefix = `${dotted(schema)}.`;
  return permits.some(({ functions }) => {
    if (functions === undefined) return false;
    for (const literal of functions.literals) if (literal.startsWith(prefix)) return true;
    return functions.wildcards.some((pattern) => mayMatchBelow(pattern, prefix));
  });
}

const owners: ReadonlySet<string> = new Set(["create", "alter", "drop", "grant", "revoke"]);

function ungrantable({ rules }: Bundle): readonly string[] {
  return rules
    .filter((rule) => permits(rule) && rule.mode === "Enforce")
    .flatMap(({ policy, name, sql }) => {
      const statements = sql?.statements ?? [];
      const named = statements.filter((statement) => owners.has(statement));
      const notes: string[] = [];
      if (named.length > 0)
        notes.push(
          `${policy} rule ${name} permits ${named.join(", ")}, which only the owner of an object can do: a role made for a grant owns nothing, so the database refuses it; use a static credential for that`,
        );
      if (statements.includes("replication"))
        notes.push(
          `${policy} rule ${name} permits replication, which a role made for a grant may not do, so the database refuses it; use a static credential for that`,
        );
      return notes;
    });
}
