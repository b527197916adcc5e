// The catalog relations that drivers and LangChain's SQL tools look things up in, and that show no data: no statistics
// (they hold values of columns), no stored SQL, no credentials, no other session's statements.

/** Seen from psycopg, psycopg2, asyncpg, node-postgres and SQLAlchemy's inspector; see driver-statements.fixture.json. */
const pgCatalog = [
  "pg_am",
  "pg_attrdef",
  "pg_attribute",
  "pg_cast",
  "pg_class",
  "pg_collation",
  "pg_constraint",
  "pg_database",
  "pg_depend",
  "pg_description",
  "pg_enum",
  "pg_extension",
  "pg_index",
  "pg_inherits",
  "pg_language",
  "pg_namespace",
  "pg_opclass",
  "pg_operator",
  "pg_opfamily",
  "pg_partitioned_table",
  "pg_range",
  "pg_sequence",
  "pg_tables",
  "pg_tablespace",
  "pg_type",
];

const informationSchema = [
  "character_sets",
  "check_constraints",
  "collations",
  "column_domain_usage",
  "column_privileges",
  "columns",
  "constraint_column_usage",
  "constraint_table_usage",
  "domain_constraints",
  "domains",
  "element_types",
  "enabled_roles",
  "information_schema_catalog_name",
  "key_column_usage",
  "referential_constraints",
  "schemata",
  "sequences",
  "table_constraints",
  "table_privileges",
  "tables",
];

const allowed: ReadonlySet<string> = new Set([
  ...pgCatalog.map((name) => `pg_catalog.${name}`),
  ...informationSchema.map((name) => `information_schema.${name}`),
]);

/** True when reading this relation (`schema.name`) is a look-up every driver may make. */
export function isLookUpRelation(relation: string): boolean {
  return allowed.has(relation);
}

/** Columns of look-ups that hold values of rows: what ADD COLUMN … DEFAULT gave the rows before it, and what a partition is for. */
const valueColumns: ReadonlyMap<string, string> = new Map([
  ["pg_catalog.pg_attribute", "attmissingval"],
  ["pg_catalog.pg_class", "relpartbound"],
]);

/** The column of this relation (`schema.name`) that holds values of rows, if it has one. */
export function valueColumnOf(relation: string): string | undefined {
  return valueColumns.get(relation);
}

/** True for PostgreSQL's own schemas, the data of TOAST tables among them. */
export function isSystemSchema(schema: string): boolean {
  return (
    schema === "pg_catalog" || schema === "information_schema" || schema.startsWith("pg_toast")
  );
}

export function isTemporarySchema(schema: string): boolean {
  return (
    schema === "pg_temp" || schema.startsWith("pg_temp_") || schema.startsWith("pg_toast_temp")
  );
}
