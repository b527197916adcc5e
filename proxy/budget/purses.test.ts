// What a proxy holds of budgets, with a clock and an operator that do what a test says.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BudgetAnswer, BudgetCall } from "../../contract/budget.ts";
import { periodAt } from "../../policy/budget/budget.ts";
import { allot, close, emptyAccount, report, type Account } from "../../policy/budget/ledger.ts";
import { Purses, type Taken } from "./purses.ts";
import { Spending } from "./spending.ts";

class World {
  now = Date.parse("2026-11-30T10:00:00Z");
  readonly calls: BudgetCall[] = [];
  readonly timers = new Set<{ readonly at: number; readonly run: () => void }>();
  isAway = false;
  limit: number;
  account: Account = emptyAccount;
  readonly purses: Purses;

  constructor(limit: number) {
    this.limit = limit;
    this.purses = new Purses("agents/openai", (call) => this.ask(call), {
      now: () => this.now,
      after: (ms, run) => {
        const timer = { at: this.now + ms, run };
        this.timers.add(timer);
        return () => void this.timers.delete(timer);
      },
    });
  }

  async ask(call: BudgetCall): Promise<BudgetAnswer> {
    this.calls.push(call);
    await Promise.resolve();
    if (this.isAway) throw new Error("away");
    const { window: period, endsAt } = periodAt("tokensPerDay", this.now);
    for (const one of call.reports)
      if (one.period === period) this.account = report(this.account, "me", one);
    const shares = call.wants.map((want) => {
      const base = want.period === period ? want.base : 0;
      const grant = allot(this.account, "me", this.limit, { ...want, base });
      this.account = grant.account;
      const { granted, left } = grant;
      return {
        budget: want.budget,
        period,
        endsInMs: endsAt - this.now,
        limit: this.limit,
        granted,
        left,
      };
    });
    if (call.closes === true) this.account = close(this.account, "me");
    return { shares };
  }

  async pass(ms: number): Promise<void> {
    this.now += ms;
    for (const timer of this.timers)
      if (timer.at <= this.now && this.timers.delete(timer)) timer.run();
    await new Promise((resolve) => setImmediate(resolve));
  }

  async take(amount: number, atLeast = amount): Promise<Taken> {
    return this.purses.take([{ budget: "tokensPerDay", amount, atLeast }]);
  }
}

function partsOf(taken: Taken) {
  assert.ok("parts" in taken);
  return taken.parts;
}

test("what was allotted is spent without asking, and what was said a moment ago is not asked again", async () => {
  const world = new World(1_600);
  for (let at = 0; at < 10; at += 1)
    for (const { reservation } of partsOf(await world.take(10))) reservation.settle(10);
  assert.equal(world.calls.length, 1);
  assert.ok("short" in (await world.take(1_600)));
  assert.ok("short" in (await world.take(1_600)));
  assert.equal(world.calls.length, 1, "what is left was heard a moment ago");
  await world.pass(1_500);
  assert.ok("short" in (await world.take(1_600)));
  assert.equal(world.calls.length, 2);
});

test("while the operator is away it is asked ever more rarely, and at once it is back all is well", async () => {
  const world = new World(1_600);
  world.isAway = true;
  for (let at = 0; at < 60; at += 1) {
    assert.ok("away" in (await world.take(10)));
    await world.pass(500);
  }
  // After 1, 2, 4, 8 and 10 seconds.
  assert.ok(world.calls.length >= 5 && world.calls.length <= 7, `${world.calls.length}`);
  world.isAway = false;
  await world.pass(10_000);
  partsOf(await world.take(10));
});

test("what lies idle goes back, also after an answer that took long, and is told until it is heard", async () => {
  const world = new World(1_600);
  const [part] = partsOf(await world.take(10));
  await world.pass(2_000);
  await world.pass(60_000);
  world.isAway = true;
  part?.reservation.settle(7);
  await world.pass(2_000);
  world.isAway = false;
  await world.pass(2_000);
  assert.deepEqual(world.account.holdings["me"], { granted: 100, returned: 93, spent: 7 });
  const calls = world.calls.length;
  await world.pass(60_000);
  assert.equal(world.calls.length, calls, "there is nothing more to say");
});

test("an answer longer than it said takes more as it comes, and is over when there is no more", async () => {
  const world = new World(3_200);
  const parts = partsOf(await world.take(210, 110));
  const spending = new Spending(world.purses, parts, {
    price: undefined,
    expected: { input: 10, output: 200 },
    isBounded: true,
  });
  assert.equal(spending.count(200), undefined);
  assert.equal(spending.count(300), undefined, "the operator is being asked");
  await world.pass(0);
  assert.equal(spending.count(1_000), undefined);
  let over: string | undefined;
  for (let output = 1_000; output < 9_000 && over === undefined; output += 50) {
    over = spending.count(output);
    await world.pass(0);
  }
  assert.equal(over, "tokensPerDay");
  spending.settle({ status: "error", httpStatus: 200 });
  assert.ok(spending.tokens.output >= 3_190 && spending.tokens.output <= 3_250);
  await world.pass(2_000);
  assert.equal(world.account.holdings["me"]?.spent, spending.tokens.output + 10);
});

test("an answer that comes all at once is over before it is far over", async () => {
  const world = new World(3_200);
  const parts = partsOf(await world.take(210));
  const spending = new Spending(world.purses, parts, {
    price: undefined,
    expected: { input: 10, output: 200 },
    isBounded: true,
  });
  assert.equal(spending.count(4_296), undefined);
  assert.equal(spending.count(4_297), "tokensPerDay");
});

for (const [what, outcome, spent] of [
  [
    "was answered with usage",
    { status: "ok", httpStatus: 200, tokens: { input: 3, output: 4 } },
    7,
  ],
  ["was answered without usage that could be read", { status: "ok", httpStatus: 200 }, 210],
  ["the provider refused", { status: "error", httpStatus: 429 }, 0],
  ["never reached the provider", { status: "error", error: "UpstreamUnreachable" }, 0],
  ["nobody knows the end of", { status: "unknown" }, 210],
] as const) {
  test(`a request that ${what} is settled for ${spent}`, async () => {
    const world = new World(3_200);
    const parts = partsOf(await world.take(210));
    new Spending(world.purses, parts, {
      price: undefined,
      expected: { input: 10, output: 200 },
      isBounded: true,
    }).settle(outcome);
    await world.purses.close();
    assert.deepEqual(world.account, { settled: spent, holdings: {} });
  });
}
