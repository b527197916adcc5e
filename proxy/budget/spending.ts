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
  /** What the parts of each add up to. */
  readonly #held = new Map<BudgetName, number>();
  #counted: Tokens | undefined;
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
    this.#keep(parts);
  }

  /** The budget that is used up by so many tokens of answer, if one is. */
  count(output: number): BudgetName | undefined {
    return this.countAll({ input: this.#expected.input, output });
  }

  /** The same of what goes on to be asked, too: each answer of a session has its own input. */
  countAll(used: Tokens): BudgetName | undefined {
    this.#counted = used;
    if (this.#over === undefined && !this.#isAsking && this.#short(this.#ahead) !== undefined)
      this.#grow(used);
    if (this.#short(0) === undefined) return undefined;
    return this.#over ?? this.#short(-graceTokens);
  }

  /** What was counted so far, for an answer that ends here. */
  get tokens(): Tokens {
    return this.#counted ?? { input: this.#expected.input, output: 0 };
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
    return this.#counted;
  }

  #keep(added: readonly Part[]): void {
    for (const part of added) {
      const { budget, reservation } = part;
      this.#parts.set(budget, [...(this.#parts.get(budget) ?? []), part]);
      this.#held.set(budget, (this.#held.get(budget) ?? 0) + reservation.amount);
    }
  }

  /** The budget of which not enough is held for what was counted and so many more tokens of answer. */
  #short(more: number): BudgetName | undefined {
    const used = this.#with(this.tokens, more);
    for (const [budget, held] of this.#held)
      if (amountOf(budget, used, this.#price) > held) return budget;
    return undefined;
  }

  #with({ input, output }: Tokens, more: number): Tokens {
    return { input, output: Math.max(0, output + more) };
  }

  #grow(used: Tokens): void {
    const wanted = this.#with(used, this.#ahead);
    const needs: Need[] = [...this.#held].map(([budget, held]) => ({
      budget,
      amount: Math.max(
        amountOf(budget, { input: 0, output: growTokens }, this.#price),
        amountOf(budget, wanted, this.#price) - held,
      ),
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
    if ("parts" in taken) this.#keep(taken.parts);
    else this.#over = "away" in taken ? taken.short[0] : taken.short.budget;
  }
}
