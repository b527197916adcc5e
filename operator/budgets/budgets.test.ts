// The operator's part of budgets over its own API: who is asked for what, what is kept, and what a bad store does.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { BudgetCall } from "../../contract/budget.ts";
import { openStore } from "../audit/store.ts";
import { memoryAccounts, sqlAccounts, type AccountStore } from "./accounts.ts";
import { Budgets, type BudgetHolder } from "./budgets.ts";
import { readBudgets } from "./used.ts";

const holder = (podUid: string, key = "k"): BudgetHolder => ({
  namespace: "agents",
  serviceAccount: "invoice-agent",
  podUid,
  key,
});

const want = (need: number, base = 0, period?: string): BudgetCall => ({
  connection: "agents/openai",
  reports: [],
  wants: [
    {
      budget: "tokensPerDay",
      base,
      need,
      wish: need,
      ...(period !== undefined && { period }),
    },
  ],
});

const limits = { tokensPerDay: 100 };

test("calls that come together share a transaction, and together they are given no more than the limit", async () => {
  let transactions = 0;
  const memory = memoryAccounts();
  const store: AccountStore = {
    ...memory,
    async update(keys, change) {
      transactions += 1;
      await memory.update(keys, change);
    },
  };
  const budgets = new Budgets(store, () => Date.parse("2026-11-30T10:00:00Z"));
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, pod) => budgets.settle(holder(`pod${pod}`), want(9), limits)),
  );
  const granted = answers.map(({ shares }) => shares[0]?.granted ?? 0);
  assert.equal(
    granted.reduce((sum, one) => sum + one, 0),
    99,
  );
  assert.equal(transactions, 1);
});

test("a limit that no policy sets any more has no share, and a report of another day changes nothing", async () => {
  const budgets = new Budgets(memoryAccounts(), () => Date.parse("2026-11-30T10:00:00Z"));
  assert.deepEqual(await budgets.settle(holder("a"), want(1), {}), { shares: [] });
  await budgets.settle(
    holder("a"),
    {
      connection: "agents/openai",
      reports: [{ budget: "tokensPerDay", period: "2026-11-20", returned: 0, spent: 99 }],
      wants: [],
    },
    limits,
  );
  const { shares } = await budgets.settle(holder("b"), want(100), limits);
  assert.equal(shares[0]?.granted, 100);
});

test("a day that ended is heard to its end, and the next one begins whole", async () => {
  let now = Date.parse("2026-11-30T23:59:59Z");
  const budgets = new Budgets(memoryAccounts(), () => now);
  await budgets.settle(holder("a"), want(80), limits);
  now += 2_000;
  const { shares } = await budgets.settle(
    holder("a"),
    {
      ...want(100, 80, "2026-11-30"),
      reports: [{ budget: "tokensPerDay", period: "2026-11-30", returned: 0, spent: 80 }],
    },
    limits,
  );
  assert.equal(shares[0]?.period, "2026-12-01");
  assert.equal(shares[0]?.granted, 100, "what was spent yesterday is no part of today's base");
});

test("a proxy that started anew with another key leaves what it held before, other pods keep theirs", async () => {
  const budgets = new Budgets(memoryAccounts(), () => Date.parse("2026-11-30T10:00:00Z"));
  await budgets.settle(holder("a", "first"), want(30), limits);
  await budgets.settle(holder("b", "other"), want(30), limits);
  const { shares } = await budgets.settle(holder("a", "second"), want(50), limits);
  assert.equal(shares[0]?.granted, 0);
  assert.equal(shares[0]?.left, 40);
});

test("a store that fails is told to everybody who waited, and the next call works", async () => {
  let isBroken = true;
  const memory = memoryAccounts();
  const budgets = new Budgets(
    {
      ...memory,
      async update(keys, change) {
        if (isBroken) throw new Error("the disk is full");
        await memory.update(keys, change);
      },
    },
    Date.now,
  );
  const failed = await Promise.allSettled([
    budgets.settle(holder("a"), want(1), limits),
    budgets.settle(holder("b"), want(1), limits),
  ]);
  assert.deepEqual(
    failed.map(({ status }) => status),
    ["rejected", "rejected"],
  );
  isBroken = false;
  assert.equal((await budgets.settle(holder("a"), want(1), limits)).shares.length, 1);
});

test("accounts stand in the store after a restart, are shown to people, and old ones are forgotten", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-accounts-"));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, "store.sqlite");
  let now = Date.parse("2026-11-30T10:00:00Z");
  const first = await openStore(file);
  const budgets = new Budgets(sqlAccounts(first.db), () => now);
  await budgets.settle(holder("a"), want(30), limits);
  await budgets.settle(holder("b"), want(20), limits);
  await budgets.settle(
    holder("a"),
    {
      connection: "agents/openai",
      reports: [{ budget: "tokensPerDay", period: "2026-11-30", returned: 5, spent: 10 }],
      wants: [],
    },
    limits,
  );
  await first.close();

  const second = await openStore(file);
  t.after(() => second.close());
  assert.deepEqual(await readBudgets(second.db, now), [
    {
      namespace: "agents",
      connection: "openai",
      workload: "agents/invoice-agent",
      budget: "tokensPerDay",
      period: "2026-11-30",
      limit: 100,
      spent: 10,
      held: 35,
      left: 55,
      proxies: 2,
    },
  ]);
  const again = new Budgets(sqlAccounts(second.db), () => now);
  assert.equal((await again.settle(holder("c"), want(56), limits)).shares[0]?.granted, 0);
  assert.equal((await again.settle(holder("c"), want(55), limits)).shares[0]?.granted, 55);
  now += 60 * 86_400_000;
  const late = new Budgets(sqlAccounts(second.db), () => now);
  await late.settle(holder("a"), want(1), limits);
  await late.close();
  const rows = await second.db.selectFrom("budgets").select("period").execute();
  assert.deepEqual(rows, [{ period: "2027-01-29" }]);
});
