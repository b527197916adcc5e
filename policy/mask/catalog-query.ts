// The queries that load a MaskCatalog, and the pure function that reads their answers (all in text form).
//
// Operators between two types are spelled with their schema: one of `public` that takes just these two would be meant by a bare one.
// They must run under the session's pinned search_path (`public, pg_temp`): pg_get_viewdef leaves out the schemas on it.
import {
  createMaskCatalog,
  relationKey,
  type CatalogColumn,
  type CatalogRelation,
  type MaskCatalog,
  type RelationKind,
} from "./catalog.ts";
import { firstUserOid } from "./masked-columns.ts";

/** One result of a catalog query: rows of text values. */
export type TextRows = readonly (readonly (string | null)[])[];

/** More relations than this are not loaded, and reading one that is not loaded is refused while masks exist. */
export const maxCatalogRelations = 20_000;

const userSchema = (alias: string): string =>
  `${alias}.nspname OPERATOR(pg_catalog.<>) 'information_schema' AND ${alias}.nspname OPERATOR(pg_catalog.!~) '^pg_'`;

const relationsQuery = `
  SELECT c.oid, n.nspname, c.relname, c.relkind,
         (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
                   a.attname, a.attnum, CASE WHEN t.typbasetype OPERATOR(pg_catalog.=) 0 THEN t.oid ELSE t.typbasetype END::pg_catalog.int8,
                   CASE WHEN a.attgenerated OPERATOR(pg_catalog.=) '' THEN 0 ELSE 1 END)
                 ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
         CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) END,
         EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type OPERATOR(pg_catalog.<>) '1')
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE ${userSchema("n")}
   ORDER BY c.oid LIMIT ${maxCatalogRelations}`;

const inheritanceQuery = `SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits`;

/** What the rules of views depend on: relations (as oid) or functions that are not PostgreSQL's own (as 0). */
const viewsQuery = `
  SELECT DISTINCT r.ev_class,
         CASE WHEN d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass THEN d.refobjid ELSE 0 END
    FROM pg_catalog.pg_rewrite r
    JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
   WHERE d.refclassid OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass]::pg_catalog.oid[])
     AND d.refobjid OPERATOR(pg_catalog.>=) 16384 AND d.refobjid OPERATOR(pg_catalog.<>) r.ev_class`;

const generatedQuery = `
  SELECT a.attrelid, a.attnum, d.refobjsubid
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
    JOIN pg_catalog.pg_depend d
      ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = a.attrelid AND d.refobjsubid > 0
     AND (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid
          OR d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = a.attrelid AND d.objsubid OPERATOR(pg_catalog.=) a.attnum)
   WHERE a.attgenerated <> '' AND d.refobjsubid OPERATOR(pg_catalog.<>) a.attnum`;

/** Columns whose type is made of row types, however deep, and the relations they are the row types of. */
const rowTypesQuery = `
  WITH RECURSIVE made (whole, part) AS (
    SELECT DISTINCT a.atttypid, a.atttypid
      FROM pg_catalog.pg_attribute a
     WHERE a.attnum > 0 AND NOT a.attisdropped AND a.atttypid OPERATOR(pg_catalog.>=) ${firstUserOid}
    UNION
    SELECT m.whole, inside.part
      FROM made m JOIN pg_catalog.pg_type t ON t.oid = m.part
     CROSS JOIN LATERAL (
       SELECT t.typbasetype UNION ALL SELECT t.typelem
       UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)) inside (part)
     WHERE inside.part OPERATOR(pg_catalog.>=) ${firstUserOid})
  SELECT a.attrelid, a.attnum, t.typrelid
    FROM pg_catalog.pg_attribute a
    JOIN made m ON m.whole = a.atttypid JOIN pg_catalog.pg_type t ON t.oid = m.part
   WHERE a.attnum > 0 AND NOT a.attisdropped AND t.typrelid OPERATOR(pg_catalog.<>) 0`;

/** Functions (f), functions that take one row (r) and operators that can run queries (o), of `public`, by name. */
const functionsQuery = `
  SELECT DISTINCT 'f', p.proname
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public'
  UNION
  SELECT 'r', p.proname
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
   WHERE n.nspname = 'public' AND p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1 AND t.typtype IN ('c', 'p', 'd')
  UNION
  SELECT 'o', o.oprname
    FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
    JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) o.oprcode JOIN pg_catalog.pg_language l ON l.oid = p.prolang
   WHERE n.nspname = 'public' AND l.lanname NOT IN ('c', 'internal')`;

/** Send each by itself, over the session's own upstream connection, and keep the results in this order. */
export const maskCatalogQueries: readonly string[] = [
  relationsQuery,
  inheritanceQuery,
  viewsQuery,
  generatedQuery,
  functionsQuery,
  rowTypesQuery,
];

export function maskCatalogFromRows(results: readonly TextRows[]): MaskCatalog {
  const [
    relationRows = [],
    inheritanceRows = [],
    viewRows = [],
    generatedRows = [],
    functionRows = [],
    rowTypeRows = [],
  ] = results;
  const names = new Map<string, string>();
  for (const [oid, schema, name] of relationRows)
    names.set(oid ?? "", relationKey({ schema: schema ?? "", name: name ?? "" }));
  const parents = grouped(inheritanceRows);
  const strays = new Set(
    inheritanceRows.flatMap(([child, parent]) =>
      names.has(child ?? "") === names.has(parent ?? "") ? [] : [child, parent],
    ),
  );
  const reads = grouped(viewRows);
  const generated = byRelation(generatedRows);
  const held = byRelation(rowTypeRows);
  const named = (oids: readonly string[] = []): string[] =>
    oids.flatMap((oid) => names.get(oid) ?? []);
  const relations = relationRows.map((row): CatalogRelation => {
    const [oid = "", schema, name, kind, columns, definition, rules] = row;
    const readOids = reads.get(oid ?? "") ?? [];
    return {
      oid: Number(oid),
      schema: schema ?? "",
      name: name ?? "",
      kind: kindOf(kind ?? ""),
      ...(kind === "p" ? { partitioned: true as const } : {}),
      ...(strays.has(oid ?? "") ? { strays: true as const } : {}),
      columns: columnsOf(columns ?? null, generated.get(oid ?? "") ?? [], (column) =>
        named(
          (held.get(oid ?? "") ?? []).flatMap(([, at, relation]) =>
            at === column ? (relation ?? []) : [],
          ),
        ),
      ),
      parents: named(parents.get(oid ?? "")),
      reads: named(readOids),
      // A relation that was not loaded could be anything, a function as well.
      callsFunctions: readOids.some((read) => !names.has(read)),
      hasRules: rules !== "f",
      ...(definition === null || definition === undefined ? {} : { definition }),
    };
  });
  const kinds = grouped(functionRows);
  return createMaskCatalog({
    relations,
    publicFunctions: kinds.get("f") ?? [],
    rowFunctions: kinds.get("r") ?? [],
    queryOperators: kinds.get("o") ?? [],
  });
}

function grouped(rows: TextRows): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const [key, value] of rows) {
    if (key === null || key === undefined || value === null || value === undefined) continue;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [value]);
    else group.push(value);
  }
  return groups;
}

/** By their first value. */
function byRelation(rows: TextRows): Map<string, TextRows[number][]> {
  return Map.groupBy(rows, ([relation]) => relation ?? "");
}

function kindOf(relkind: string): RelationKind {
  if (relkind === "r" || relkind === "p" || relkind === "f") return "table";
  return relkind === "v" || relkind === "m" ? "view" : "other";
}

function columnsOf(
  json: string | null,
  generated: TextRows,
  holds: (column: string) => readonly string[],
): CatalogColumn[] {
  const parsed: unknown = json === null ? [] : JSON.parse(json);
  const columns = (Array.isArray(parsed) ? parsed : []) as readonly (readonly [
    string,
    number,
    number,
    number,
  ])[];
  const nameOf = new Map(columns.map(([name, number]) => [String(number), name]));
  return columns.map(([name, number, type, isGenerated]) => ({
    name,
    number,
    type,
    generatedFrom: generated.flatMap(([, column, source]) =>
      column === String(number) ? (nameOf.get(source ?? "") ?? []) : [],
    ),
    generated: isGenerated === 1,
    holds: holds(String(number)),
  }));
}
