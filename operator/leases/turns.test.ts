import assert from "node:assert/strict";
import { test } from "node:test";
import { LeaseRefused } from "../grants/lease-refused.ts";
import { maxAtOnce, maxWaiting, Turns } from "./turns.ts";

const never = new AbortController().signal;

/** Work that ends when told to. */
function work() {
  const done = Promise.withResolvers<void>();
  let began = false;
  return {
    run: async (): Promise<void> => {
      began = true;
      await done.promise;
    },
    began: () => began,
    finish: () => done.resolve(),
  };
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

test("a few work at a time, the others in order behind them, each Connection for itself", async () => {
  const turns = new Turns();
  const all = Array.from({ length: maxAtOnce + 2 }, work);
  const running = all.map(({ run }) => turns.run("a", never, run));
  const other = work();
  const elsewhere = turns.run("b", never, other.run);
  await turn();
  const began = (): number => all.filter((one) => one.began()).length;
  assert.equal(began(), maxAtOnce);
  assert.equal(other.began(), true);
  all[0]?.finish();
  await turn();
  assert.equal(all[maxAtOnce]?.began(), true);
  assert.equal(began(), maxAtOnce + 1);
  for (const one of [...all, other]) one.finish();
  await Promise.all([...running, elsewhere]);
  assert.equal(began(), all.length);
});

test("who gives up while waiting takes no turn from the others", async () => {
  const turns = new Turns();
  const busy = Array.from({ length: maxAtOnce }, work);
  const running = busy.map(({ run }) => turns.run("a", never, run));
  const given = new AbortController();
  const impatient = work();
  const waiting = turns.run("a", given.signal, impatient.run);
  const patient = work();
  const last = turns.run("a", never, patient.run);
  given.abort(new Error("gave up"));
  await assert.rejects(waiting, /gave up/);
  for (const one of busy) one.finish();
  await turn();
  assert.equal(impatient.began(), false);
  assert.equal(patient.began(), true);
  patient.finish();
  await Promise.all([...running, last]);
  const again = work();
  const free = turns.run("a", never, again.run);
  again.finish();
  await free;
});

test("more than so many do not wait: they are told to come again", async () => {
  const turns = new Turns();
  const all = Array.from({ length: maxAtOnce + maxWaiting }, work);
  const running = all.map(({ run }) => turns.run("a", never, run));
  await assert.rejects(turns.run("a", never, work().run), (error: unknown) => {
    assert.ok(error instanceof LeaseRefused);
    assert.equal(error.temporary, true);
    return error.reason === "TooManyLeases";
  });
  for (const one of all) one.finish();
  await Promise.all(running);
});
