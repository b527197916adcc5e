// What one operation takes of the budgets before it is sent. Pure.
import type { Bundle } from "../../policy/bundle.ts";
import type { BudgetName } from "../../policy/budget/budget.ts";
import { expectedOutput } from "../../policy/budget/estimate.ts";
import { usesTokens } from "../../policy/budget/uncountable.ts";
import { costOf, priceOf, type Price, type Tokens } from "../../policy/budget/price.ts";
import type { LlmOperation, Operation } from "../../policy/operation.ts";

export interface Need {
  readonly budget: BudgetName;
  readonly amount: number;
  /** With less it goes too: its answer is counted as it comes, and cut. */
  readonly atLeast: number;
}

export interface Needs {
  readonly needs: readonly Need[];
  /** Of what is counted in tokens; undefined where nothing is. */
  readonly expected: Tokens | undefined;
  /** Of the model, where costs are limited. */
  readonly price: Price | undefined;
  /** The request names how long its answer may be. */
  readonly isBounded: boolean;
}

/** @param input tokens of the request, asked only where they count */
export function needsOf(
  bundle: Bundle,
  operation: Operation,
  maxOutputTokens: number | undefined,
  input: () => number,
): Needs {
  const { limits, prices } = bundle;
  const needs: Need[] =
    limits.requestsPerMinute === undefined
      ? []
      : [{ budget: "requestsPerMinute", amount: 1, atLeast: 1 }];
  const entry =
    prices === undefined || operation.kind !== "llm"
      ? undefined
      : priceOf(prices, operation.facts.model);
  const price = limits.costPerDay === undefined ? undefined : entry;
  const counted = countedOf(bundle, price);
  if (operation.kind !== "llm" || counted.length === 0 || !usesTokens(operation))
    return { needs, expected: undefined, price: undefined, isBounded: true };
  const { tokens, isNamed } = expectedOutput(operation, maxOutputTokens, entry);
  const expected = { input: input(), output: tokens };
  const least =
    !isNamed && comesInPieces(operation) ? { input: expected.input, output: 1 } : expected;
  for (const budget of counted)
    needs.push({
      budget,
      amount: amountOf(budget, expected, price),
      atLeast: amountOf(budget, least, price),
    });
  return { needs, expected, price, isBounded: isNamed };
}

/** Counted while it passes, and cut. */
function comesInPieces({ facts }: LlmOperation): boolean {
  return facts.stream || facts.operation === "realtime";
}

function countedOf({ limits }: Bundle, price: Price | undefined): readonly BudgetName[] {
  return [
    ...(limits.tokensPerMinute === undefined ? [] : (["tokensPerMinute"] as const)),
    ...(limits.tokensPerDay === undefined ? [] : (["tokensPerDay"] as const)),
    ...(limits.costPerDay === undefined || price === undefined ? [] : (["costPerDay"] as const)),
  ];
}

export function amountOf(budget: BudgetName, tokens: Tokens, price: Price | undefined): number {
  if (budget === "requestsPerMinute") return 1;
  if (budget === "costPerDay") return price === undefined ? 0 : costOf(price, tokens);
  return tokens.input + tokens.output;
}
