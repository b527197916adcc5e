// A policy's status, a pod's grants, a Job, a proxy's container that dies, and a hundred pods at once.
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../cluster/command.ts";
import {
  create,
  exec,
  get,
  kubectl,
  list,
  podTimeoutMs,
  ready,
  remove,
  soonMs,
  waitFor,
} from "./cluster.ts";
import { killContainer } from "./node.ts";
import { asRecord, spec, values } from "./read.ts";
import { ask, collectionPath } from "./api-server.ts";
import { images } from "./images.ts";
import {
  agentAccount,
  agentOf,
  agentPod,
  readOrders,
  restricted,
  restrictedContainer,
  worldFor,
  type Reply,
  type World,
} from "./world.ts";

/** Waits until the policy's status says that it counts, at the generation it has now, and by how many proxies. */
async function enforcedBy(namespace: string, proxies: string): Promise<void> {
  let last: unknown;
  await until(`${proxies} to enforce the policy`, soonMs, async () => {
    const policy = await get(namespace, "accesspolicy", "invoice-agent");
    const generation = asRecord(policy["metadata"])["generation"];
    last = asRecord(policy["status"])["conditions"];
    const condition = (type: string): Readonly<Record<string, unknown>> =>
      values(last)
        .map(asRecord)
        .find((one) => one["type"] === type) ?? {};
    const enforced = condition("Enforced");
    return (
      condition("Accepted")["status"] === "True" &&
      enforced["observedGeneration"] === generation &&
      String(enforced["message"]).startsWith(proxies)
    );
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last)}`);
  });
}

test("a policy says whether it is accepted, and by how many proxies it is enforced, also after an edit", async (t) => {
  const world = await worldFor(t, "enforced");
  await enforcedBy(world.namespace, "no proxy holds its rules now");
  await world.sql("SELECT 1");
  await enforcedBy(world.namespace, "1 of 1 proxies enforce it");
  await create(agentPod(world.namespace, "second"));
  await ready(world.namespace, "second");
  await agentOf(world.namespace, "second").sql("SELECT 1");
  await enforcedBy(world.namespace, "2 of 2 proxies enforce it");
  await kubectl([
    "--namespace",
    world.namespace,
    "patch",
    "accesspolicy",
    "invoice-agent",
    "--type=merge",
    "--patch",
    JSON.stringify({ spec: { rules: [readOrders] } }),
  ]);
  await enforcedBy(world.namespace, "2 of 2 proxies enforce it");
  const printed = await kubectl(["--namespace", world.namespace, "get", "accesspolicies"]);
  assert.match(printed, /invoice-agent +.*True/);
  await remove(world.namespace, "pod", "second");
  await enforcedBy(world.namespace, "1 of 1 proxies enforce it");
});

test("deleting the pod revokes its grants: the operator holds none for it", async (t) => {
  const world = await worldFor(t, "gone");
  await world.sql("SELECT 1");
  const granted = async (): Promise<number> =>
    Number(
      asRecord((await get(world.namespace, "connection", "orders-db"))["status"])["activeGrants"] ??
        0,
    );
  await until("the grant to be counted", podTimeoutMs, async () => (await granted()) === 1);
  await remove(world.namespace, "pod", "agent");
  await until("the grant to be gone", podTimeoutMs, async () => (await granted()) === 0);
});

test("a Job with an injected pod completes", async (t) => {
  const world = await worldFor(t, "job");
  const program = `fetch("https://api.openai.com/v1/chat/completions", {method: "POST", headers: {"content-type": "application/json", authorization: "Bearer x"}, body: JSON.stringify({model: "gpt-5-mini", messages: [{role: "user", content: "hi"}]})}).then(async (r) => console.log(r.status, await r.text()))`;
  await create({
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: "once", namespace: world.namespace },
    spec: {
      backoffLimit: 0,
      template: {
        metadata: { labels: { "chaperone.dev/inject": "true" } },
        spec: {
          restartPolicy: "Never",
          serviceAccountName: agentAccount,
          securityContext: restricted,
          containers: [
            {
              name: "once",
              image: images.agent,
              imagePullPolicy: "IfNotPresent",
              command: ["node", "-e", program],
              securityContext: restrictedContainer,
            },
          ],
        },
      },
    },
  });
  await waitFor(world.namespace, "job/once", "condition=Complete");
  const said = await kubectl([
    "--namespace",
    world.namespace,
    "logs",
    "job/once",
    "--container",
    "once",
  ]);
  assert.match(said, /^200 /);
});

test("a proxy container killed alone comes back, and the agent's trust still holds", async (t) => {
  const world = await worldFor(t, "killed");
  const ask = async (): Promise<Reply | undefined> =>
    (
      await world.order<Reply>("/fetch", {
        url: "https://api.openai.com/v1/chat/completions",
        init: {
          method: "POST",
          headers: { "content-type": "application/json", authorization: "Bearer x" },
          body: JSON.stringify({
            model: "gpt-5-mini",
            messages: [{ role: "user", content: "hi" }],
          }),
        },
      })
    ).done;
  assert.equal((await ask())?.status, 200);
  const bundle = await exec(
    world.namespace,
    "agent",
    "agent",
    "cat",
    "/etc/chaperone/trust/ca.crt",
  );
  await killProxy(world);
  await until(
    "the proxy to be back and granted",
    podTimeoutMs,
    async () => (await ask())?.status === 200,
  );
  assert.equal(
    await exec(world.namespace, "agent", "agent", "cat", "/etc/chaperone/trust/ca.crt"),
    bundle,
  );
  assert.equal((await world.sql("SELECT 1", { connection: "after" })).rowCount, 1);
  const pod = await get(world.namespace, "pod", "agent");
  const [agent] = values(asRecord(pod["status"])["containerStatuses"]);
  assert.equal(asRecord(agent)["restartCount"], 0);
});

/** Ends the process of the proxy's container from the node, as an out-of-memory kill would. */
async function killProxy(world: World): Promise<void> {
  const pod = await get(world.namespace, "pod", world.pod);
  const [proxy] = values(asRecord(pod["status"])["initContainerStatuses"]);
  const id = String(asRecord(proxy)["containerID"]).replace("containerd://", "");
  await killContainer(id);
  await until("the proxy's container to be restarted", podTimeoutMs, async () => {
    const now = await get(world.namespace, "pod", world.pod);
    const [status] = values(asRecord(now["status"])["initContainerStatuses"]);
    return Number(asRecord(status)["restartCount"]) > 0 && asRecord(status)["ready"] === true;
  });
}

test("a hundred pods created at once are all admitted and injected", async (t) => {
  const world = await worldFor(t, "hundred");
  const names = Array.from({ length: 100 }, (_, index) => `p${index}`);
  const pods = names.map((name) =>
    agentPod(world.namespace, name, { schedulingGates: [{ name: "e2e/never" }] }),
  );
  const path = collectionPath(world.namespace, "pods");
  const made = await Promise.allSettled(
    pods.map((body) => ask("POST", path, { body, timeoutMs: podTimeoutMs })),
  );
  assert.deepEqual(
    made.flatMap((one) => (one.status === "rejected" ? [String(one.reason)] : [])),
    [],
  );
  const stored = (await list(world.namespace, "pods")).filter(
    ({ metadata }) => asRecord(metadata)["name"] !== "agent",
  );
  assert.equal(stored.length, 100);
  for (const pod of stored)
    assert.equal(asRecord(values(spec(pod)["initContainers"])[0])["name"], "chaperone-proxy");
});
