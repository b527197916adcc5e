// `*` patterns, compiled once and matched without backtracking: names, host labels and path segments.

const wildcard = "*";

/** One compiled pattern: the literal parts between its `*`. `*` stands for any run of characters, also an empty one. */
export interface Pattern {
  readonly source: string;
  readonly parts: readonly string[];
}

export function compilePattern(source: string): Pattern {
  return { source, parts: source.split(/\*+/) };
}

function isLiteral(pattern: Pattern): boolean {
  return pattern.parts.length === 1;
}

/** Leftmost placement of each middle part is enough for `*`-only patterns, so one pass decides. */
export function matches(pattern: Pattern, text: string): boolean {
  const { parts } = pattern;
  const first = parts[0] ?? "";
  const lastIndex = parts.length - 1;
  if (lastIndex === 0) return text === first;
  const last = parts[lastIndex] ?? "";
  if (text.length < first.length + last.length) return false;
  if (!text.startsWith(first) || !text.endsWith(last)) return false;
  const end = text.length - last.length;
  let at = first.length;
  for (let index = 1; index < lastIndex; index++) {
    const part = parts[index] ?? "";
    const found = text.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

/** Whether some text that begins with `prefix` matches: what a Deny asks about `SELECT *`. */
export function mayMatchBelow(pattern: Pattern, prefix: string): boolean {
  const first = pattern.parts[0] ?? "";
  if (first.startsWith(prefix)) return true;
  return !isLiteral(pattern) && prefix.startsWith(first);
}

/** Whether every text that begins with `prefix` matches: what an Allow asks about `SELECT *`. */
export function matchesAllBelow(pattern: Pattern, prefix: string): boolean {
  return !isLiteral(pattern) && pattern.parts.at(-1) === "" && matches(pattern, prefix);
}

/** A list of patterns, any of which may match; literals are looked up in a set. */
export interface PatternList {
  readonly literals: ReadonlySet<string>;
  readonly wildcards: readonly Pattern[];
}

export function compileList(sources: readonly string[]): PatternList {
  const literals = new Set<string>();
  const wildcards: Pattern[] = [];
  for (const source of sources) {
    if (source.includes(wildcard)) wildcards.push(compilePattern(source));
    else literals.add(source);
  }
  return { literals, wildcards };
}

export function matchesAny(list: PatternList, text: string): boolean {
  if (list.literals.has(text)) return true;
  for (const pattern of list.wildcards) if (matches(pattern, text)) return true;
  return false;
}

/** A host pattern label by label: `*` never crosses a dot, and `*` alone is any host. */
export type HostPattern = readonly Pattern[];

export function compileHost(source: string): HostPattern {
  return source.toLowerCase().replace(/\.$/, "").split(".").map(compilePattern);
}

export function matchesHost(pattern: HostPattern, host: string): boolean {
  if (pattern.length === 1 && pattern[0]?.source === wildcard) return true;
  const labels = host.split(".");
  if (labels.length !== pattern.length) return false;
  return pattern.every((label, index) => matchesPart(label, labels[index] ?? ""));
}

/** `*` alone stands for one label or segment, and an empty one is none. */
function matchesPart(pattern: Pattern, text: string): boolean {
  if (pattern.source === wildcard) return text !== "";
  return matches(pattern, text);
}

/** Path patterns: whole paths in a set, `/a/b/**` as a prefix, the rest segment by segment. */
export interface PathList {
  readonly literals: ReadonlySet<string>;
  readonly prefixes: readonly string[];
  readonly patterns: readonly {
    /** What every path that matches begins with: most others are told by it alone. */
    readonly stem: string;
    readonly segments: PathPattern;
  }[];
}

/** `any` is `**`: any number of segments, also none. */
export type PathPattern = readonly (Pattern | "any")[];

export function compilePaths(sources: readonly string[]): PathList {
  const literals = new Set<string>();
  const prefixes: string[] = [];
  const patterns: PathList["patterns"][number][] = [];
  for (const source of sources) {
    const stem = source.endsWith("/**") ? source.slice(0, -3) : undefined;
    if (!source.includes(wildcard)) literals.add(source);
    else if (stem !== undefined && !stem.includes(wildcard)) prefixes.push(stem);
    else patterns.push({ stem: stemOf(source), segments: compilePath(source) });
  }
  return { literals, prefixes, patterns };
}

export function matchesPaths(list: PathList, path: string): boolean {
  if (list.literals.has(path)) return true;
  for (const prefix of list.prefixes) {
    if (path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === "/"))
      return true;
  }
  let split: string[] | undefined;
  for (const { stem, segments } of list.patterns) {
    if (!path.startsWith(stem)) continue;
    split ??= splitPath(path);
    if (matchesSegments(segments, split)) return true;
  }
  return false;
}

/** Up to the first `*`, without the slash before a `**`, which may stand for nothing. Patterns without a first slash mean the same as with one. */
function stemOf(source: string): string {
  if (!source.startsWith("/")) return "";
  const stem = source.slice(0, source.indexOf(wildcard));
  return stem.endsWith("/") ? stem.slice(0, -1) : stem;
}

export function compilePath(source: string): PathPattern {
  return splitPath(source).map((segment) => (segment === "**" ? "any" : compilePattern(segment)));
}

function splitPath(path: string): string[] {
  return (path.startsWith("/") ? path.slice(1) : path).split("/");
}

/**
 * Leftmost placement is enough for what stands between two `any`, so only the last of them is ever tried again: the time is at
 * most segments x pattern, whatever the text.
 */
export function matchesSegments(pattern: PathPattern, segments: readonly string[]): boolean {
  let part = 0;
  let at = 0;
  /** Behind the last `any`, and where the segments begin that it does not stand for. */
  let again = -1;
  let from = 0;
  while (at < segments.length) {
    const here = pattern[part];
    if (here === "any") {
      part += 1;
      again = part;
      from = at;
    } else if (here !== undefined && matchesPart(here, segments[at] ?? "")) {
      part += 1;
      at += 1;
    } else if (again >= 0) {
      part = again;
      from += 1;
      at = from;
    } else return false;
  }
  while (pattern[part] === "any") part += 1;
  return part === pattern.length;
}
