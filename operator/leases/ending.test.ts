import assert from "node:assert/strict";
import { test } from "node:test";
import type { AdminTarget } from "./admin.ts";
import { EndingRoles, maxEnding, type EndingOptions } from "./ending.ts";

const target: AdminTarget = {
  connection: "agents/orders-db",
  endpoint: { host: "db", port: 5432, tls: { mode: "VerifyFull" } },
  database: "orders",
  username: "admin",
  password: "secret",
};

function role(name: string, made: Promise<unknown> = Promise.resolve(), of = target) {
  return { name, connection: of.connection, target: of, made, ifExpired: false };
}

function queue(end: EndingOptions["end"], now: () => number = Date.now) {
  const problems: string[] = [];
  const roles = new EndingRoles({
    now,
    random: () => 1,
    end,
    onProblem: ({ name }) => problems.push(name),
  });
  return { roles, problems };
}

async function turns(count = 5): Promise<void> {
  for (let at = 0; at < count; at += 1) await new Promise((resolve) => setImmediate(resolve));
}

test("roles that end together go over one connection, those of another database over another", async () => {
  const rounds: string[][] = [];
  const { roles } = queue(async (_target, ended, gone) => {
    rounds.push(ended.map(({ name }) => name));
    for (const { name } of ended) gone(name);
  });
  const other = { ...target, connection: "agents/other", database: "other" };
  for (const name of ["a", "b", "c"]) roles.add(role(name));
  roles.add(role("d", undefined, other));
  await roles.settled(AbortSignal.timeout(1_000));
  assert.deepEqual(rounds, [["a", "b", "c"], ["d"]]);
  await roles.close();
});

test("a role that is still being made is ended afterwards, and holds up nobody", async () => {
  const ended: string[] = [];
  const { roles } = queue(async (_target, over, gone) => {
    for (const { name } of over) {
      ended.push(name);
      gone(name);
    }
  });
  const making = Promise.withResolvers<void>();
  roles.add(role("slow", making.promise));
  roles.add(role("quick"));
  await turns();
  assert.deepEqual(ended, ["quick"]);
  making.reject(new Error("it failed half way"));
  await turns();
  assert.deepEqual(ended, ["quick", "slow"]);
  await roles.close();
});

test("what fails is tried again, ever more seldom, and the others are gone", async () => {
  let clock = 0;
  let tries = 0;
  const { roles, problems } = queue(
    async (_target, over, gone) => {
      for (const { name } of over) if (name !== "stuck") gone(name);
      if (!over.some(({ name }) => name === "stuck")) return;
      tries += 1;
      if (tries < 3) throw new Error("depends on something");
      gone("stuck");
    },
    () => clock,
  );
  roles.add(role("stuck"));
  roles.add(role("fine"));
  await turns();
  assert.deepEqual([roles.size, tries], [1, 1]);
  const tick = async (): Promise<void> => {
    roles.add(role(`knock-${clock}`)); // whatever is added looks at what is due
    await turns();
  };
  clock = 400;
  await tick();
  assert.equal(tries, 1, "not yet");
  clock = 600;
  await tick();
  assert.equal(tries, 2);
  clock = 1_200;
  await tick();
  assert.equal(tries, 2, "twice as long");
  clock = 1_700;
  await tick();
  assert.deepEqual([roles.size, tries], [0, 3]);
  assert.deepEqual(problems, ["stuck", "stuck"]);
  await roles.close();
});

test("the queue is bounded: what does not fit is left to the sweep", async () => {
  const never = Promise.withResolvers<void>();
  const { roles } = queue(async () => undefined);
  for (let at = 0; at < maxEnding + 10; at += 1) roles.add(role(`r${at}`, never.promise));
  assert.equal(roles.size, maxEnding);
  assert.equal(roles.has("r0"), false);
  assert.equal(roles.has(`r${maxEnding + 9}`), true);
  await roles.close();
});
