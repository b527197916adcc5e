// Whether a rule's `mcp` block speaks about a message of the Model Context Protocol.
import { RE2JS } from "re2js";
import type { McpMatch } from "../bundle.ts";
import { toolChanged } from "../mcp/methods.ts";
import { foldName } from "../mcp/names.ts";
import type { Access, JsonObject, McpAccess } from "../operation.ts";
import { compileList, matchesAny } from "../pattern.ts";
import type { PatternList } from "../pattern.ts";
import type { MatchField, Reading } from "./field.ts";

export interface McpMatcher {
  readonly methods: PatternList | undefined;
  readonly tools: PatternList | undefined;
  readonly resources: PatternList | undefined;
  readonly prompts: PatternList | undefined;
  readonly arguments: readonly ArgumentMatcher[] | undefined;
}

interface ArgumentMatcher {
  /** Member by member. */
  readonly path: readonly string[];
  readonly pattern: RE2JS;
}

/** Throws when a pattern of `arguments` is no RE2. */
export function compileMcp(block: McpMatch): McpMatcher {
  return {
    methods: block.methods && compileList(block.methods),
    tools: block.tools && compileList(block.tools),
    resources: block.resources && compileList(block.resources),
    prompts: block.prompts && compileList(block.prompts),
    arguments:
      block.arguments &&
      Object.entries(block.arguments).map(([path, pattern]) => ({
        path: path.split("."),
        pattern: RE2JS.compile(pattern),
      })),
  };
}

export function mcpMismatch(
  matcher: McpMatcher,
  access: Access,
  reading: Reading,
): MatchField | undefined {
  if (access.kind !== "mcp") return "block";
  return mcpNameMismatch(matcher, access, reading) ?? argumentMismatch(matcher, access, reading);
}

/** The same without a look at the arguments: what a list shows is not called yet. */
export function mcpNameMismatch(
  { methods, tools, resources, prompts }: McpMatcher,
  access: McpAccess,
  reading: Reading,
): MatchField | undefined {
  // An Allow that names no methods is about what the agent asks of the tools it knows, never about what the server asks of it.
  const isUsual = access.fromServer !== true && access.method !== toolChanged;
  const unasked = reading === "covers" && !isUsual && methods === undefined;
  if (unasked || (methods && !matchesAny(methods, access.method))) return "methods";
  if (tools && !isListed(tools, access.tool)) return "tools";
  if (resources && !isListed(resources, access.resource)) return "resources";
  if (prompts && !isListed(prompts, access.prompt)) return "prompts";
  return undefined;
}

function isListed(list: PatternList, name: string | undefined): boolean {
  return name !== undefined && matchesAny(list, name);
}

function argumentMismatch(
  { arguments: wanted }: McpMatcher,
  access: McpAccess,
  reading: Reading,
): MatchField | undefined {
  if (wanted === undefined) return undefined;
  const given = access.arguments;
  if (given === undefined) return "arguments";
  const matches = wanted.every(({ path, pattern }) => {
    const found = valuesAt(given, path);
    return reading === "covers" ? isCovered(found, pattern) : isTouched(found, pattern);
  });
  return matches ? undefined : "arguments";
}

/** What stands at a path; lists stand for each of their elements. */
interface Found {
  readonly texts: string[];
  /** A value that is no text, or that another reader could take for another one. */
  unsure: boolean;
}

function isCovered({ texts, unsure }: Found, pattern: RE2JS): boolean {
  return !unsure && texts.length > 0 && texts.every((text) => pattern.matches(text));
}

function isTouched({ texts, unsure }: Found, pattern: RE2JS): boolean {
  return unsure || texts.some((text) => pattern.matches(text));
}

function valuesAt(given: JsonObject, path: readonly string[]): Found {
  const found: Found = { texts: [], unsure: false };
  collect(given, path, 0, found);
  return found;
}

/**
 * Readers that do not mind the case of names (Go's encoding/json is one) take `Path` for `path`: a name that differs in case
 * alone is looked at as well, and leaves it unsure which one counts.
 */
function collect(value: unknown, path: readonly string[], at: number, found: Found): void {
  if (Array.isArray(value)) {
    for (const element of value) collect(element, path, at, found);
    return;
  }
  const name = path[at];
  if (name === undefined) {
    const text = textOf(value);
    if (text === undefined) found.unsure = true;
    else found.texts.push(text);
    return;
  }
  // A value where an object is expected: whatever is below it is not there.
  if (typeof value !== "object" || value === null) return;
  const folded = foldName(name);
  for (const [key, inner] of Object.entries(value)) {
    if (key !== name && foldName(key) !== folded) continue;
    if (key !== name) found.unsure = true;
    collect(inner, path, at + 1, found);
  }
}

/** As the pattern sees it; undefined for an object, and for a number that readers round differently. */
function textOf(value: unknown): string | undefined {
  switch (typeof value) {
    case "string":
      return value;
    case "boolean":
      return String(value);
    case "number":
      return Math.abs(value) <= Number.MAX_SAFE_INTEGER ? String(value) : undefined;
    default:
      return value === null ? "null" : undefined;
  }
}
