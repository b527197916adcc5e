// POST /v1/budgets: a proxy asks for its part of the budgets of one connection, and says what it gave back and spent.
import type { BudgetName } from "../policy/budget/budget.ts";

export interface BudgetReport {
  readonly budget: BudgetName;
  /** Minute or day of UTC, as an answer named it. */
  readonly period: string;
  /** Counted up since this proxy's start, like everything that is said here. */
  readonly returned: number;
  readonly spent: number;
}

export interface BudgetWant {
  readonly budget: BudgetName;
  /** The period that `base` counts in; absent where the proxy holds nothing of this one. */
  readonly period?: string;
  /** Given back, spent and reserved already. */
  readonly base: number;
  /** Less than this is of no use. */
  readonly need: number;
  readonly wish: number;
}

export interface BudgetCall {
  /** `namespace/name`. */
  readonly connection: string;
  readonly reports: readonly BudgetReport[];
  readonly wants: readonly BudgetWant[];
  /** This proxy is ending: what it did not spend is free again. */
  readonly closes?: true;
}

export interface BudgetShare {
  readonly budget: BudgetName;
  readonly period: string;
  readonly endsInMs: number;
  /** The limit as it stands now. */
  readonly limit: number;
  /** All that this proxy was ever allotted in the period. */
  readonly granted: number;
  /** Of the limit, allotted to nobody. */
  readonly left: number;
}

export interface BudgetAnswer {
  /** One for each want whose budget still is a limit; what is missing is no limit any more. */
  readonly shares: readonly BudgetShare[];
}
