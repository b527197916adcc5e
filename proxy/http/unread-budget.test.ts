import assert from "node:assert/strict";
import { test } from "node:test";

import type { ProxyError } from "../errors.ts";
import { UnreadBudget } from "./unread-budget.ts";
import type { UnreadHolder } from "./unread-budget.ts";

/** A connection whose bodies hold so much each. */
class Connection implements UnreadHolder {
  readonly bodies: number[] = [];
  readonly refused: ProxyError[] = [];
  readonly #budget: UnreadBudget;

  constructor(budget: UnreadBudget) {
    this.#budget = budget;
    budget.join(this);
  }

  get unread(): number {
    return this.bodies.reduce((sum, one) => sum + one, 0);
  }

  add(bytes: number): void {
    this.bodies.push(bytes);
    this.#budget.add(bytes);
  }

  refuseLargest(error: ProxyError): void {
    this.refused.push(error);
    const largest = Math.max(...this.bodies);
    this.bodies.splice(this.bodies.indexOf(largest), 1);
    this.#budget.add(-largest);
  }
}

test("a body that finds no room takes it from the connection with most, and a small one is never refused for a large", () => {
  const budget = new UnreadBudget(1_000);
  const [hog, small] = [new Connection(budget), new Connection(budget)];
  for (const bytes of [300, 400, 300]) hog.add(bytes);
  assert.equal(hog.refused.length, 0);
  small.add(50);
  assert.deepEqual([hog.bodies, hog.refused.length, small.refused.length], [[300, 300], 1, 0]);
  assert.equal(hog.refused[0]?.code, "LimitExceeded");
  hog.add(900);
  assert.deepEqual([hog.bodies, small.bodies], [[300, 300], [50]]);
});

test("what is given back and who leaves makes room", () => {
  const budget = new UnreadBudget(1_000);
  const [one, other] = [new Connection(budget), new Connection(budget)];
  one.add(1_000);
  one.bodies.length = 0;
  budget.add(-1_000);
  budget.leave(one);
  other.add(1_000);
  assert.deepEqual([one.refused.length, other.refused.length], [0, 0]);
});
