// Whether a rule's `llm` block speaks about an access of a request to a language model.
import { RE2JS } from "re2js";
import type { LlmMatch } from "../bundle.ts";
import { createFinder } from "../mask/detect.ts";
import type { Access, LlmFacts } from "../operation.ts";
import { compileList, matchesAny } from "../pattern.ts";
import type { PatternList } from "../pattern.ts";
import type { MatchField, Reading } from "./field.ts";

export interface LlmMatcher {
  readonly operations: PatternList | undefined;
  readonly models: PatternList | undefined;
  /** The same without regard to case: some providers have none (deployments of Azure, models of Ollama). */
  readonly foldedModels: PatternList | undefined;
  readonly tools: PatternList | undefined;
  readonly maxOutputTokens: number | undefined;
  readonly promptMatches: RE2JS | undefined;
  readonly detects: ((text: string) => boolean) | undefined;
}

/** Throws when `promptMatches` is no RE2 pattern, or a detector is not known. */
export function compileLlm(block: LlmMatch): LlmMatcher {
  return {
    operations: block.operations && compileList(block.operations),
    models: block.models && compileList(block.models),
    foldedModels: block.models && compileList(block.models.map((name) => name.toLowerCase())),
    tools: block.tools && compileList(block.tools),
    maxOutputTokens: block.maxOutputTokens,
    promptMatches:
      block.promptMatches === undefined ? undefined : RE2JS.compile(block.promptMatches),
    detects: block.detect && finderOf(block.detect, block.patterns ?? {}),
  };
}

function finderOf(
  names: readonly string[],
  patterns: Readonly<Record<string, string>>,
): (text: string) => boolean {
  return createFinder(
    names.map((detector) => {
      const pattern = Object.hasOwn(patterns, detector) ? patterns[detector] : undefined;
      return pattern === undefined ? { detector } : { detector, pattern };
    }),
  );
}

/** The fields about the request as a whole; they count for each of its accesses, cheapest first. */
export function llmRequestMismatch(
  matcher: LlmMatcher,
  facts: LlmFacts,
  reading: Reading,
): MatchField | undefined {
  const { operations, maxOutputTokens, promptMatches, detects } = matcher;
  if (operations && !matchesAny(operations, facts.operation)) return "operations";
  // What is said in a session is not looked into: a permission has to name it.
  if (!operations && facts.operation === "realtime" && reading === "covers") return "operations";
  if (matcher.models && !modelMatches(matcher, facts, reading)) return "models";
  if (matcher.tools && facts.toolsUnreadable === true && reading === "covers") return "tools";
  if (maxOutputTokens !== undefined && !tokensMatch(maxOutputTokens, facts, reading))
    return "maxOutputTokens";
  if (promptMatches && !someText(facts, reading, (text) => promptMatches.test(text)))
    return "promptMatches";
  if (detects && !someText(facts, reading, detects)) return "detect";
  return undefined;
}

/** What is not said, or may be read as a forbidden name, is read against the agent. */
function modelMatches(matcher: LlmMatcher, facts: LlmFacts, reading: Reading): boolean {
  const { models, foldedModels } = matcher;
  if (facts.model === "") return facts.modelUnsaid === true && reading !== "covers";
  if (models && matchesAny(models, facts.model)) return true;
  return (
    reading !== "covers" &&
    foldedModels !== undefined &&
    matchesAny(foldedModels, facts.model.toLowerCase())
  );
}

/** A permission allows up to the limit (a request that names none is sent with it); a Deny forbids more than that; a person is asked either way. */
function tokensMatch(limit: number, facts: LlmFacts, reading: Reading): boolean {
  const asked = facts.maxOutputTokens;
  if (reading === "holds") return true;
  if (reading === "denies") return generates(facts) && (asked === null || asked > limit);
  if (asked === null) return !limitless.has(facts.operation);
  return asked <= limit;
}

/** Operations whose answers are no text of a model with tokens to limit, and that take no tools. */
export const plainOperations: ReadonlySet<string> = new Set([
  "embeddings",
  "models",
  "count-tokens",
  "files",
  "caches",
  "moderations",
  "images",
  "speech",
  "transcriptions",
  "translations",
]);

/** Limits are said elsewhere: in a file, later in a session. */
const limitless: ReadonlySet<string> = new Set(["batches", "realtime"]);

/** Operations that answer with generated text; the others have no output tokens to limit, nor has the look at a stored answer. */
export function generates(facts: LlmFacts): boolean {
  return (
    !plainOperations.has(facts.operation) && (facts.model !== "" || facts.modelUnsaid === true)
  );
}

function someText(facts: LlmFacts, reading: Reading, matches: (text: string) => boolean): boolean {
  return facts.prompts.some(matches) || (facts.promptsUnreadable === true && reading !== "covers");
}

/** What is left to ask of one access once the request as a whole matched. */
export function llmAccessMismatch(
  matcher: LlmMatcher,
  access: Access,
  facts: LlmFacts,
  reading: Reading,
): MatchField | undefined {
  if (access.kind === "tool") {
    return !matcher.tools || matchesAny(matcher.tools, access.tool) ? undefined : "tools";
  }
  if (access.kind !== "llm") return "block";
  // A Deny with `tools` is about those tools, not about every request to the model; so is the wish to ask a person.
  const isAboutTools = reading !== "covers" && matcher.tools !== undefined;
  return isAboutTools && facts.toolsUnreadable !== true ? "tools" : undefined;
}
