// The budgets a policy can set: what each counts, and the period of UTC in which it does.
import type { Limits } from "../bundle.ts";

export const budgetNames = [
  "requestsPerMinute",
  "tokensPerMinute",
  "tokensPerDay",
  "costPerDay",
] as const;

export type BudgetName = (typeof budgetNames)[number];

/** How much of each; costs in millionths of the price table's currency. */
export type Amounts = Readonly<Partial<Record<BudgetName, number>>>;

export interface Period {
  /** `2026-11-30T10:42` or `2026-11-30`: the minute or the day of UTC. */
  readonly window: string;
  /** Milliseconds since 1970, both. */
  readonly startsAt: number;
  readonly endsAt: number;
}

const minuteMs = 60_000;
const dayMs = 86_400_000;

export function isDaily(name: BudgetName): boolean {
  return name === "tokensPerDay" || name === "costPerDay";
}

/** Periods are fixed: two of them may be spent one right after the other. */
export function periodAt(name: BudgetName, now: number): Period {
  const daily = isDaily(name);
  const lengthMs = daily ? dayMs : minuteMs;
  const startsAt = now - (now % lengthMs);
  return {
    window: new Date(startsAt).toISOString().slice(0, daily ? 10 : 16),
    startsAt,
    endsAt: startsAt + lengthMs,
  };
}

/** What the limits set, by budget. */
export function budgetsOf(limits: Limits): Amounts {
  return Object.fromEntries(
    budgetNames.flatMap((name) => {
      const amount = limits[name];
      return amount === undefined ? [] : [[name, amount]];
    }),
  );
}

/** Whether answers have to be counted: the others are known beforehand. */
export function countsTokens(limits: Limits): boolean {
  return (
    limits.tokensPerMinute !== undefined ||
    limits.tokensPerDay !== undefined ||
    limits.costPerDay !== undefined
  );
}
