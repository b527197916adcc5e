// What stands in the database: schemas, relations and columns, who holds which privileges on them already, and what our login may pass on.
import type { ClientBase } from "pg";
import {
  privilegeKey,
  type GrantCatalog,
  type GrantRelation,
  type ObjectPrivilege,
  type RelationPrivilege,
} from "../../policy/sql/privileges.ts";

/** More relations than this are not read: granting on each would take longer than an exchange may. */
export const maxRelations = 10_000;

export interface DatabaseCatalog extends GrantCatalog {
  /** What the role holds by grants of its own. */
  readonly held: readonly ObjectPrivilege[];
  /** What everybody holds, so that no role can be kept from it. */
  readonly ofPublic: readonly ObjectPrivilege[];
  /** Schemas in which everybody may make objects, as in `public` before PostgreSQL 15. */
  readonly openSchemas: readonly string[];
  /** Whether our login owns the object, or may pass the privilege on. */
  mayGrant(item: ObjectPrivilege): boolean;
}

export class CatalogTooLarge extends Error {
  constructor() {
    super(
      `the database has more than ${maxRelations} relations, too many to grant on one by one; use a static credential`,
    );
    this.name = "CatalogTooLarge";
  }
}

const userSchema = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'";

/** $1 is the role. PUBLIC is grantee 0. */
const schemasQuery = `
  SELECT n.nspname AS schema,
         pg_has_role(n.nspowner, 'USAGE') OR has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION') AS grantable,
         EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = 0 AND a.privilege_type = 'USAGE') AS everybody,
         EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = 0 AND a.privilege_type = 'CREATE') AS open,
         EXISTS (SELECT FROM aclexplode(n.nspacl) a JOIN pg_roles r ON r.oid = a.grantee
                  WHERE r.rolname = $1 AND a.privilege_type = 'USAGE') AS held
    FROM pg_namespace n WHERE ${userSchema}`;

const privilegeNames = "'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'";

/** For a sequence the interesting privileges are SELECT and USAGE, for the rest those that statements name. */
const relationsQuery = `
  WITH role AS (SELECT oid FROM pg_roles WHERE rolname = $1)
  SELECT c.oid::text AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
         COALESCE((SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]') AS columns,
         CASE WHEN pg_has_role(c.relowner, 'USAGE') THEN NULL
              WHEN c.relkind = 'S' THEN (SELECT COALESCE(json_agg(p), '[]') FROM unnest(ARRAY['SELECT', 'USAGE']) p
                WHERE has_sequence_privilege(c.oid, p || ' WITH GRANT OPTION'))
              ELSE (SELECT COALESCE(json_agg(p), '[]') FROM unnest(ARRAY[${privilegeNames}]) p
                WHERE has_table_privilege(c.oid, p || ' WITH GRANT OPTION')) END AS grantable,
         COALESCE((SELECT json_agg(json_build_array(x.grantee = 0, x.privilege_type, NULL)) FROM aclexplode(c.relacl) x
           WHERE x.grantee = 0 OR x.grantee IN (SELECT oid FROM role)), '[]') AS whole,
         COALESCE((SELECT json_agg(json_build_array(x.grantee = 0, x.privilege_type, a.attname))
            FROM pg_attribute a, aclexplode(a.attacl) x
           WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped
             AND (x.grantee = 0 OR x.grantee IN (SELECT oid FROM role))), '[]') AS by_column
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND ${userSchema}
   ORDER BY n.nspname, c.relname LIMIT ${maxRelations + 1}`;

/** Sequences that defaults of columns call by name; an identity column asks for no privilege. */
const sequencesQuery = `
  SELECT DISTINCT f.adrelid::text AS oid, n.nspname AS schema, s.relname AS name
    FROM pg_attrdef f
    JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
    JOIN pg_namespace n ON n.oid = s.relnamespace`;

type AclRow = readonly [everybody: boolean, privilege: string, column: string | null];

interface RelationRow {
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly columns: readonly string[];
  /** Null: everything, because our login is the owner or a member of it. */
  readonly grantable: readonly string[] | null;
  readonly whole: readonly AclRow[];
  readonly by_column: readonly AclRow[];
}

interface SchemaRow {
  readonly schema: string;
  readonly grantable: boolean;
  readonly everybody: boolean;
  readonly open: boolean;
  readonly held: boolean;
}

interface SequenceRow {
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
}

/** Reads it for one role, which need not exist yet. Throws CatalogTooLarge. */
export async function readCatalog(client: ClientBase, role: string): Promise<DatabaseCatalog> {
  const schemas = (await client.query<SchemaRow>(schemasQuery, [role])).rows;
  const relations = (await client.query<RelationRow>(relationsQuery, [role])).rows;
  if (relations.length > maxRelations) throw new CatalogTooLarge();
  const sequences = (await client.query<SequenceRow>(sequencesQuery)).rows;
  return catalogFrom(schemas, relations, sequences);
}

function catalogFrom(
  schemas: readonly SchemaRow[],
  relations: readonly RelationRow[],
  sequences: readonly SequenceRow[],
): DatabaseCatalog {
  const drawn = Map.groupBy(sequences, ({ oid }) => oid);
  const grantable = new Map<string, readonly string[] | null>(
    relations.map((row) => [objectKey(row.schema, row.name), row.grantable]),
  );
  const passable = new Set(schemas.flatMap((row) => (row.grantable ? [row.schema] : [])));
  const usage = (which: (row: SchemaRow) => boolean): ObjectPrivilege[] =>
    schemas
      .filter(which)
      .map(({ schema }) => ({ on: "schema", schema, privilege: "USAGE" }) as const);
  const acl = (everybody: boolean): ObjectPrivilege[] =>
    relations.flatMap((row) =>
      [...row.whole, ...row.by_column]
        .filter(([ofEverybody]) => ofEverybody === everybody)
        .flatMap(([, privilege, column]) => privilegeFrom(row, privilege, column)),
    );
  return {
    schemas: schemas.map(({ schema }) => schema),
    relations: relations.map((row): GrantRelation => ({
      schema: row.schema,
      name: row.name,
      kind: kinds[row.kind] ?? "table",
      columns: row.columns,
      sequences: (drawn.get(row.oid) ?? []).map(({ schema, name }) => ({ schema, name })),
    })),
    held: [...usage((row) => row.held), ...acl(false)],
    ofPublic: [...usage((row) => row.everybody), ...acl(true)],
    openSchemas: schemas.flatMap((row) => (row.open ? [row.schema] : [])),
    mayGrant(item) {
      if (item.on === "schema") return passable.has(item.schema);
      const may = grantable.get(objectKey(item.schema, item.name));
      return may === null || may?.includes(item.privilege) === true;
    },
  };
}

const kinds: Readonly<Record<string, GrantRelation["kind"]>> = {
  r: "table",
  p: "table",
  f: "table",
  v: "view",
  m: "materialised view",
  S: "sequence",
};

/** What no rule can give (REFERENCES, TRIGGER, MAINTAIN …) we never granted either, and is left alone. */
function privilegeFrom(
  { schema, name, kind }: RelationRow,
  privilege: string,
  column: string | null,
): readonly ObjectPrivilege[] {
  if (kind === "S") {
    if (privilege !== "SELECT" && privilege !== "USAGE") return [];
    return [{ on: "sequence", schema, name, privilege }];
  }
  if (!isRelationPrivilege(privilege)) return [];
  return [{ on: "table", schema, name, privilege, ...(column === null ? {} : { column }) }];
}

function isRelationPrivilege(privilege: string): privilege is RelationPrivilege {
  return ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"].includes(privilege);
}

function objectKey(schema: string, name: string): string {
  return JSON.stringify([schema, name]);
}

export interface GrantPlan {
  readonly wanted: readonly ObjectPrivilege[];
  /** Sentences: what the rules permit and our login cannot pass on, and what everybody may besides. */
  readonly notes: readonly string[];
}

/** Objects named in one sentence; the rest is counted. */
const maxNamed = 5;

/** Splits what the rules ask for into what can be granted and what has to be said. */
export function planGrants(asked: readonly ObjectPrivilege[], catalog: DatabaseCatalog): GrantPlan {
  const everybody = new Set(catalog.ofPublic.map(privilegeKey));
  const wanted = asked.filter((item) => catalog.mayGrant(item));
  const missing = asked.filter(
    (item) => !catalog.mayGrant(item) && !everybody.has(privilegeKey(item)),
  );
  const asks = new Set(asked.flatMap((item) => [privilegeKey(item), privilegeKey(wholeOf(item))]));
  const extra = catalog.ofPublic.filter(
    (item) =>
      item.on === "table" &&
      !asks.has(privilegeKey(item)) &&
      !asks.has(privilegeKey(wholeOf(item))),
  );
  return {
    wanted,
    notes: [
      ...sentence(
        missing,
        (names) =>
          `the login of credential.postgresRole may not grant ${names}: make it a member of the owner, or give it the privilege WITH GRANT OPTION`,
      ),
      ...sentence(
        extra,
        (names) =>
          `PUBLIC holds ${names}, which no rule permits and no role can be kept from: REVOKE it from PUBLIC`,
      ),
      ...(catalog.openSchemas.length === 0
        ? []
        : [
            `PUBLIC may CREATE in ${listed(catalog.openSchemas)}, and so may every role: REVOKE it from PUBLIC`,
          ]),
    ],
  };
}

function wholeOf(item: ObjectPrivilege): ObjectPrivilege {
  if (item.on !== "table") return item;
  const { on, schema, name, privilege } = item;
  return { on, schema, name, privilege };
}

function sentence(
  items: readonly ObjectPrivilege[],
  say: (names: string) => string,
): readonly string[] {
  if (items.length === 0) return [];
  return [say(listed(items.map((item) => `${item.privilege} on ${item.on} ${nameOf(item)}`)))];
}

function listed(names: readonly string[]): string {
  const rest = names.length - maxNamed;
  const named = names.slice(0, maxNamed).join(", ");
  return rest > 0 ? `${named} and ${rest} more` : named;
}

function nameOf(item: ObjectPrivilege): string {
  if (item.on === "schema") return item.schema;
  const column = item.on === "table" && item.column !== undefined ? ` (${item.column})` : "";
  return `${item.schema}.${item.name}${column}`;
}
