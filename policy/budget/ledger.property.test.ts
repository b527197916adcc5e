// Proxies with purses and an operator with an account, and between them messages that are lost, late, doubled or out of order.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { periodAt, type BudgetName } from "./budget.ts";
import {
  allot,
  close,
  committed,
  emptyAccount,
  forfeit,
  report,
  spentOf,
  type Account,
} from "./ledger.ts";
import { Purse, type PurseReport, type Reservation } from "./purse.ts";

const pods = 3;

type Step =
  | { readonly kind: "reserve"; readonly pod: number; readonly amount: number }
  | { readonly kind: "settle"; readonly pod: number; readonly at: number; readonly percent: number }
  | {
      readonly kind: "ask";
      readonly pod: number;
      readonly need: number;
      readonly wish: number;
      readonly copies: number;
    }
  | { readonly kind: "giveBack" | "crash" | "close"; readonly pod: number }
  | { readonly kind: "deliver"; readonly at: number }
  | { readonly kind: "drop"; readonly at: number }
  | { readonly kind: "restart" }
  | { readonly kind: "later"; readonly seconds: number };

const pod = fc.nat(pods - 1);
const at = fc.nat(9);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("reserve" as const),
      pod,
      amount: fc.integer({ min: 1, max: 80 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("settle" as const),
      pod,
      at,
      percent: fc.constantFrom(0, 30, 100, 100, 250),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("ask" as const),
      pod,
      need: fc.integer({ min: 1, max: 80 }),
      wish: fc.integer({ min: 1, max: 200 }),
      copies: fc.constantFrom(1, 1, 2),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("giveBack" as const, "crash" as const, "close" as const),
      pod,
    }),
  },
  { weight: 10, arbitrary: fc.record({ kind: fc.constant("deliver" as const), at }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("drop" as const), at }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("later" as const),
      seconds: fc.integer({ min: 1, max: 50_000 }),
    }),
  },
);

interface Spent {
  readonly reservation: Reservation;
  readonly window: string;
}

/** One start of one proxy. */
class Proxy {
  readonly holder: string;
  readonly purse: Purse;
  readonly open: Spent[] = [];
  constructor(name: BudgetName, holder: string) {
    this.holder = holder;
    this.purse = new Purse(name);
  }
}

class World {
  readonly name: BudgetName;
  readonly limit: number;
  now = Date.parse("2026-11-30T10:00:00Z");
  epoch = 0;
  readonly proxies: Proxy[];
  /** What the operator has on its disk. */
  disk = "{}";
  /** Messages under way, in no order. */
  readonly wire: (() => void)[] = [];
  /** What requests really used, and what of it was more than was reserved for them, by period. */
  readonly used = new Map<string, number>();
  readonly overrun = new Map<string, number>();

  constructor(name: BudgetName, limit: number) {
    this.name = name;
    this.limit = limit;
    this.proxies = Array.from({ length: pods }, () => this.start());
  }

  start(): Proxy {
    this.epoch += 1;
    return new Proxy(this.name, `key-${this.epoch}`);
  }

  account(window: string): Account {
    const all = JSON.parse(this.disk) as Record<string, Account>;
    return all[window] ?? emptyAccount;
  }

  write(window: string, account: Account): void {
    const all = JSON.parse(this.disk) as Record<string, Account>;
    this.disk = JSON.stringify({ ...all, [window]: account });
  }

  windows(): string[] {
    return Object.keys(JSON.parse(this.disk) as Record<string, Account>);
  }

  use(window: string, reserved: number, actual: number): void {
    this.used.set(window, (this.used.get(window) ?? 0) + actual);
    this.overrun.set(window, (this.overrun.get(window) ?? 0) + Math.max(0, actual - reserved));
  }

  take(one: Step): void {
    switch (one.kind) {
      case "reserve": {
        const proxy = this.proxies[one.pod];
        const reservation = proxy?.purse.reserve(one.amount, this.now);
        const { window } = periodAt(this.name, this.now);
        if (reservation !== undefined) proxy?.open.push({ reservation, window });
        return;
      }
      case "settle": {
        const proxy = this.proxies[one.pod];
        const [open] = proxy?.open.splice(one.at % Math.max(1, proxy.open.length), 1) ?? [];
        if (open === undefined) return;
        const actual = Math.round((open.reservation.amount * one.percent) / 100);
        this.use(open.window, open.reservation.amount, actual);
        open.reservation.settle(actual);
        open.reservation.settle(1_000);
        return;
      }
      case "ask":
        for (let copy = 0; copy < one.copies; copy += 1) this.ask(one.pod, one.need, one.wish);
        return;
      case "giveBack":
        this.proxies[one.pod]?.purse.giveBack(this.now);
        return;
      case "crash":
        return this.crash(one.pod);
      case "close":
        return this.close(one.pod);
      case "deliver":
        this.wire.splice(one.at % Math.max(1, this.wire.length), 1)[0]?.();
        return;
      case "drop":
        this.wire.splice(one.at % Math.max(1, this.wire.length), 1);
        return;
      case "restart":
        // Nothing but the disk is left of the operator, and what was under way to it and from it is gone.
        this.wire.length = 0;
        return;
      case "later":
        this.now += one.seconds * 1_000;
        return;
      default:
        one satisfies never;
    }
  }

  ask(index: number, need: number, wish: number): void {
    const proxy = this.proxies[index];
    if (proxy === undefined) return;
    const want = proxy.purse.want(need, wish, this.now);
    const reports = proxy.purse.reports(this.now);
    this.wire.push(() => {
      // A proxy that was replaced can no longer prove its key.
      if (this.proxies[index] !== proxy) return;
      const { window, endsAt } = periodAt(this.name, this.now);
      this.hear(proxy.holder, reports);
      const base = want.window === window ? want.base : 0;
      const grant = allot(this.account(window), proxy.holder, this.limit, { ...want, base });
      this.write(window, grant.account);
      this.wire.push(() => {
        proxy.purse.told(reports);
        if (endsAt > this.now) proxy.purse.granted(window, grant.granted, endsAt, this.now);
      });
    });
  }

  hear(holder: string, reports: readonly PurseReport[]): void {
    for (const one of reports)
      this.write(one.window, report(this.account(one.window), holder, one));
  }

  /** What it had under way went out all the same; the operator hears of it with the next start. */
  crash(index: number): void {
    const proxy = this.proxies[index];
    if (proxy === undefined) return;
    for (const { reservation, window } of proxy.open)
      this.use(window, reservation.amount, reservation.amount);
    for (const window of this.windows())
      this.write(window, forfeit(this.account(window), proxy.holder));
    this.proxies[index] = this.start();
  }

  close(index: number): void {
    const proxy = this.proxies[index];
    if (proxy === undefined) return;
    for (const { reservation, window } of proxy.open) {
      this.use(window, reservation.amount, reservation.amount);
      reservation.settle(reservation.amount);
    }
    this.hear(proxy.holder, proxy.purse.reports(this.now));
    for (const window of this.windows())
      this.write(window, close(this.account(window), proxy.holder));
    this.proxies[index] = this.start();
  }

  check(): void {
    for (const [window, used] of this.used) {
      const overrun = this.overrun.get(window) ?? 0;
      assert.ok(
        used <= this.limit + overrun,
        `${window}: ${used} of ${this.limit} used, ${overrun} of it beyond reservations`,
      );
    }
  }
}

test("whatever happens to proxies, operator and messages, no more is spent than the limit and what answers had beyond their reservations", () => {
  let refusedOnce = 0;
  fc.assert(
    fc.property(
      fc.constantFrom<BudgetName>("tokensPerDay", "tokensPerMinute"),
      fc.integer({ min: 30, max: 200 }),
      fc.array(step, { minLength: 80, maxLength: 200 }),
      (name, limit, steps) => {
        const world = new World(name, limit);
        for (const one of steps) {
          world.take(one);
          world.check();
        }
        if ([...world.used.values()].some((used) => used > limit / 2)) refusedOnce += 1;
      },
    ),
    { numRuns: 400 },
  );
  // The property is about budgets that are really spent.
  assert.ok(refusedOnce > 40, `only ${refusedOnce} histories spent half of a budget`);
});

test("what a proxy gave back or ended with is there for the others, and what a lost one held is not", () => {
  let account = emptyAccount;
  const take = (holder: string, need: number): number => {
    const grant = allot(account, holder, 100, { base: 0, need, wish: need });
    account = grant.account;
    return grant.granted;
  };
  assert.equal(take("a", 90), 90);
  assert.equal(take("b", 20), 0);
  account = report(account, "a", { returned: 50, spent: 30 });
  assert.equal(take("b", 20), 20);
  account = close(account, "a");
  assert.equal(spentOf(account), 30);
  assert.equal(committed(account), 50);
  account = forfeit(account, "b");
  assert.equal(committed(account), 50);
  assert.equal(take("c", 50), 50);
  assert.equal(take("d", 1), 0);
});
