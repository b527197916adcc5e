// Gives every name in a statement its schema, the way the pinned dialect does.
//
// The proxy fixes `search_path` to `public, pg_temp` on every upstream session and refuses to change it: PostgreSQL then looks
// in pg_catalog first by itself, and temporary objects, which are refused too, shadow nothing. So an unqualified name is
// PostgreSQL's own where its catalog has that name, and is in `public` otherwise. A name beginning with `pg_` that the list
// does not know (a newer server's) is taken as PostgreSQL's own and unsafe: rules about `public` then do not cover it,
// which refuses rather than guesses.
import {
  catalogFunctionNames,
  catalogOperatorNames,
  catalogRelationNames,
  catalogTypeNames,
  rowFunctionNames,
  safeFunctionNames,
} from "./catalog-names.gen.ts";
import { newerFunctionWords } from "./newer-words.ts";

export interface QualifiedName {
  readonly schema: string;
  readonly name: string;
}

export interface CatalogNames {
  resolveRelation(schema: string | undefined, name: string): QualifiedName;
  resolveFunction(schema: string | undefined, name: string): QualifiedName;
  resolveType(schema: string | undefined, name: string): QualifiedName;
  resolveOperator(schema: string | undefined, name: string): QualifiedName;
  /** Neither writes, reads relations, reaches out nor sleeps. */
  isSafeFunction(name: QualifiedName): boolean;
  /** A catalog function that takes a whole row, so that `t.name` may call it. */
  isRowFunction(name: string): boolean;
}

/** Words of the grammar that stand for types without being in pg_type. */
const typeWords = ["serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"];
/** Helpers of the information_schema views that drivers call themselves; they compute from their arguments. */
const safeInformationSchema = new Set([
  "_pg_expandarray",
  "_pg_truetypid",
  "_pg_truetypmod",
  "_pg_char_max_length",
]);

/** Builds the look-up sets; a few thousand short strings, once per recogniser. */
export function createCatalogNames(): CatalogNames {
  const relations = setOf(catalogRelationNames);
  const functions = setOf(catalogFunctionNames);
  const types = setOf(catalogTypeNames);
  for (const word of typeWords) types.add(word);
  const operators = setOf(catalogOperatorNames);
  const safe = setOf(safeFunctionNames);
  for (const word of newerFunctionWords) safe.add(word);
  const rows = setOf(rowFunctionNames);
  const resolveIn =
    (own: ReadonlySet<string>) =>
    (schema: string | undefined, name: string): QualifiedName => ({
      schema: schema ?? (own.has(name) || name.startsWith("pg_") ? "pg_catalog" : "public"),
      name,
    });
  return {
    resolveRelation: resolveIn(relations),
    resolveFunction: resolveIn(functions),
    resolveType: resolveIn(types),
    resolveOperator: resolveIn(operators),
    isRowFunction: (name) => rows.has(name),
    isSafeFunction: ({ schema, name }) =>
      schema === "pg_catalog"
        ? safe.has(name)
        : schema === "information_schema" && safeInformationSchema.has(name),
  };
}

function setOf(names: string): Set<string> {
  return new Set(names.trim().split(/\s+/));
}

/**
 * `schema.name` as rules spell it. A part that holds a dot, a quote, a wildcard, a blank or a control is quoted, so that a
 * schema called `a.b` cannot pass for the table `b` of schema `a`.
 */
export function dotted(...parts: readonly string[]): string {
  return parts
    .map((part) => (/^[^".*\s\p{Cc}]+$/u.test(part) ? part : `"${part.replaceAll('"', '""')}"`))
    .join(".");
}
