// SQL text -> what it touches: parse with PostgreSQL's grammar, walk every statement, split into accesses, add facts.
import {
  relationWrites,
  type Access,
  type RelationAccess,
  type SessionEffects,
  type SqlFacts,
  type SqlOperation,
  type StatementKind,
} from "../operation.ts";
import { createCatalogNames, type CatalogNames } from "./catalog-names.ts";
import { createCollector, type SqlResolver } from "./collect.ts";
import { maxSqlBytes, type SqlGrammar, type SqlSyntaxError } from "./grammar.ts";
import { namesVaryByEncoding } from "./names-by-encoding.ts";
import { joinEffects } from "./session-effects.ts";
import { substituteFor } from "./setting-substitutes.ts";
import { sqlNameUse, type SqlNameUse } from "./sql-names.ts";
import { createTextCache } from "./text-cache.ts";
import { summarise } from "./summary.ts";
import { walkStatement } from "./walk-statement.ts";
import { sqlWeight } from "./weight.ts";

export type RecognisedSql = Omit<SqlOperation, "params">;

export interface SqlRecognition {
  readonly operation: RecognisedSql;
  /** The text is not SQL at all: answer with SQLSTATE 42601, PostgreSQL's message and position. */
  readonly syntaxError?: SqlSyntaxError;
  /** The text prepares, executes or forgets one statement by SQL. An EXECUTE stays unrecognised: only its session knows what it runs. */
  readonly nameUse?: SqlNameUse;
  /** A name in it may be another in a database that is not UTF-8 (names-by-encoding.ts). */
  readonly namesVary?: true;
  /** The text that was recognised, and must be sent, in place of the one given. */
  readonly instead?: string;
}

export interface SqlRecogniserOptions {
  readonly grammar: SqlGrammar;
  /** To share them: they take a third of a megabyte. */
  readonly names?: CatalogNames;
  /** Texts remembered; an application uses tens to hundreds of distinct statements. */
  readonly maxEntries?: number;
  /** Bytes those texts and their results may take together, estimated. */
  readonly maxBytes?: number;
  /** Make a new recogniser when what the resolver knows changes: results are remembered by text alone. */
  readonly resolver?: SqlResolver;
}

export interface SqlRecogniser {
  recognise(text: string): SqlRecognition;
  /** Texts parsed so far; the caller bounds how many distinct ones it lets through in a time. */
  parses(): number;
}

const defaultMaxEntries = 1000;
const defaultMaxBytes = 4 * 1024 * 1024;

export function createSqlRecogniser(options: SqlRecogniserOptions): SqlRecogniser {
  const { grammar, resolver } = options;
  const names = options.names ?? createCatalogNames();
  const cache = createTextCache<SqlRecognition>(
    options.maxEntries ?? defaultMaxEntries,
    options.maxBytes ?? defaultMaxBytes,
  );
  const recognise = (text: string): SqlRecognition => {
    const known = cache.get(text);
    if (known !== undefined) return known;
    const found = recogniseSql(text, grammar, names, resolver);
    cache.set(text, found, sqlWeight(found.operation));
    return found;
  };
  return { recognise, parses: grammar.parses };
}

/** One text without a cache. A text may hold several statements; they are decided together. */
export function recogniseSql(
  text: string,
  grammar: SqlGrammar,
  names: CatalogNames,
  resolver?: SqlResolver,
): SqlRecognition {
  const parsed = grammar.parse(text);
  if (!parsed.ok) {
    const operation = operationOf(text, grammar, [], 0, [parsed.message]);
    return parsed.syntaxError === undefined
      ? { operation }
      : { operation, syntaxError: parsed.syntaxError };
  }
  const trees = parsed.statements.map((statement) => statement.node);
  const instead = substituteFor(trees);
  if (instead !== undefined) return { ...recogniseSql(instead, grammar, names, resolver), instead };
  const collector = createCollector(names, resolver);
  const accesses: Access[] = [];
  const refusals: string[] = [];
  let session: SessionEffects | undefined;
  for (const statement of parsed.statements) {
    walkStatement(statement.node, collector.sink, names);
    const collected = collector.finish();
    accesses.push(...collected.accesses);
    refusals.push(...collected.refusals);
    session = joinEffects(session, collected.session);
  }
  // Nothing but blanks and comments: drivers send that to see whether the connection lives.
  if (parsed.statements.length === 0)
    accesses.push({ kind: "statement", statement: "other", basic: true });
  const count = parsed.statements.length;
  const recognised = operationOf(text, grammar, mergeAccesses(accesses), count, refusals);
  const operation = session === undefined ? recognised : { ...recognised, session };
  const nameUse = sqlNameUse(text, trees, grammar);
  return {
    operation,
    ...(nameUse === undefined ? {} : { nameUse }),
    ...(namesVaryByEncoding(text, grammar.scan) ? { namesVary: true } : {}),
  };
}

function operationOf(
  text: string,
  grammar: SqlGrammar,
  accesses: readonly Access[],
  count: number,
  refusals: readonly string[],
): RecognisedSql {
  const [unrecognised] = refusals;
  return {
    kind: "sql",
    summary: summarise(text.slice(0, maxSqlBytes), grammar.scan),
    accesses,
    facts: factsOf(accesses, count),
    ...(unrecognised === undefined ? {} : { unrecognised }),
  };
}

/** Equal accesses of several statements are one; reads of one relation add up. */
function mergeAccesses(accesses: readonly Access[]): Access[] {
  const merged = new Map<string, Access>();
  for (const access of accesses) {
    const reads = access.kind === "relation" && access.statement === "select";
    const key = reads ? `select ${access.relation}` : JSON.stringify(access);
    const known = merged.get(key);
    if (reads && known?.kind === "relation") merged.set(key, joinReads(known, access));
    else if (known === undefined) merged.set(key, access);
  }
  return [...merged.values()];
}

function joinReads(one: RelationAccess, other: RelationAccess): RelationAccess {
  const { only, leadsTo = other.leadsTo, ...either } = one;
  return {
    ...either,
    ...(leadsTo === undefined ? {} : { leadsTo }),
    ...(only === true && other.only === true ? { only } : {}),
    columns: [...new Set([...one.columns, ...other.columns])],
    allColumns: one.allColumns || other.allColumns,
  };
}

const reading: ReadonlySet<StatementKind> = new Set(["select", "explain"]);
const writing: ReadonlySet<StatementKind> = new Set(relationWrites);

function factsOf(accesses: readonly Access[], count: number): SqlFacts {
  const statements = new Set<StatementKind>();
  const relationsRead = new Set<string>();
  const relationsWritten = new Set<string>();
  const columns = new Set<string>();
  const functions = new Set<string>();
  let bounded = 0;
  let unbounded = 0;
  for (const access of accesses) {
    if (access.kind !== "relation" && access.kind !== "function" && access.kind !== "statement")
      continue;
    statements.add(access.statement);
    if (access.kind === "function") functions.add(access.function);
    if (access.kind !== "relation") continue;
    if (reading.has(access.statement)) relationsRead.add(access.relation);
    if (writing.has(access.statement)) relationsWritten.add(access.relation);
    for (const column of access.columns) columns.add(column);
    if (access.hasWhere === true) bounded += 1;
    if (access.hasWhere === false) unbounded += 1;
  }
  return {
    statements: [...statements],
    relationsRead: [...relationsRead],
    relationsWritten: [...relationsWritten],
    columns: [...columns],
    functions: [...functions],
    hasWhere: bounded > 0 && unbounded === 0,
    count,
  };
}
