// What is used of the budgets now, for people.
import { budgetNames, periodAt, type BudgetName } from "../../policy/budget/budget.ts";
import { committed, spentOf } from "../../policy/budget/ledger.ts";
import type { AuditDatabase } from "../audit/schema.ts";
import { readAccounts } from "./accounts.ts";

export interface BudgetRow {
  readonly namespace: string;
  readonly connection: string;
  /** `namespace/serviceAccount`. */
  readonly workload: string;
  readonly budget: BudgetName;
  readonly period: string;
  /** Costs in the price table's currency. */
  readonly limit: number;
  readonly spent: number;
  /** Allotted to proxies that have not spent it. */
  readonly held: number;
  readonly left: number;
  /** Proxies that hold a part. */
  readonly proxies: number;
}

/** Of the minute and the day that run now. */
export async function readBudgets(db: AuditDatabase, now: number): Promise<readonly BudgetRow[]> {
  const periods = [...new Set(budgetNames.map((name) => periodAt(name, now).window))];
  return (await readAccounts(db, periods)).map((row) => {
    const [namespace = "", connection = ""] = row.connection.split("/");
    const unit = row.budget === "costPerDay" ? 1e6 : 1;
    const spent = spentOf(row.account);
    const all = committed(row.account);
    return {
      namespace,
      connection,
      workload: row.workload,
      budget: row.budget,
      period: row.period,
      limit: row.amount / unit,
      spent: spent / unit,
      held: Math.max(0, all - spent) / unit,
      left: Math.max(0, row.amount - all) / unit,
      proxies: Object.keys(row.account.holdings).length,
    };
  });
}
