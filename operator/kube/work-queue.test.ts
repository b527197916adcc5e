import assert from "node:assert/strict";
import { test } from "node:test";
import { Controller } from "./controller.ts";
import { WorkQueue, type QueueTimers } from "./work-queue.ts";

/** Timers that fire when told to. */
function manualTimers(): QueueTimers & { readonly set: QueueTimers["set"]; fire(): number[] } {
  let planned: { readonly fn: () => void; readonly ms: number }[] = [];
  return {
    random: () => 1,
    set(fn, ms) {
      const entry = { fn, ms };
      planned.push(entry);
      return () => (planned = planned.filter((other) => other !== entry));
    },
    fire() {
      const due = planned;
      planned = [];
      for (const { fn } of due) fn();
      return due.map(({ ms }) => ms);
    },
  };
}

test("a key added many times is worked on once", async () => {
  const queue = new WorkQueue();
  for (let round = 0; round < 5; round += 1) queue.add("a");
  queue.add("b");
  assert.equal(await queue.take(), "a");
  assert.equal(await queue.take(), "b");
  assert.equal(queue.depth, 0);
});

test("a key added while it is worked on is never in two hands, and comes again afterwards", async () => {
  const queue = new WorkQueue();
  queue.add("a");
  assert.equal(await queue.take(), "a");
  queue.add("a");
  queue.add("a");
  let second: string | undefined;
  const taking = queue.take().then((key) => (second = key));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(second, undefined);
  queue.done("a");
  await taking;
  assert.equal(second, "a");
});

test("failing work waits twice as long each time, and done forgets that", async () => {
  const timers = manualTimers();
  const queue = new WorkQueue(timers, () => 0);
  const waits: number[] = [];
  for (let round = 0; round < 3; round += 1) {
    queue.add("a");
    await queue.take();
    queue.retry("a");
    waits.push(...timers.fire());
  }
  assert.deepEqual(waits, [200, 400, 800]);
  await queue.take();
  queue.done("a");
  queue.add("a");
  await queue.take();
  assert.equal(queue.retry("a"), 200);
});

test("of two wishes for later the earlier counts", async () => {
  const timers = manualTimers();
  const queue = new WorkQueue(timers, () => 0);
  queue.addAfter("a", 500);
  queue.addAfter("a", 100);
  queue.addAfter("a", 900);
  assert.deepEqual(timers.fire(), [100]);
  assert.equal(await queue.take(), "a");
});

test("close lets every waiting worker go", async () => {
  const queue = new WorkQueue();
  const takers = [queue.take(), queue.take()];
  queue.close();
  assert.deepEqual(await Promise.all(takers), [undefined, undefined]);
  queue.add("late");
  assert.equal(await queue.take(), undefined);
});

test("a controller tries again what threw, and works on other keys meanwhile", async () => {
  const timers = manualTimers();
  const queue = new WorkQueue(timers, () => 0);
  const seen: string[] = [];
  const warned: unknown[] = [];
  const settled = Promise.withResolvers<void>();
  const controller = new Controller({
    name: "test",
    workers: 1,
    queue,
    log: { warn: (details) => void warned.push(details) },
    async reconcile(key) {
      seen.push(key);
      if (key === "a" && seen.length === 1) throw new Error("not yet");
      if (seen.length === 3) settled.resolve();
      return {};
    },
  });
  controller.start();
  queue.add("a");
  queue.add("b");
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(seen, ["a", "b"]);
  timers.fire();
  await settled.promise;
  assert.deepEqual(seen, ["a", "b", "a"]);
  assert.equal(warned.length, 1);
  await controller.close();
});
