// What one operation holds of the budgets while it goes on: grows with a long answer, and is settled by what was really used.
import type { EventOutcome } from "../../contract/event.ts";
import type { BudgetName } from "../../policy/budget/budget.ts";
import type { Price, Tokens } from "../../policy/budget/price.ts";
import { amountOf, type Need } from "./needs.ts";
import type { Part, Purses } from "./purses.ts";

/** A longer answer is given this much more. */
const growTokens = 1_024;
/** So long before what it holds is used up, that a model does not write it while the operator is asked. */
const aheadTokens = 512;
/** What may pass while an answer of the operator is under way: a piece of the upstream's can hold many tokens. */
const graceTokens = 4_096;

/** Of an operation that was refused after all. */
export const neverSent: EventOutcome = { status: "denied" };

export class Spending {
  readonly #purses: Purses;
  /** By budget: what was taken first, and what a long answer took besides. */
  readonly #parts = new Map<BudgetName, Part[]>();
  readonly #price: Price | undefined;
  readonly #expected: Tokens;
  /** A request that names its limit will not go beyond, so nothing is asked for beforehand. */
  readonly #ahead: number;
  #held: number;
  #counted: number | undefined;
  #isAsking = false;
  #over: BudgetName | undefined;

  constructor(
    purses: Purses,
    parts: readonly Part[],
    {
      price,
      expected,
      isBounded,
    }: { price: Price | undefined; expected: Tokens; isBounded: boolean },
  ) {
    this.#purses = purses;
    this.#price = price;
    this.#expected = expected;
    this.#ahead = isBounded ? 0 : aheadTokens;
    this.#held = this.#keep(parts);
  }

  /** The budget that is used up by so many tokens of answer, if one is. */
  count(output: number): BudgetName | undefined {
    this.#counted = output;
    if (output + this.#ahead > this.#held && this.#over === undefined && !this.#isAsking)
      this.#grow(output);
    if (output <= this.#held) return undefined;
    if (this.#over !== undefined) return this.#over;
    return output > this.#held + graceTokens ? this.#parts.keys().next().value : undefined;
  }

  /** What was counted so far, for an answer that ends here. */
  get tokens(): Tokens {
    return { input: this.#expected.input, output: this.#counted ?? 0 };
  }

  settle(outcome: EventOutcome): void {
    const used = this.#usedBy(outcome);
    for (const [budget, parts] of this.#parts)
      for (const [index, { reservation }] of parts.entries())
        if (used === undefined) reservation.settle(reservation.amount);
        else reservation.settle(index === 0 ? amountOf(budget, used, this.#price) : 0);
  }

  /** Undefined where nobody knows: then all that was held counts. */
  #usedBy({ status, tokens, httpStatus }: EventOutcome): Tokens | undefined {
    if (tokens !== undefined) return tokens;
    // Providers do not bill what they refused, and nothing was sent of what never got there.
    if (httpStatus === undefined ? status !== "unknown" : httpStatus >= 400)
      return { input: 0, output: 0 };
    return this.#counted === undefined ? undefined : this.tokens;
  }

  /** Returns the tokens of answer that everything held by now pays for. */
  #keep(added: readonly Part[]): number {
    for (const part of added)
      this.#parts.set(part.budget, [...(this.#parts.get(part.budget) ?? []), part]);
    return Math.min(...[...this.#parts].map(([budget, parts]) => this.#outputFor(budget, parts)));
  }

  #outputFor(budget: BudgetName, parts: readonly Part[]): number {
    const held = parts.reduce((sum, { reservation }) => sum + reservation.amount, 0);
    const { input } = this.#expected;
    if (budget !== "costPerDay") return held - input;
    const { input: each = 0, output = 0 } = this.#price ?? {};
    return output === 0 ? Infinity : Math.floor((held - input * each) / output);
  }

  #grow(output: number): void {
    const wanted = Math.max(growTokens, output - this.#held + this.#ahead);
    const needs: Need[] = [...this.#parts.keys()].map((budget) => ({
      budget,
      amount: amountOf(budget, { input: 0, output: wanted }, this.#price),
      atLeast: 1,
    }));
    const taking = this.#purses.take(needs);
    if (!(taking instanceof Promise)) {
      this.#add(taking);
      return;
    }
    this.#isAsking = true;
    void taking.then((taken) => {
      this.#isAsking = false;
      this.#add(taken);
    });
  }

  #add(taken: Awaited<ReturnType<Purses["take"]>>): void {
    if ("parts" in taken) this.#held = this.#keep(taken.parts);
    else this.#over = "away" in taken ? taken.short[0] : taken.short.budget;
  }
}
