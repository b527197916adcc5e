// `credential.postgresRole` on a real cluster: the agent works under a role made for its grant, which a quarantine takes from the database.
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../cluster/command.ts";
import { apply, get, remove, soonMs } from "./cluster.ts";
import { asRecord, values } from "./read.ts";
import {
  agentAccount,
  connections,
  ordersPolicy,
  readOrders,
  worldFor,
  type Rows,
} from "./world.ts";

const [ordersDb] = connections;

const policies = [
  ordersPolicy({
    rules: [
      readOrders,
      {
        name: "look-up-roles",
        action: "Allow",
        sql: { statements: ["select"], relations: ["pg_catalog.pg_roles"] },
      },
    ],
    masking: [],
  }),
];

test("an agent works under a role of its own, and a quarantine drops it", async (t) => {
  const world = await worldFor(t, "roles", { policies });
  const inNamespace = { namespace: world.namespace };
  await apply(
    {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "orders-admin", ...inNamespace },
      stringData: { username: "lessor", password: world.upstreams.password },
    },
    {
      ...ordersDb,
      metadata: { ...ordersDb.metadata, ...inNamespace },
      spec: {
        ...ordersDb.spec,
        credential: {
          postgresRole: {
            adminSecretRef: { name: "orders-admin" },
            usernameKey: "username",
            passwordKey: "password",
          },
        },
      },
    },
  );
  let connection = 0;
  const user = async (): Promise<string> => {
    connection += 1; // a session of its own: those of before keep their login
    const text = "SELECT current_user AS name FROM orders WHERE id = 1";
    const { done } = await world.order<Rows>("/sql", { text, connection: `c${connection}` });
    const name = done?.rows[0]?.["name"];
    return typeof name === "string" ? name : "";
  };
  let role = "";
  await until("the agent to get a role", soonMs, async () => {
    role = await user();
    return role.startsWith("chaperone_");
  });
  assert.equal(await user(), role, "the same for every session of the grant");
  await until("the Connection to say that roles are as permitted", soonMs, async () => {
    const { status } = await get(world.namespace, "connection", "orders-db");
    return values(asRecord(status)["conditions"]).some((condition) => {
      const { type, status: is } = asRecord(condition);
      return type === "PrivilegesGranted" && is === "True";
    });
  });

  await apply({
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "Quarantine",
    metadata: { name: "stop", ...inNamespace },
    spec: { subjects: [{ serviceAccounts: [agentAccount] }], reason: "an odd answer" },
  });
  await until("the agent to be cut off", soonMs, async () => (await user()) === "");
  await remove(world.namespace, "quarantine", "stop");
  let next = "";
  await until("the agent to be let back", soonMs, async () => {
    next = await user();
    return next !== "";
  });
  assert.notEqual(next, role);
  await until("the earlier role to be gone", soonMs, async () => {
    const text = `SELECT rolname FROM pg_roles WHERE rolname = '${role}'`;
    return (await world.sql(text, { connection: "roles" })).rowCount === 0;
  });
});
