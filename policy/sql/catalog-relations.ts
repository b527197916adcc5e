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

/**
 * What `\d` of psql reads besides: definitions that were written as DDL. They need a rule, because names, arguments and conditions
 * in them may be nobody's business; values of rows they do not hold.
 */
const definitions: ReadonlySet<string> = new Set(
  [
    "pg_policy",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_rewrite",
    "pg_roles",
    "pg_statistic_ext",
    "pg_trigger",
  ].map((name) => `pg_catalog.${name}`),
);

/** True when this relation (`schema.name`) holds definitions, and no values of rows but in `valueColumnOf`. */
export function isWithoutValues(relation: string): boolean {
  return isLookUpRelation(relation) || definitions.has(relation);
}

/** Functions of PostgreSQL's own that print such definitions, or tell what belongs to what, and do nothing else. */
const definitionFunctions: ReadonlySet<string> = new Set([
  "pg_get_ruledef",
  "pg_get_statisticsobjdef_columns",
  "pg_get_triggerdef",
  "pg_get_viewdef",
  "pg_partition_ancestors",
  "pg_relation_is_publishable",
  "pg_statistics_obj_is_visible",
]);

/** True when a function shows definitions and reads no row: it needs a rule like any that is not safe, with masks or without. */
export function isDefinitionFunction(name: {
  readonly schema: string;
  readonly name: string;
}): boolean {
  return name.schema === "pg_catalog" && definitionFunctions.has(name.name);
}

/** Columns of look-ups that hold values of rows: what ADD COLUMN … DEFAULT gave the rows before it, and what a partition is for. */
export const partitionBound = "relpartbound";
const valueColumns: ReadonlyMap<string, string> = new Map([
  ["pg_catalog.pg_attribute", "attmissingval"],
  ["pg_catalog.pg_class", partitionBound],
]);

/** The column of this relation (`schema.name`) that holds values of rows, if it has one. */
export function valueColumnOf(relation: string): string | undefined {
  return valueColumns.get(relation);
}

const statistics: ReadonlySet<string> = new Set(
  ["pg_statistic", "pg_statistic_ext_data", "pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"].map(
    (name) => `pg_catalog.${name}`,
  ),
);

/** True when this relation (`schema.name`) shows values out of the rows of any table: statistics and TOAST. */
export function showsValuesOfAny(relation: string): boolean {
  return statistics.has(relation) || relation.startsWith("pg_toast.");
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
