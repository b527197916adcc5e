// Whether one rule speaks about everything that another rule can match. Sound, not complete: an unsure answer is no.
import type {
  HttpMatch,
  LlmMatch,
  McpMatch,
  PassthroughMatch,
  RuleAction,
  SqlMatch,
} from "./bundle.ts";
import { coversMcp } from "./conflict-mcp.ts";
import { compileHost, compilePattern, matches, matchesHost } from "./pattern.ts";

export interface CoverShape {
  readonly action: RuleAction;
  readonly sql?: SqlMatch;
  readonly http?: HttpMatch;
  readonly llm?: LlmMatch;
  readonly mcp?: McpMatch;
  readonly passthrough?: PassthroughMatch;
}

export function coversRule(wider: CoverShape, narrower: CoverShape): boolean {
  if (wider.sql !== undefined)
    return narrower.sql !== undefined && coversSql(wider.sql, narrower.sql, wider.action);
  if (wider.http !== undefined)
    return narrower.http !== undefined && coversHttp(wider.http, narrower.http);
  if (wider.llm !== undefined)
    return narrower.llm !== undefined && coversLlm(wider.llm, narrower.llm, wider.action);
  if (wider.mcp !== undefined)
    return narrower.mcp !== undefined && coversMcp(wider.mcp, narrower.mcp);
  if (wider.passthrough !== undefined)
    return (
      narrower.passthrough !== undefined &&
      coversList(wider.passthrough.hosts, narrower.passthrough.hosts, host)
    );
  return true;
}

type Cover = (wide: string, narrow: string) => boolean;

/** Every pattern of the narrower list lies within some pattern of the wider one; no wider list means no restriction. */
function coversList(
  wide: readonly string[] | undefined,
  narrow: readonly string[] | undefined,
  cover: Cover,
): boolean {
  if (wide === undefined) return true;
  if (narrow === undefined) return false;
  return narrow.every((item) => wide.some((pattern) => cover(pattern, item)));
}

const same: Cover = (wide, narrow) => wide === narrow;

/** A `*` of the narrower pattern is one more character, which only a `*` of the wider one can take up. */
const glob: Cover = (wide, narrow) => matches(compilePattern(wide), narrow);

const host: Cover = (wide, narrow) => matchesHost(compileHost(wide), narrow);

function coversSql(wide: SqlMatch, narrow: SqlMatch, action: RuleAction): boolean {
  // A Deny about columns does not speak about a read that names none of them (`SELECT count(*)`).
  if (action === "Deny" && wide.columns !== undefined) return false;
  return (
    coversList(wide.statements, narrow.statements, same) &&
    coversList(wide.relations, narrow.relations, glob) &&
    coversList(wide.columns, narrow.columns, glob) &&
    coversFunctions(wide, narrow, action) &&
    (wide.hasWhere === undefined || wide.hasWhere === narrow.hasWhere) &&
    // Whatever the narrower one looks for has to be looked for by the wider.
    coversList(wide.detect, narrow.detect, same)
  );
}

/**
 * Relations and functions are accesses of different kinds: a rule about one of them says nothing about the other. Without
 * `functions` a Deny speaks about every function, a RequireApproval about the safe ones alone.
 */
function coversFunctions(wide: SqlMatch, narrow: SqlMatch, action: RuleAction): boolean {
  if (wide.functions === undefined) {
    if (narrow.functions === undefined) return true;
    return action === "Deny" && wide.relations === undefined;
  }
  const alsoRelations = narrow.relations !== undefined || narrow.columns !== undefined;
  if (alsoRelations && wide.relations === undefined && wide.columns === undefined) return false;
  return coversList(wide.functions, narrow.functions, glob);
}

function coversHttp(wide: HttpMatch, narrow: HttpMatch): boolean {
  return (
    coversList(wide.methods, narrow.methods, glob) &&
    coversList(wide.hosts, narrow.hosts, host) &&
    coversList(wide.paths, narrow.paths, path) &&
    coversList(wide.contentTypes, narrow.contentTypes, glob) &&
    coversList(wide.upgrades, narrow.upgrades, same) &&
    coversQuery(wide.query, narrow.query)
  );
}

function coversQuery(wide: HttpMatch["query"], narrow: HttpMatch["query"]): boolean {
  return Object.entries(wide ?? {}).every(([name, value]) => {
    const inner = narrow !== undefined && Object.hasOwn(narrow, name) ? narrow[name] : undefined;
    return inner !== undefined && glob(value, inner);
  });
}

/** `/a/**` covers all that begins with `/a`; other patterns with wildcards cover what is written the same. */
const path: Cover = (wide, narrow) => {
  if (wide === narrow || wide === "/**") return true;
  const stem = wide.endsWith("/**") ? wide.slice(0, -"/**".length) : undefined;
  if (stem === undefined || stem.includes("*")) return false;
  return narrow === stem || narrow.startsWith(`${stem}/`);
};

function coversLlm(wide: LlmMatch, narrow: LlmMatch, action: RuleAction): boolean {
  // A Deny of tools or of long answers speaks about those alone, never about the plain request beside them.
  if (action === "Deny" && (wide.tools !== undefined || wide.maxOutputTokens !== undefined))
    return false;
  return (
    coversList(wide.operations, narrow.operations, glob) &&
    coversList(wide.models, narrow.models, glob) &&
    coversList(wide.tools, narrow.tools, glob) &&
    (wide.maxOutputTokens === undefined ||
      (narrow.maxOutputTokens ?? Infinity) <= wide.maxOutputTokens) &&
    (wide.promptMatches === undefined || wide.promptMatches === narrow.promptMatches) &&
    coversList(wide.detect, narrow.detect, same)
  );
}
