// Decides from a real server's catalog which names are PostgreSQL's own and which of its functions are safe, and renders
// `catalog-names.gen.ts`. Run through `test/integration/generate-catalog-names.ts`; a test fails when the file is stale.
//
// Safe means: calling it cannot write, read a relation's rows, sizes or statistics, read files, show stored SQL or other
// sessions, run text as SQL, reach out, sleep or take locks. A name is safe only when all its callable overloads are.

export const functionsQuery = `
  SELECT p.proname AS name,
         bool_and(p.provolatile IN ('i', 's')) AS steady,
         bool_or(l.lanname = 'sql') AS "inSql"
    FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
   WHERE p.pronamespace = 'pg_catalog'::regnamespace
     AND NOT ('internal'::regtype = ANY (p.proargtypes::oid[]) AND p.prokind = 'f')
     AND p.prorettype NOT IN ('internal'::regtype, 'trigger'::regtype, 'event_trigger'::regtype,
                              'language_handler'::regtype, 'index_am_handler'::regtype, 'table_am_handler'::regtype,
                              'fdw_handler'::regtype, 'tsm_handler'::regtype)
   GROUP BY p.proname`;

export const allFunctionNamesQuery = `
  SELECT DISTINCT proname AS name FROM pg_catalog.pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace`;

/** Functions that take one whole row: `t.row_to_json` calls row_to_json(t). */
export const rowFunctionNamesQuery = `
  SELECT DISTINCT proname AS name FROM pg_catalog.pg_proc
   WHERE pronamespace = 'pg_catalog'::regnamespace AND pronargs >= 1 AND pronargs - pronargdefaults <= 1
     AND proargtypes[0] IN ('record'::regtype, '"any"'::regtype, 'anyelement'::regtype, 'anynonarray'::regtype,
                            'anycompatible'::regtype, 'anycompatiblenonarray'::regtype)`;

export const relationNamesQuery = `
  SELECT relname AS name FROM pg_catalog.pg_class WHERE relnamespace = 'pg_catalog'::regnamespace`;

export const typeNamesQuery = `
  SELECT typname AS name FROM pg_catalog.pg_type WHERE typnamespace = 'pg_catalog'::regnamespace`;

export const operatorNamesQuery = `
  SELECT DISTINCT oprname AS name FROM pg_catalog.pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace`;

export interface FunctionRow {
  readonly name: string;
  /** Every callable overload is immutable or stable. */
  readonly steady: boolean;
  readonly inSql: boolean;
}

export interface CatalogRows {
  readonly functions: readonly FunctionRow[];
  readonly functionNames: readonly string[];
  readonly rowFunctionNames: readonly string[];
  readonly relationNames: readonly string[];
  readonly typeNames: readonly string[];
  readonly operatorNames: readonly string[];
}

/** Volatile, and reviewed one by one: they change at most the state of this session. */
const reviewedVolatile = new Set([
  "array_sample",
  "array_shuffle",
  "clock_timestamp",
  "gen_random_uuid",
  // asyncpg sends it when it resets a pooled connection; it releases this session's own locks.
  "pg_advisory_unlock_all",
  // libpq and JDBC ask it for target_session_attrs.
  "pg_is_in_recovery",
  "random",
  "random_normal",
  "timeofday",
  "uuidv4",
  "uuidv7",
]);

/** Stable or immutable, and yet not safe. */
const unsafePatterns: readonly { readonly pattern: RegExp; readonly why: string }[] = [
  { pattern: /_to_xml|_to_xmlschema/, why: "run a query or dump a table, schema or database" },
  {
    pattern: /^pg_stat|^pg_ls_|^pg_read_|^pg_show_|^pg_logical|^pg_replication|^pg_wal/,
    why: "statistics, files, server state",
  },
  {
    pattern:
      /^(pg_relation_file|pg_filenode|pg_tablespace_(loc|data)|pg_split_walfile|pg_config$|pg_conf_)/,
    why: "files and server state",
  },
  {
    pattern: /^pg_available_extension|^pg_extension_update_paths|^pg_timezone_/,
    why: "read files",
  },
  {
    pattern:
      /^pg_get_(viewdef|ruledef|triggerdef|functiondef|function_sqlbody|function_arg_default)/,
    why: "stored SQL",
  },
  {
    pattern:
      /^pg_get_(statistics|publication|replication|backend|wal|aios|shmem|multixact|sequence_data|loaded)/,
    why: "statistics and server state",
  },
  { pattern: /^pg_(mcv_list|dependencies|ndistinct)/, why: "decode statistics, which hold values" },
  {
    pattern: /^pg_(cursor|prepared_statement|prepared_xact|lock_status|event_trigger)/,
    why: "other statements' text and state",
  },
  { pattern: /^pg_input_/, why: "call the input function of any type named in the call" },
  { pattern: /_(in|recv)$/, why: "the same, by the type's number" },
  { pattern: /^(pg_current_xact_id|txid_current)$/, why: "assign a transaction id" },
  { pattern: /^ts_(rewrite|stat)$/, why: "run text as SQL" },
  {
    pattern: /^(fmgr_|plpgsql_|binary_upgrade_|RI_FKey|lo_|dblink)/,
    why: "internal, or outside the relation",
  },
  { pattern: /(sel|joinsel|_typanalyze|_support|_handler)$/, why: "planner and index internals" },
  {
    pattern: /^(set_config|setseed|setval|nextval|currval|lastval|current_query)$/,
    why: "change or read session state that is decided elsewhere",
  },
];

export function isSafeFunction(row: FunctionRow): boolean {
  if (unsafePatterns.some(({ pattern }) => pattern.test(row.name))) return false;
  return row.steady || reviewedVolatile.has(row.name);
}

/** Wide enough to read in a diff, narrow enough to review. */
const lineWidth = 110;

export function renderCatalogNames(rows: CatalogRows, serverVersion: string): string {
  const safe = rows.functions.filter(isSafeFunction).map(({ name }) => name);
  return [
    `// Generated from the catalog of PostgreSQL ${serverVersion}; do not edit. Rules: generate-safe-functions.ts.`,
    "// Names are separated by blanks, so that nothing is built until a recogniser asks for it.",
    "",
    constant("safeFunctionNames", safe),
    constant("catalogFunctionNames", rows.functionNames),
    constant("rowFunctionNames", rows.rowFunctionNames),
    constant("catalogRelationNames", rows.relationNames),
    constant("catalogTypeNames", rows.typeNames),
    constant("catalogOperatorNames", rows.operatorNames),
  ].join("\n");
}

function constant(name: string, values: readonly string[]): string {
  const lines: string[] = [];
  let line = "";
  for (const value of [...new Set(values)].toSorted()) {
    if (line !== "" && line.length + value.length + 1 > lineWidth) {
      lines.push(line);
      line = "";
    }
    line = line === "" ? value : `${line} ${value}`;
  }
  lines.push(line);
  const escaped = lines.map((text) =>
    text.replaceAll("\\", "\\\\").replaceAll("`", "\\`").replaceAll("${", "\\${"),
  );
  return `export const ${name} = \`\n${escaped.join("\n")}\n\`;\n`;
}
