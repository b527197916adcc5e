// `budgets`: what is used of the limits that are counted over a workload's pods.
import type { BudgetRow } from "../../operator/budgets/used.ts";
import type { Backend } from "../backend.ts";
import { json, table } from "../output.ts";

export async function list(backend: Backend, options: { output: string }): Promise<void> {
  try {
    const rows = await backend.budgets();
    if (options.output === "json") process.stdout.write(json(rows));
    else if (rows.length === 0)
      process.stderr.write("nothing was counted against a budget in this minute and this day\n");
    else
      process.stdout.write(
        table(
          [
            "NAMESPACE",
            "CONNECTION",
            "WORKLOAD",
            "BUDGET",
            "PERIOD",
            "LIMIT",
            "SPENT",
            "HELD",
            "LEFT",
          ],
          rows.map(row),
        ),
      );
  } finally {
    await backend.close();
  }
}

function row({ namespace, connection, workload, budget, period, ...amounts }: BudgetRow): string[] {
  const { limit, spent, held, left } = amounts;
  return [
    namespace,
    connection,
    workload,
    budget,
    period,
    ...[limit, spent, held, left].map((amount) => String(Number(amount.toFixed(6)))),
  ];
}
