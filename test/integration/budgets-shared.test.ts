// Budgets between real proxies' keepers and the operator's API over real sockets, and between replicas of the operator on PostgreSQL.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, it, test } from "node:test";
import {
  connection,
  ordersDb,
  podIdentity,
  policy,
  quarantine,
  startTestApi,
  type TestApi,
} from "../../operator/api/fixture.ts";
import { openPostgresStore, openStore, type AuditStore } from "../../operator/audit/store.ts";
import { sqlAccounts } from "../../operator/budgets/accounts.ts";
import { Budgets } from "../../operator/budgets/budgets.ts";
import { readBudgets } from "../../operator/budgets/used.ts";
import type { AccessPolicy } from "../../crds/types.gen.ts";
import { Purses, type Taken } from "../../proxy/budget/purses.ts";
import { ProxyError } from "../../proxy/errors.ts";
import { OperatorClient } from "../../proxy/grant/client.ts";
import { systemClock } from "../../proxy/grant/clock.ts";
import { GrantKeeper } from "../../proxy/grant/keeper.ts";
import { ProofKey } from "../../proxy/grant/keys.ts";
import { postgresAvailable, startPostgres } from "./postgres-server.ts";

const never = new AbortController().signal;
const now = (): number => Date.now();

const secondPod = "6f1c0000-0000-4000-8000-000000000002";

async function startKeeper(api: TestApi, podUid: string): Promise<GrantKeeper> {
  const key = await ProofKey.create(Date.now);
  const keeper = new GrantKeeper({
    key,
    client: new OperatorClient({
      key,
      address: { url: api.origin },
      readToken: () => api.issuer.token(podUid),
    }),
    clock: systemClock(),
    random: Math.random,
    proxyVersion: "0.1.0",
    connections: [ordersDb],
    sessionsOn: () => 0,
    onProblem: () => undefined,
  });
  keeper.start();
  return keeper;
}

function pursesOf(keeper: GrantKeeper): Purses {
  return new Purses(ordersDb, (call, signal) => keeper.askBudgets(call, signal), {
    ...systemClock(),
    now,
  });
}

const need = (amount: number) => [{ budget: "tokensPerDay" as const, amount, atLeast: amount }];

async function spend(purses: Purses, amount: number): Promise<Taken> {
  const taken = await purses.take(need(amount));
  if ("parts" in taken) for (const { reservation } of taken.parts) reservation.settle(amount);
  return taken;
}

describe("a workload of two pods", () => {
  let api: TestApi;
  let store: AuditStore;
  let directory: string;
  const keepers: GrantKeeper[] = [];

  const limited = (limits: AccessPolicy["spec"]["limits"]): AccessPolicy =>
    policy(limits === undefined ? {} : { limits });

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "chaperone-shared-"));
    store = await openStore(join(directory, "store.sqlite"));
    api = await startTestApi({ accounts: sqlAccounts(store.db) });
    api.issuer.setPod(podIdentity({ pod: "invoice-2", podUid: secondPod }));
    api.view.put(connection({ protocol: "openai", endpoint: { url: "http://127.0.0.1:1/v1" } }));
    api.view.put(limited({ tokensPerDay: 1_000 }));
    keepers.push(await startKeeper(api, podIdentity().podUid), await startKeeper(api, secondPod));
  });
  afterEach(async () => {
    await Promise.all(keepers.splice(0).map((keeper) => keeper.close()));
    await api.close();
    await store.close();
    await rm(directory, { recursive: true });
  });

  it("shares one budget, whichever pod comes first, and it is enforced as the policy stands at the operator", async () => {
    const [one, two] = keepers.map(pursesOf);
    assert.ok(one !== undefined && two !== undefined);
    let spent = 0;
    for (let at = 0; at < 60; at += 1) {
      const taken = await spend(at % 2 === 0 ? one : two, 20);
      if ("parts" in taken) spent += 20;
    }
    // What one of them was allotted in advance may lie idle with it for two seconds.
    assert.ok(spent <= 1_000 && spent >= 1_000 - 2 * 63, `${spent}`);
    api.view.put(limited({ tokensPerDay: 2_000 }));
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    assert.ok("parts" in (await spend(one, 500)));
    await Promise.all([one.close(), two.close()]);
    const [row] = await readBudgets(store.db, now());
    assert.deepEqual([row?.spent, row?.held, row?.limit, row?.proxies], [spent + 500, 0, 2_000, 0]);
  });

  it("gives back what lies idle, so that the other pod has it", async () => {
    const [one, two] = keepers.map(pursesOf);
    assert.ok(one !== undefined && two !== undefined);
    const held = await one.take(need(900));
    assert.ok("parts" in held);
    assert.ok("short" in (await two.take(need(200))), "it is all held by the first");
    for (const { reservation } of held.parts) reservation.settle(10);
    const deadline = Date.now() + 60_000;
    for (
      let taken = await two.take(need(200));
      !("parts" in taken);
      taken = await two.take(need(200))
    ) {
      assert.ok(Date.now() < deadline, "it never came back");
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  });

  it("asks once for a crowd, and no one of it gets what another was given", async () => {
    const [one] = keepers.map(pursesOf);
    assert.ok(one !== undefined);
    const taken = await Promise.all(Array.from({ length: 60 }, () => spend(one, 30)));
    assert.equal(taken.filter((each) => "parts" in each).length, 33);
  });

  it("is told why where the operator refuses, and what it spent is heard all the same", async () => {
    const [first] = keepers;
    assert.ok(first !== undefined);
    await first.ready(never);
    api.view.delete("Connection", "agents", "orders-db");
    const [one] = keepers.map(pursesOf);
    assert.ok(one !== undefined);
    const taken = await one.take(need(1));
    assert.ok("away" in taken && taken.away instanceof ProxyError);
    assert.equal(taken.away.code, "GrantRefused");
    assert.match(taken.away.message, /connection agents\/orders-db does not exist/);
    assert.deepEqual(
      await first.askBudgets({ connection: ordersDb, reports: [], wants: [], closes: true }, never),
      { shares: [] },
    );
  });

  it("is not kept from its budget by a quarantine that ends; calls that are none are refused", async () => {
    const [first] = keepers;
    assert.ok(first !== undefined);
    api.view.put(quarantine({ all: true }));
    const { shares } = await first.askBudgets(
      {
        connection: ordersDb,
        reports: [],
        wants: [{ budget: "tokensPerDay", base: 0, need: 1, wish: 1 }],
      },
      never,
    );
    assert.equal(shares[0]?.limit, 1_000);
    const bad = { connection: ordersDb, reports: [], wants: [{ budget: "sleep", base: -1 }] };
    await assert.rejects(first.askBudgets(bad as never, never), { code: "GrantRefused" });
  });
});

if (postgresAvailable()) {
  const server = await startPostgres();
  after(() => server.stop());

  test("two replicas of the operator on one PostgreSQL allot no more than the limit between them", async () => {
    const stores = await Promise.all([1, 2].map(() => openPostgresStore(server.superuserUrl)));
    const replicas = stores.map(({ db }) => new Budgets(sqlAccounts(db), now));
    const answers = await Promise.all(
      replicas.flatMap((replica, which) =>
        Array.from({ length: 30 }, (_, pod) =>
          replica.settle(
            { namespace: "agents", serviceAccount: "a", podUid: `pod${which}-${pod}`, key: "k" },
            {
              connection: "agents/openai",
              reports: [],
              wants: [{ budget: "tokensPerDay", base: 0, need: 1_000_003, wish: 1_000_003 }],
            },
            { tokensPerDay: 16_000_048 },
          ),
        ),
      ),
    );
    const granted = answers.map(({ shares }) => shares[0]?.granted ?? 0);
    assert.equal(
      granted.reduce((sum, one) => sum + one, 0),
      16_000_048,
    );
    for (const store of stores) await store.close();
  });
}
