// Whether a rule's `sql` block speaks about one access of a SQL operation.
import type { SqlMatch } from "../bundle.ts";
import { createSqlDetector, type SqlDetector } from "../mask/detect.ts";
import type {
  Access,
  FunctionAccess,
  Relative,
  RelationAccess,
  SqlFacts,
  SqlOperation,
  StatementAccess,
} from "../operation.ts";
import {
  compileList,
  compilePattern,
  matches,
  matchesAllBelow,
  matchesAny,
  mayMatchBelow,
} from "../pattern.ts";
import type { Pattern, PatternList } from "../pattern.ts";
import { isSystemSchema, showsValuesOfAny } from "../sql/catalog-relations.ts";
import type { MatchField, Reading } from "./field.ts";
import { aboutRelative } from "./relatives.ts";

export interface SqlMatcher {
  readonly statements: ReadonlySet<string> | undefined;
  readonly relations: PatternList | undefined;
  readonly columns: readonly Pattern[] | undefined;
  readonly functions: PatternList | undefined;
  readonly hasWhere: boolean | undefined;
  readonly detectors: readonly SqlDetector[] | undefined;
  /** Its relations or columns may be others than PostgreSQL's own. */
  readonly namesTables: boolean;
}

/** Throws when a detector is not known. */
export function compileSql(block: SqlMatch): SqlMatcher {
  const named = [...(block.relations ?? []), ...(block.columns ?? [])];
  return {
    statements: block.statements && new Set(block.statements),
    relations: block.relations && compileList(block.relations),
    columns: block.columns?.map(compilePattern),
    functions: block.functions && compileList(block.functions.flatMap(qualifyFunction)),
    hasWhere: block.hasWhere,
    detectors: block.detect?.map((detector) => {
      const { patterns = {} } = block;
      const pattern = Object.hasOwn(patterns, detector) ? patterns[detector] : undefined;
      return createSqlDetector(pattern === undefined ? { detector } : { detector, pattern });
    }),
    namesTables: named.some((name) => !isSystemSchema(name.slice(0, name.indexOf(".")))),
  };
}

/** A bare name means the function of that name in the catalog or in `public`; `*` alone means all. */
function qualifyFunction(name: string): string[] {
  if (name.includes(".") || name === "*") return [name];
  return [`pg_catalog.${name}`, `public.${name}`];
}

/** A block without any field, and a rule without a block, read alike. */
export const everySql: SqlMatcher = {
  statements: undefined,
  relations: undefined,
  columns: undefined,
  functions: undefined,
  hasWhere: undefined,
  detectors: undefined,
  namesTables: false,
};

/** About the statement as a whole, with its parameters. What could not be looked into may be anything. */
export function sqlRequestMismatch(
  { detectors }: SqlMatcher,
  { findings }: SqlOperation,
  reading: Reading,
): MatchField | undefined {
  if (detectors === undefined) return undefined;
  if (findings !== undefined && detectors.some((detector) => findings.has(detector)))
    return undefined;
  if (reading === "covers") return "detect";
  const isSure = findings !== undefined && detectors.every((detector) => findings.isSure(detector));
  return isSure ? "detect" : undefined;
}

export function sqlMismatch(
  matcher: SqlMatcher,
  access: Access,
  facts: SqlFacts,
  reading: Reading,
): MatchField | undefined {
  // Nobody knows what it touches: it may be what this rule is about.
  if (isUnread(access) && reading !== "covers") return undefined;
  switch (access.kind) {
    case "relation":
      return (
        statementMismatch(matcher, access, reading) ?? relationMismatch(matcher, access, reading)
      );
    case "function":
      return (
        statementMismatch(matcher, access, reading) ??
        functionMismatch(matcher, access, facts, reading)
      );
    case "statement":
      return statementMismatch(matcher, access, reading) ?? bareMismatch(matcher, access, reading);
    default:
      return "block";
  }
}

function isUnread(access: Access): boolean {
  return access.kind === "statement" && access.statement === "unrecognised";
}

/** What the access touches by another name that the block, which does not speak about it by its own, speaks about; with the statement of the access, or the reading that a write through a view does besides. */
export function relativesMeant(
  matcher: SqlMatcher,
  access: RelationAccess,
  reading: Reading,
): readonly Relative[] {
  const { relatives } = access;
  const { statements, functions, relations, columns, hasWhere } = matcher;
  if (relatives === undefined || (functions && !relations && !columns)) return none;
  if (hasWhere !== undefined && !whereMatches(hasWhere, access, reading)) return none;
  const isOf = statementMismatch(matcher, access, reading) === undefined;
  const isOfReads = isOf || statements?.has("select") === true;
  if (!isOfReads) return none;
  return relatives.filter(
    (relative) =>
      (isOf || relative.as === "read" || relative.as === "together") &&
      aboutRelative(matcher, access, relative),
  );
}

const none: readonly Relative[] = [];

/** `other` is what the recogniser knows no kind for, `unrecognised` what no grammar here reads: a permission covers them only by name. */
function statementMismatch(
  { statements }: SqlMatcher,
  access: RelationAccess | FunctionAccess | StatementAccess,
  reading: Reading,
): MatchField | undefined {
  const named =
    statements?.has(access.statement) ??
    (reading !== "covers" || !byNameOnly.has(access.statement));
  if (named || (reading !== "covers" && leadsToSome(access, statements))) return undefined;
  return "statements";
}

function leadsToSome(
  access: RelationAccess | FunctionAccess | StatementAccess,
  statements: SqlMatcher["statements"],
): boolean {
  if (access.kind !== "relation" || access.leadsTo === undefined) return false;
  const { leadsTo } = access;
  return leadsTo === "any" || leadsTo.some((kind) => statements?.has(kind) === true);
}

const byNameOnly: ReadonlySet<string> = new Set(["other", "unrecognised"]);

function relationMismatch(
  matcher: SqlMatcher,
  access: RelationAccess,
  reading: Reading,
): MatchField | undefined {
  const { relations, columns, functions, hasWhere } = matcher;
  if (functions && !relations && !columns) return "functions";
  if (reading !== "covers" && matcher.namesTables && reachesAny(access)) return undefined;
  if (relations && !matchesAny(relations, access.relation)) return "relations";
  if (columns && !columnsMatch(columns, access, reading)) return "columns";
  if (hasWhere !== undefined && !whereMatches(hasWhere, access, reading)) return "hasWhere";
  return undefined;
}

/** Statistics, TOAST and CASCADE: which tables it touches is not in its name. */
function reachesAny(access: RelationAccess): boolean {
  return access.cascades === true || showsValuesOfAny(access.relation);
}

function columnsMatch(
  patterns: readonly Pattern[],
  access: RelationAccess,
  reading: Reading,
): boolean {
  const table = `${access.relation}.`;
  if (reading !== "covers") {
    if (access.allColumns && patterns.some((pattern) => mayMatchBelow(pattern, table))) return true;
    return access.columns.some((column) => matchesOne(patterns, column));
  }
  if (access.allColumns) return patterns.some((pattern) => matchesAllBelow(pattern, table));
  // `SELECT count(*)` names no column: the permission must at least be about this table.
  if (access.columns.length === 0) return patterns.some((pattern) => mayMatchBelow(pattern, table));
  return access.columns.every((column) => matchesOne(patterns, column));
}

function matchesOne(patterns: readonly Pattern[], text: string): boolean {
  for (const pattern of patterns) if (matches(pattern, text)) return true;
  return false;
}

function whereMatches(wanted: boolean, access: RelationAccess, reading: Reading): boolean {
  if (access.statement !== "update" && access.statement !== "delete") return false;
  if (access.hasWhere === undefined) return reading !== "covers";
  return access.hasWhere === wanted;
}

function functionMismatch(
  matcher: SqlMatcher,
  access: FunctionAccess,
  facts: SqlFacts,
  reading: Reading,
): MatchField | undefined {
  const { functions, relations, columns, hasWhere } = matcher;
  if (functions) {
    if (!matchesAny(functions, access.function)) return "functions";
    return hasWhere === undefined || hasWhere === facts.hasWhere ? undefined : "hasWhere";
  }
  if (reading === "covers") return access.safe ? undefined : "functions";
  // A Deny about relations speaks through the relation's own access, not through a function beside it.
  if (relations) return "relations";
  if (columns) return "columns";
  return hasWhere === undefined ? undefined : "hasWhere";
}

/** A statement without relation and function: the rule must be about statements alone. */
function bareMismatch(
  matcher: SqlMatcher,
  access: StatementAccess,
  reading: Reading,
): MatchField | undefined {
  if (matcher.relations) return "relations";
  if (matcher.columns) return "columns";
  if (matcher.functions) return "functions";
  if (matcher.hasWhere !== undefined) return "hasWhere";
  // What runs text we cannot see into is covered only by a rule that names its kind.
  if (reading === "covers" && access.opaque && !matcher.statements) return "statements";
  return undefined;
}
