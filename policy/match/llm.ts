// Whether a rule's `llm` block speaks about an access of a request to a language model.
import { RE2JS } from "re2js";
import type { LlmMatch } from "../bundle.ts";
import type { Access, LlmFacts } from "../operation.ts";
import { compileList, matchesAny } from "../pattern.ts";
import type { PatternList } from "../pattern.ts";
import type { MatchField, Reading } from "./field.ts";

export interface LlmMatcher {
  readonly operations: PatternList | undefined;
  readonly models: PatternList | undefined;
  readonly tools: PatternList | undefined;
  readonly maxOutputTokens: number | undefined;
  readonly promptMatches: RE2JS | undefined;
}

/** Throws when `promptMatches` is no RE2 pattern. */
export function compileLlm(block: LlmMatch): LlmMatcher {
  return {
    operations: block.operations && compileList(block.operations),
    models: block.models && compileList(block.models),
    tools: block.tools && compileList(block.tools),
    maxOutputTokens: block.maxOutputTokens,
    promptMatches:
      block.promptMatches === undefined ? undefined : RE2JS.compile(block.promptMatches),
  };
}

/** The fields about the request as a whole; they count for each of its accesses, cheapest first. */
export function llmRequestMismatch(
  matcher: LlmMatcher,
  facts: LlmFacts,
  reading: Reading,
): MatchField | undefined {
  const { operations, models, maxOutputTokens, promptMatches } = matcher;
  if (operations && !matchesAny(operations, facts.operation)) return "operations";
  if (models && !(facts.model !== "" && matchesAny(models, facts.model))) return "models";
  if (maxOutputTokens !== undefined && !tokensMatch(maxOutputTokens, facts, reading))
    return "maxOutputTokens";
  if (promptMatches && !promptsMatch(promptMatches, facts, reading)) return "promptMatches";
  return undefined;
}

/** A permission allows up to the limit (a request that names none is sent with it); a Deny forbids more than that; a person is asked either way. */
function tokensMatch(limit: number, facts: LlmFacts, reading: Reading): boolean {
  const asked = facts.maxOutputTokens;
  if (reading === "holds") return true;
  if (reading === "denies") return generates(facts) && (asked === null || asked > limit);
  return asked === null || asked <= limit;
}

const generatesNothing: ReadonlySet<string> = new Set([
  "embeddings",
  "models",
  "count-tokens",
  "files",
]);

/** Operations that answer with generated text; the others have no output tokens to limit. */
export function generates(facts: LlmFacts): boolean {
  return !generatesNothing.has(facts.operation);
}

function promptsMatch(pattern: RE2JS, facts: LlmFacts, reading: Reading): boolean {
  if (facts.prompts.some((prompt) => pattern.test(prompt))) return true;
  return facts.promptsUnreadable === true && reading !== "covers";
}

/** What is left to ask of one access once the request as a whole matched. */
export function llmAccessMismatch(
  matcher: LlmMatcher,
  access: Access,
  reading: Reading,
): MatchField | undefined {
  if (access.kind === "tool") {
    return !matcher.tools || matchesAny(matcher.tools, access.tool) ? undefined : "tools";
  }
  if (access.kind !== "llm") return "block";
  // A Deny with `tools` is about those tools, not about every request to the model; so is the wish to ask a person.
  return reading !== "covers" && matcher.tools ? "tools" : undefined;
}
