// A held statement on a real cluster: asked for by an agent, decided by a person, used once.
import assert from "node:assert/strict";
import { test } from "node:test";
import { textAt } from "../../operator/kube/objects.ts";
import { until } from "../cluster/command.ts";
import {
  create,
  get,
  kubectl,
  list,
  refusedBy,
  soonMs,
  waitFor,
  type KubeObject,
} from "./cluster.ts";
import { person } from "./people.ts";
import { asRecord, spec, values } from "./read.ts";
import {
  agentOf,
  agentPod,
  approvers,
  ordersPolicy,
  takingOrders,
  worldFor,
  type Rows,
  type World,
} from "./world.ts";

const refund = (id: number): string =>
  `UPDATE orders SET status = 'refunded', refunds = refunds + 1 WHERE id = ${id}`;

async function pending(world: World): Promise<string> {
  let name = "";
  await until("an access request to be opened", soonMs, async () => {
    const [request] = (await list(world.namespace, "accessrequests")).filter(
      ({ status }) => (asRecord(status)["phase"] ?? "Pending") === "Pending",
    );
    name = textAt(request, "metadata", "name") ?? "";
    return name !== "";
  });
  return name;
}

test("a held statement waits for a listed person, passes once, and not again", async (t) => {
  const world = await worldFor(t, "approve");
  const lead = await person(t, world.namespace, "lena", {
    groups: [approvers],
    roles: ["chaperone-approver"],
  });
  const other = await person(t, world.namespace, "otto", { roles: ["chaperone-approver"] });
  const powerless = await person(t, world.namespace, "paul", { groups: [approvers] });
  const refunds = async (): Promise<number> =>
    Number((await world.sql("SELECT refunds FROM orders WHERE id = 7")).rows[0]?.["refunds"]);
  const before = await refunds(); // the database outlives the run
  const held = world.order<Rows>("/sql", { text: refund(7) });
  const name = await pending(world);
  assert.match(await lead.chaperone("requests", "list"), new RegExp(name));
  assert.match(await refusedBy(other.chaperone("approve", name)), /not among the approvers/);
  assert.match(await refusedBy(powerless.chaperone("approve", name)), /may not/);
  await lead.chaperone("approve", name, "--reason", "ticket 4711");
  assert.equal((await held).done?.rowCount, 1, JSON.stringify(await held));
  assert.equal(await refunds(), before + 1);
  const request = await get(world.namespace, "accessrequest", name);
  assert.equal(asRecord(request["status"])["phase"], "Spent");
  const [decision] = values(asRecord(request["status"])["decisions"]);
  assert.equal(asRecord(decision)["by"], "lena");
  assert.doesNotMatch(JSON.stringify(spec(request)), /password/);

  const again = world.order<Rows>("/sql", { text: refund(7) });
  const second = await pending(world);
  assert.notEqual(second, name);
  await lead.chaperone("deny", second, "--reason", "once is enough");
  const denied = await again;
  assert.equal(denied.failed?.code, "42501");
  assert.match(denied.failed.message, /once is enough|denied/i);
  assert.equal(await refunds(), before + 1);
});

test("nobody decides by writing the status, not even who may write everything", async (t) => {
  const world = await worldFor(t, "kubectl");
  const held = world.order<Rows>("/sql", { text: refund(8) });
  const name = await pending(world);
  const decision = { verdict: "Approved", by: "lena", at: new Date().toISOString() };
  for (const status of [{ decisions: [decision] }, { phase: "Approved" }]) {
    const patched = kubectl(
      [
        "--namespace",
        world.namespace,
        "patch",
        "accessrequest",
        name,
        "--subresource=status",
        "--type=merge",
        "--patch",
        JSON.stringify({ status }),
      ],
      { as: { user: "lena", groups: ["system:masters", approvers] } },
    );
    assert.match(await refusedBy(patched), /written by the operator alone/);
  }
  const lena = await person(t, world.namespace, "lena", {
    groups: [approvers],
    roles: ["chaperone-approver"],
  });
  await lena.chaperone("approve", name);
  assert.equal((await held).done?.rowCount, 1, JSON.stringify(await held));
});

const asMaster = (user: string) => ({ user, groups: ["system:masters"] });

test("who wrote the rule last and who deployed the agent do not decide, and no one writes a name for them", async (t) => {
  const world = await worldFor(t, "duties");
  const { namespace } = world;
  const [wanda, dora, lena] = await Promise.all(
    ["wanda", "dora", "lena"].map((name) =>
      person(t, namespace, name, { groups: [approvers], roles: ["chaperone-approver"] }),
    ),
  );
  const written = (limits: KubeObject, annotations: KubeObject, user: string): Promise<string> => {
    const policy = {
      ...ordersPolicy({ limits }),
      metadata: { name: "invoice-agent", namespace, annotations },
    };
    return kubectl(["apply", "-f", "-"], { input: JSON.stringify(policy), as: asMaster(user) });
  };
  await written({ rowsPerResult: 99 }, { "chaperone.dev/author": "lena" }, "wanda");
  // Who changes nothing does not become its author.
  await written({ rowsPerResult: 99 }, { "chaperone.dev/author": "lena", touched: "yes" }, "lena");
  const { metadata } = await get(namespace, "accesspolicy", "invoice-agent");
  assert.equal(asRecord(asRecord(metadata)["annotations"])["chaperone.dev/author"], "wanda");

  const { metadata: pod, spec: podSpec } = agentPod(namespace, "agent");
  const labels = { ...asRecord(asRecord(pod)["labels"]), app: "deployed" };
  const annotations = {
    ...asRecord(asRecord(pod)["annotations"]),
    "chaperone.dev/deployed-by": "lena",
  };
  await create(
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "deployed", namespace },
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: "deployed" } },
        template: { metadata: { labels, annotations }, spec: podSpec },
      },
    },
    { as: asMaster("dora") },
  );
  await kubectl(["--namespace", namespace, "scale", "deployment/deployed", "--replicas=1"], {
    as: asMaster("lena"),
  });
  await waitFor(namespace, "deployment/deployed", "condition=Available");
  const [made] = await list(namespace, "pods", "app=deployed");
  const name = textAt(made, "metadata", "name") ?? "";
  assert.equal(textAt(made, "metadata", "annotations", "chaperone.dev/deployed-by"), "dora");

  const agent = await takingOrders(agentOf(namespace, name));
  const held = agent.order<Rows>("/sql", { text: refund(9) });
  const request = await pending(world);
  assert.match(
    await refusedBy(wanda?.chaperone("approve", request) ?? Promise.resolve()),
    /wanda may not decide this request, because you wrote policy invoice-agent last/,
  );
  assert.match(
    await refusedBy(dora?.chaperone("approve", request) ?? Promise.resolve()),
    /dora may not decide this request, because you deployed this agent/,
  );
  await lena?.chaperone("approve", request);
  assert.equal((await held).done?.rowCount, 1, JSON.stringify(await held));
});

test("what happened is read with kubectl chaperone by an auditor, and by nobody else", async (t) => {
  const world = await worldFor(t, "audit");
  const auditor = await person(t, world.namespace, "anna", { roles: ["chaperone-auditor"] });
  const stranger = await person(t, world.namespace, "sven", {});
  await world.sql("SELECT id, name, ssn FROM customers ORDER BY id");
  await world.refusedSql("DROP TABLE customers");
  await until("the events to arrive", soonMs, async () =>
    (await auditor.chaperone("events", "--verdict", "deny", "-o", "json")).includes("DROP TABLE"),
  );
  const events = await auditor.chaperone("events", "-o", "json");
  assert.match(events, /SELECT id, name, ssn FROM/);
  assert.doesNotMatch(events, /123-45-6789/);
  const replayed = await auditor.chaperone("sessions", "replay", "--no-wait");
  assert.match(replayed, /Ada Lovelace/);
  assert.match(replayed, /\*{7}6789/);
  assert.doesNotMatch(replayed, /123-45-6789/);
  assert.match(await refusedBy(stranger.chaperone("events")), /may not|forbidden/i);
});

test("a responder quarantines with kubectl chaperone, and lifts it", async (t) => {
  const world = await worldFor(t, "respond");
  const responder = await person(t, world.namespace, "rosa", { roles: ["chaperone-responder"] });
  await world.sql("SELECT 1");
  await responder.chaperone(
    "quarantine",
    "add",
    "--service-account",
    "invoice-agent",
    "--reason",
    "a drill",
  );
  await until("the agent to be cut off", soonMs, async () => {
    const { failed } = await world.order("/sql", {
      text: "SELECT 1",
      connection: `q${Date.now()}`,
    });
    return failed !== undefined;
  });
  const [{ metadata } = {}] = await list(world.namespace, "quarantines");
  await responder.chaperone("quarantine", "lift", String(asRecord(metadata)["name"]));
  await until("the agent to be let back", soonMs, async () => {
    const { done } = await world.order("/sql", { text: "SELECT 1", connection: `b${Date.now()}` });
    return done !== undefined;
  });
});
