// What acts on connections that are open: an edit, a quarantine, a deletion. Timed, so nothing else of this suite runs beside it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../cluster/command.ts";
import { openApi } from "./api.ts";
import { apply, get, remove, soonMs } from "./cluster.ts";
import { asRecord } from "./read.ts";
import { agentAccount, ordersPolicy, readOrders, worldFor, type World } from "./world.ts";

/** The promise, counted from when the change is sent to the API server. */
const withinMs = 1_000;

interface Ended {
  readonly endedAt?: number;
  readonly error?: string;
}

async function endedAfter(world: World, connection: string, since: number): Promise<number> {
  const { done } = await world.order<Ended>("/ended", { connection, waitMs: 20_000 });
  assert.ok(done?.endedAt !== undefined, `connection ${connection} did not end`);
  return done.endedAt - since;
}

test("a policy edit acts on an open connection within a second", async (t) => {
  const world = await worldFor(t, "edit");
  assert.equal((await world.sql("SELECT id FROM orders WHERE id = 1")).rowCount, 1);
  const path = `/apis/chaperone.dev/v1alpha1/namespaces/${world.namespace}/accesspolicies/invoice-agent`;
  const rules = [
    { ...readOrders, sql: { statements: ["select"], relations: ["public.customers"] } },
  ];
  const api = openApi();
  t.after(() => api.close());
  const edited = Date.now();
  await api.call("PATCH", path, { spec: { rules } });
  let refusedAt: number | undefined;
  while (refusedAt === undefined && Date.now() - edited < 10_000) {
    const { at, failed } = await world.order("/sql", {
      text: "SELECT id FROM orders WHERE id = 1",
    });
    if (failed !== undefined) refusedAt = at;
  }
  assert.ok(refusedAt !== undefined, "the edit never acted");
  t.diagnostic(`refused ${refusedAt - edited} ms after the edit was sent`);
  assert.ok(refusedAt - edited < withinMs, `took ${refusedAt - edited} ms`);
  assert.equal((await world.sql("SELECT id FROM customers WHERE id = 1")).rowCount, 1);
});

test("a quarantine cuts an open connection within a second, and lets it back when it is lifted", async (t) => {
  const world = await worldFor(t, "quarantine");
  await world.sql("SELECT 1");
  const path = `/apis/chaperone.dev/v1alpha1/namespaces/${world.namespace}/quarantines`;
  const api = openApi();
  t.after(() => api.close());
  const since = Date.now();
  await api.call("POST", path, {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "Quarantine",
    metadata: { name: "stop", namespace: world.namespace },
    spec: { subjects: [{ serviceAccounts: [agentAccount] }], reason: "an odd answer" },
  });
  const took = await endedAfter(world, "default", since);
  t.diagnostic(`ended ${took} ms after the quarantine was sent`);
  assert.ok(took < withinMs, `took ${took} ms`);
  const refused = await world.refusedSql("SELECT 1", { connection: "again" });
  assert.match(refused.message, /quarantine/i);
  await until("the quarantine to be confirmed", soonMs, async () => {
    const { status } = await get(world.namespace, "quarantine", "stop");
    return Number(asRecord(status)["confirmed"]) === 1;
  });
  await remove(world.namespace, "quarantine", "stop");
  await until("the agent to be let back", soonMs, async () => {
    const { done } = await world.order("/sql", { text: "SELECT 1", connection: `b${Date.now()}` });
    return done !== undefined;
  });
});

test("deleting the policy, then the Connection, ends what hung on them", async (t) => {
  const world = await worldFor(t, "delete");
  await world.sql("SELECT 1");
  await remove(world.namespace, "accesspolicy", "invoice-agent");
  await until("the policy's grant to be gone", soonMs, async () => {
    const { failed } = await world.order("/sql", { text: "SELECT id FROM orders WHERE id = 1" });
    return failed !== undefined;
  });
  await apply({
    ...ordersPolicy(),
    metadata: { name: "invoice-agent", namespace: world.namespace },
  });
  await until("the policy to be back", soonMs, async () => {
    const { done } = await world.order("/sql", { text: "SELECT 1", connection: "second" });
    return done !== undefined;
  });
  await remove(world.namespace, "connection", "orders-db");
  const since = Date.now();
  await endedAfter(world, "second", since);
  const refused = await world.refusedSql("SELECT 1", { connection: "third" });
  assert.match(refused.message, /orders-db/);
});
