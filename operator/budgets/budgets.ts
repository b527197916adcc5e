// Allots budgets to proxies: takes what they report and want, and answers after it stands in the store. Calls that come meanwhile share the next transaction.
import type {
  BudgetAnswer,
  BudgetCall,
  BudgetReport,
  BudgetShare,
  BudgetWant,
} from "../../contract/budget.ts";
import {
  budgetNames,
  periodAt,
  type Amounts,
  type BudgetName,
} from "../../policy/budget/budget.ts";
import { allot, close, forfeit, report } from "../../policy/budget/ledger.ts";
import {
  accountName,
  accountOf,
  keptSince,
  type AccountKey,
  type Accounts,
  type AccountStore,
} from "./accounts.ts";

/** Calls that wait for the transaction in flight: as many as proxies may burst. */
const maxWaiting = 5_000;
/** Of one transaction, so that nobody waits for the slowest. */
const maxPerTransaction = 200;
/** Old accounts are looked for this often. */
const forgetIntervalMs = 60_000;

/** Who asks: the workload counts, and the start of the proxy that holds a part. */
export interface BudgetHolder {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly podUid: string;
  /** Thumbprint of the proxy's key: another one after every start. */
  readonly key: string;
}

export class BudgetsBusy extends Error {
  constructor() {
    super(`more than ${maxWaiting} proxies wait for their part of a budget; ask again`);
    this.name = "BudgetsBusy";
  }
}

interface Waiting {
  readonly holder: BudgetHolder;
  readonly call: BudgetCall;
  readonly limits: Amounts;
  readonly done: PromiseWithResolvers<BudgetAnswer>;
}

export class Budgets {
  readonly #store: AccountStore;
  readonly #now: () => number;
  #queue: Waiting[] = [];
  #running: Promise<void> | undefined;
  #forgotAt = 0;

  constructor(store: AccountStore, now: () => number) {
    this.#store = store;
    this.#now = now;
  }

  /**
   * Throws BudgetsBusy, or what the store throws.
   *
   * @param limits as the policies of this subject on this connection say now
   */
  async settle(holder: BudgetHolder, call: BudgetCall, limits: Amounts): Promise<BudgetAnswer> {
    if (this.#queue.length >= maxWaiting) throw new BudgetsBusy();
    const done = Promise.withResolvers<BudgetAnswer>();
    this.#queue.push({ holder, call, limits, done });
    this.#running ??= this.#drain();
    return done.promise;
  }

  async close(): Promise<void> {
    await this.#running;
  }

  /** Never rejects: each call hears of its own fate. */
  async #drain(): Promise<void> {
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const group = this.#queue.splice(0, maxPerTransaction);
      const now = this.#now();
      let answers: readonly BudgetAnswer[] = [];
      try {
        await this.#store.update(
          group.flatMap((one) => keysOf(one, now)),
          (accounts) => {
            answers = group.map((one) => settle(accounts, one, now));
          },
        );
        for (const [index, { done }] of group.entries()) done.resolve(answers[index] ?? noShares);
      } catch (error) {
        for (const { done } of group) done.reject(error);
      }
      await this.#forget(now);
    }
    this.#running = undefined;
  }

  /** What fails here is tried again a minute later; old rows are in nobody's way. */
  async #forget(now: number): Promise<void> {
    if (now - this.#forgotAt < forgetIntervalMs) return;
    this.#forgotAt = now;
    for (const budget of budgetNames)
      await this.#store.forget([budget], keptSince(budget, now)).catch(() => undefined);
  }
}

const noShares: BudgetAnswer = { shares: [] };

/** A report may be about the period before; what is older no longer counts for anything. */
function periodsOf(budget: BudgetName, now: number): readonly string[] {
  const { window, startsAt } = periodAt(budget, now);
  return [periodAt(budget, startsAt - 1).window, window];
}

function keysOf({ holder, call }: Waiting, now: number): readonly AccountKey[] {
  const workload = workloadOf(holder);
  return budgetNames.flatMap((budget) =>
    periodsOf(budget, now).map((period) => ({
      connection: call.connection,
      workload,
      budget,
      period,
    })),
  );
}

function settle(accounts: Accounts, waiting: Waiting, now: number): BudgetAnswer {
  const { call, limits } = waiting;
  leaveEarlierStarts(accounts, waiting, now);
  for (const one of call.reports) hear(accounts, waiting, one, now);
  const shares = call.wants.flatMap((want) => {
    const limit = limits[want.budget];
    return limit === undefined ? [] : [give(accounts, waiting, want, limit, now)];
  });
  if (call.closes === true)
    for (const key of keysOf(waiting, now))
      change(accounts, key, (account) => close(account, holderName(waiting.holder)));
  return { shares };
}

/** Another start of the same pod's proxy is over, or it could not have another key. */
function leaveEarlierStarts(accounts: Accounts, waiting: Waiting, now: number): void {
  const own = holderName(waiting.holder);
  const ofPod = `${waiting.holder.podUid} `;
  for (const key of keysOf(waiting, now))
    for (const name of Object.keys(accountOf(accounts, key).holdings))
      if (name !== own && name.startsWith(ofPod))
        change(accounts, key, (account) => forfeit(account, name));
}

function hear(accounts: Accounts, waiting: Waiting, one: BudgetReport, now: number): void {
  if (!periodsOf(one.budget, now).includes(one.period)) return;
  const key = keyOf(waiting, one.budget, one.period);
  change(accounts, key, (account) => report(account, holderName(waiting.holder), one));
}

function give(
  accounts: Accounts,
  waiting: Waiting,
  want: BudgetWant,
  limit: number,
  now: number,
): BudgetShare {
  const { window: period, endsAt } = periodAt(want.budget, now);
  const key = keyOf(waiting, want.budget, period);
  const base = want.period === period ? want.base : 0;
  const before = accountOf(accounts, key);
  const { account, granted, left } = allot(before, holderName(waiting.holder), limit, {
    ...want,
    base,
  });
  accounts.set(accountName(key), { ...key, amount: limit, account });
  return { budget: want.budget, period, endsInMs: endsAt - now, limit, granted, left };
}

function change(
  accounts: Accounts,
  key: AccountKey,
  make: (account: ReturnType<typeof accountOf>) => ReturnType<typeof accountOf>,
): void {
  const row = accounts.get(accountName(key));
  const before = accountOf(accounts, key);
  const account = make(before);
  if (account !== before)
    accounts.set(accountName(key), { ...key, amount: row?.amount ?? 0, account });
}

function keyOf({ holder, call }: Waiting, budget: BudgetName, period: string): AccountKey {
  return { connection: call.connection, workload: workloadOf(holder), budget, period };
}

function workloadOf({ namespace, serviceAccount }: BudgetHolder): string {
  return `${namespace}/${serviceAccount}`;
}

function holderName({ podUid, key }: BudgetHolder): string {
  return `${podUid} ${key}`;
}
