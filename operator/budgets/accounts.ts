// Where the accounts stand: one row for each connection, workload, budget and period of the operator's store.
import { isDaily, type BudgetName } from "../../policy/budget/budget.ts";
import { emptyAccount, type Account } from "../../policy/budget/ledger.ts";
import { budgetTurns, type AuditDatabase, type AuditSchema } from "../audit/schema.ts";

export interface AccountKey {
  /** `namespace/name`. */
  readonly connection: string;
  /** `namespace/serviceAccount`. */
  readonly workload: string;
  readonly budget: BudgetName;
  readonly period: string;
}

export interface AccountRow extends AccountKey {
  /** The limit as last heard. */
  readonly amount: number;
  readonly account: Account;
}

/** The accounts of one transaction, by `accountName`. */
export type Accounts = Map<string, AccountRow>;

export interface AccountStore {
  /** One transaction: reads these, lets `change` set what is to be written, and resolves after commit. */
  update(keys: readonly AccountKey[], change: (accounts: Accounts) => void): Promise<void>;
  /** Deletes the periods of these budgets before this one. */
  forget(budgets: readonly BudgetName[], before: string): Promise<void>;
}

export function accountName({ connection, workload, budget, period }: AccountKey): string {
  return `${connection} ${workload} ${budget} ${period}`;
}

/** Rows of one statement: six values each, far under what SQLite takes. */
const rowsPerStatement = 500;

export function sqlAccounts(db: AuditDatabase): AccountStore {
  return {
    async update(keys, change) {
      await db.transaction().execute(async (tx) => {
        await tx
          .updateTable("counters")
          .set((eb) => ({ value: eb("value", "+", 1) }))
          .where("name", "=", budgetTurns)
          .execute();
        const found = await tx
          .selectFrom("budgets")
          .selectAll()
          .where("connection", "in", distinct(keys, "connection"))
          .where("workload", "in", distinct(keys, "workload"))
          .where("period", "in", distinct(keys, "period"))
          .execute();
        const accounts: Accounts = new Map(
          found.map(rowOf).map((row) => [accountName(row), row] as const),
        );
        const before = new Map(accounts);
        change(accounts);
        const changed = [...accounts.values()].filter(
          (row) => before.get(accountName(row)) !== row,
        );
        for (let at = 0; at < changed.length; at += rowsPerStatement)
          await tx
            .insertInto("budgets")
            .values(changed.slice(at, at + rowsPerStatement).map(columnsOf))
            .onConflict((conflict) =>
              conflict
                .columns(["connection", "workload", "budget", "period"])
                .doUpdateSet((eb) => ({
                  amount: eb.ref("excluded.amount"),
                  account: eb.ref("excluded.account"),
                })),
            )
            .execute();
      });
    },
    async forget(budgets, before) {
      await db
        .deleteFrom("budgets")
        .where("budget", "in", [...budgets])
        .where("period", "<", before)
        .execute();
    },
  };
}

/** For tests: what a store keeps, without one. */
export function memoryAccounts(): AccountStore {
  const rows: Accounts = new Map();
  return {
    async update(_keys, change) {
      change(rows);
    },
    async forget(budgets, before) {
      for (const [name, row] of rows)
        if (budgets.includes(row.budget) && row.period < before) rows.delete(name);
    },
  };
}

/** A day's accounts, and those of its minutes that still run, of some namespaces or all. */
export async function readAccounts(
  db: AuditDatabase,
  periods: readonly string[],
): Promise<readonly AccountRow[]> {
  const rows = await db
    .selectFrom("budgets")
    .selectAll()
    .where("period", "in", [...periods])
    .orderBy("connection")
    .orderBy("workload")
    .orderBy("budget")
    .limit(maxRowsRead)
    .execute();
  return rows.map(rowOf);
}

/** Of one list for people. */
const maxRowsRead = 10_000;

export function accountOf(accounts: Accounts, key: AccountKey): Account {
  return accounts.get(accountName(key))?.account ?? emptyAccount;
}

/** How long accounts are kept: minutes while they are asked about, days for people to look back at. */
export function keptSince(budget: BudgetName, now: number): string {
  const minutes = 60_000;
  const days = 86_400_000;
  return isDaily(budget)
    ? new Date(now - 35 * days).toISOString().slice(0, 10)
    : new Date(now - 10 * minutes).toISOString().slice(0, 16);
}

function distinct(keys: readonly AccountKey[], field: "connection" | "workload" | "period") {
  return [...new Set(keys.map((key) => key[field]))];
}

function rowOf(row: AuditSchema["budgets"]): AccountRow {
  const { connection, workload, budget, period, amount, account } = row;
  return {
    connection,
    workload,
    // As this file wrote it.
    budget: budget as BudgetName,
    period,
    amount: Number(amount),
    account: JSON.parse(account) as Account,
  };
}

function columnsOf({ account, ...row }: AccountRow): AuditSchema["budgets"] {
  return { ...row, account: JSON.stringify(account) };
}
