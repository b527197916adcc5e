import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import type { ProxyError } from "../errors.ts";
import { BodyBudget, maxWaitingBodies, uncountedBytes } from "./body-budget.ts";
import type { BodyShare } from "./body-budget.ts";

const never = (): void => assert.fail("was called");

test("a small body never counts, and a large one waits until another is over", () => {
  const budget = new BodyBudget(1000);
  const first = budget.share();
  assert.ok(first.grow(uncountedBytes + 900, never, never));
  const second = budget.share();
  let went = false;
  assert.ok(!second.grow(uncountedBytes + 200, () => (went = true), never));
  assert.ok(budget.share().grow(uncountedBytes, never, never));
  assert.equal(budget.held, 900);
  first.release();
  assert.ok(went);
  assert.equal(budget.held, 200);
  second.release();
  assert.equal(budget.held, 0);
});

test("whoever waits too long is told how much it is about, and whoever is over waits no more", async () => {
  const budget = new BodyBudget(1024 * 1024, 1);
  assert.ok(budget.share().grow(uncountedBytes + 1024 * 1024, never, never));
  const gone = budget.share();
  assert.ok(!gone.grow(uncountedBytes + 1, never, never));
  gone.release();
  const error = await new Promise<ProxyError>((resolve) =>
    budget.share().grow(uncountedBytes + 1, never, resolve),
  );
  assert.equal(error.code, "LimitExceeded");
  assert.match(error.message, /hold 1 MiB of bodies/);
});

test("no more than so many wait: the next is told at once, and one that is over makes room for another", () => {
  const budget = new BodyBudget(1000, 60_000);
  const holding = budget.share();
  assert.ok(holding.grow(uncountedBytes + 1000, never, never));
  let went = 0;
  const waiting = Array.from({ length: maxWaitingBodies }, () => budget.share());
  for (const share of waiting) assert.ok(!share.grow(uncountedBytes + 1, () => (went += 1), never));
  const refusals: string[] = [];
  const refuse = ({ code }: ProxyError): number => refusals.push(code);
  const next = budget.share();
  assert.ok(!next.grow(uncountedBytes + 1, never, refuse));
  assert.deepEqual(refusals, ["LimitExceeded"]);
  next.release();
  waiting[0]?.release();
  const later = budget.share();
  assert.ok(!later.grow(uncountedBytes + 1, () => (went += 1), never));
  holding.release();
  assert.equal(went, maxWaitingBodies);
  for (const share of [...waiting, later]) share.release();
  assert.equal(budget.held, 0);
});

test("whatever grows, waits and ends, no more is held than may be, and nothing stays", () => {
  const step = fc.tuple(
    fc.nat({ max: 5 }),
    fc.constantFrom("grow", "release"),
    fc.nat({ max: 600 }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const budget = new BodyBudget(1000, 60_000);
      const shares = new Map<number, { share: BodyShare; length: number; waits: boolean }>();
      for (const [which, what, bytes] of steps) {
        const one = shares.get(which) ?? {
          share: budget.share(),
          length: uncountedBytes,
          waits: false,
        };
        shares.set(which, one);
        if (what === "release") {
          one.share.release();
          shares.delete(which);
        } else if (!one.waits) {
          one.length += bytes;
          one.waits = !one.share.grow(one.length, () => (one.waits = false), never);
        }
        assert.ok(budget.held <= 1000);
        const taken = [...shares.values()].reduce((sum, { share }) => sum + share.taken, 0);
        assert.equal(budget.held, taken);
      }
      for (const { share } of shares.values()) share.release();
      assert.equal(budget.held, 0);
    }),
  );
});
