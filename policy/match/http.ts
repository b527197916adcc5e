// Whether a rule's `http` block speaks about an HTTP request.
import type { HttpMatch } from "../bundle.ts";
import { foldParameter, foldPath, tolerantReadings } from "../http/tolerant.ts";
import type { HttpFacts } from "../operation.ts";
import {
  compileHost,
  compileList,
  compilePaths,
  compilePattern,
  matches,
  matchesAny,
  matchesHost,
  matchesPaths,
} from "../pattern.ts";
import type { HostPattern, PathList, Pattern, PatternList } from "../pattern.ts";
import type { MatchField, Reading } from "./field.ts";

export interface HttpMatcher {
  readonly methods: PatternList | undefined;
  readonly hosts: readonly HostPattern[] | undefined;
  readonly paths: PathList | undefined;
  /** The same as a tolerant server reads them. */
  readonly foldedPaths: PathList | undefined;
  readonly query: readonly { readonly name: string; readonly value: Pattern }[] | undefined;
  readonly contentTypes: PatternList | undefined;
  readonly upgrades: readonly string[] | undefined;
  /** A rule without a block speaks of everything, upgrades included. */
  readonly everything: boolean;
}

/** @param everything the rule has no block at all */
export function compileHttp(block: HttpMatch, everything = false): HttpMatcher {
  return {
    everything,
    upgrades: block.upgrades,
    methods: block.methods && compileList(block.methods),
    hosts: block.hosts?.map(compileHost),
    paths: block.paths && compilePaths(block.paths),
    foldedPaths: block.paths && compilePaths(block.paths.map(foldPath)),
    query:
      block.query &&
      Object.entries(block.query).map(([name, value]) => ({ name, value: compilePattern(value) })),
    contentTypes:
      block.contentTypes && compileList(block.contentTypes.map((type) => type.toLowerCase())),
  };
}

/** One request is one access, so all of the block is about the request as a whole. */
export function httpMismatch(
  matcher: HttpMatcher,
  facts: HttpFacts,
  reading: Reading,
): MatchField | undefined {
  const { methods, hosts, query, contentTypes } = matcher;
  if (!upgradeMatches(matcher, facts, reading)) return "upgrades";
  if (methods && !matchesAny(methods, facts.method)) return "methods";
  if (hosts && !hostMatches(hosts, facts.host)) return "hosts";
  if (!pathMatches(matcher, facts.path, reading)) return "paths";
  if (query && !queryMatches(query, facts, reading)) return "query";
  if (contentTypes && !matchesAny(contentTypes, facts.contentType)) return "contentTypes";
  return undefined;
}

/**
 * A connection that became another protocol is past what a rule about requests can say, so a permission has to name it; a
 * Deny or a question to a person about the request is about the upgrade too.
 */
function upgradeMatches(
  { upgrades, everything }: HttpMatcher,
  { upgrade }: HttpFacts,
  reading: Reading,
): boolean {
  if (upgrades !== undefined) return upgrade !== undefined && upgrades.includes(upgrade);
  return upgrade === undefined || everything || reading !== "covers";
}

/** A Deny of `/admin` is one of whatever a tolerant server takes for it: `/Admin`, `/admin/`, `/admin.json`. */
function pathMatches({ paths, foldedPaths }: HttpMatcher, path: string, reading: Reading): boolean {
  if (paths === undefined || matchesPaths(paths, path)) return true;
  if (reading === "covers" || foldedPaths === undefined) return false;
  for (const one of tolerantReadings(path)) if (matchesPaths(foldedPaths, one)) return true;
  return false;
}

function hostMatches(hosts: readonly HostPattern[], host: string): boolean {
  return hosts.some((pattern) => matchesHost(pattern, host));
}

function queryMatches(
  query: NonNullable<HttpMatcher["query"]>,
  facts: HttpFacts,
  reading: Reading,
): boolean {
  return query.every(({ name, value }) => parameterMatches(facts, name, value, reading));
}

/**
 * A permission needs every occurrence to match; a Deny cannot be escaped by adding another occurrence. Names that some
 * server takes for this one (`a[]`, `A`) count as occurrences of it, but only the name itself makes it given.
 */
function parameterMatches(
  facts: HttpFacts,
  name: string,
  value: Pattern,
  reading: Reading,
): boolean {
  const given = occurrences(facts, name);
  if (reading !== "covers") return given.some((text) => matches(value, text));
  return Object.hasOwn(facts.query, name) && given.every((text) => matches(value, text));
}

function occurrences({ query }: HttpFacts, name: string): readonly string[] {
  const folded = foldParameter(name);
  return Object.keys(query)
    .filter((one) => one === name || foldParameter(one) === folded)
    .flatMap((one) => query[one] ?? []);
}
