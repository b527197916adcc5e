// Which accesses of an operation something permits so far, and who said so first.
import type { Access } from "../operation.ts";
import type { PreparedRule } from "./rule.ts";

export interface Coverage {
  readonly accesses: readonly Access[];
  readonly covered: number[];
  /** How many accesses nothing covers yet. */
  open: number;
  /** Index of the first access that is not covered by session-basics; -1 when all are. */
  readonly first: number;
  /** The rule named in the decision: the first that covers the first access. */
  speaker: PreparedRule | undefined;
  /** Smallest output limit among the rules that cover the request to the model. */
  maxOutputTokens: number | undefined;
}

const byNothing = 0;
const byRule = 1;
const byBasics = 2;

export function startCoverage(accesses: readonly Access[], basics: boolean): Coverage {
  const covered: number[] = [];
  let open = accesses.length;
  let first = -1;
  for (let index = 0; index < accesses.length; index++) {
    const access = accesses[index];
    if (basics && access && "basic" in access && access.basic) {
      covered.push(byBasics);
      open -= 1;
    } else {
      covered.push(byNothing);
      if (first < 0) first = index;
    }
  }
  return { accesses, covered, open, first, speaker: undefined, maxOutputTokens: undefined };
}

export function isBasic(coverage: Coverage, index: number): boolean {
  return coverage.covered[index] === byBasics;
}

export function isOpen(coverage: Coverage, index: number): boolean {
  return coverage.covered[index] === byNothing;
}

export function cover(coverage: Coverage, index: number, rule: PreparedRule): void {
  if (isOpen(coverage, index)) {
    coverage.covered[index] = byRule;
    coverage.open -= 1;
    if (index === coverage.first) coverage.speaker = rule;
  }
  const limit = rule.llm?.maxOutputTokens;
  if (limit !== undefined && coverage.accesses[index]?.kind === "llm") {
    coverage.maxOutputTokens = Math.min(limit, coverage.maxOutputTokens ?? limit);
  }
}

export function openAccesses(coverage: Coverage): Access[] {
  return coverage.accesses.filter((_, index) => isOpen(coverage, index));
}
