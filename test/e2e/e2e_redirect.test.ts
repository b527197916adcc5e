// Interception `redirect` in real pods: usual names lead to the Connections, and each way around them, open to a pod without the proxy, is closed and told.
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { until } from "../cluster/command.ts";
import { apply, create, get, kubectl, logs, ready, soonMs, type KubeObject } from "./cluster.ts";
import { images } from "./images.ts";
import { asRecord, spec, values } from "./read.ts";
import { chat, outside, pinging, refusedAndTold, unguarded } from "./surroundings.ts";
import { databaseHost } from "./upstreams.ts";
import {
  agentOf,
  agentPod,
  modelPolicy,
  ordersPolicy,
  restricted,
  worldFor,
  type Reply,
  type World,
} from "./world.ts";

async function guarded(t: TestContext, stem: string, pod: KubeObject = {}): Promise<World> {
  return await worldFor(t, stem, { interception: "redirect", pod });
}

test("a redirected pod reaches its database and its model by their usual names, and is locked", async (t) => {
  const world = await guarded(t, "redirect");
  for (const host of [databaseHost, "postgres.data", "orders-db"]) {
    const { rows } = await world.sql("SELECT id, name, ssn FROM customers ORDER BY id", {
      connection: host,
      url: `postgresql://agent@${host}:5432/orders`,
    });
    assert.deepEqual(rows[0], { id: 1, name: "Ada Lovelace", ssn: "*******6789" });
  }
  const refused = await world.refusedSql("DROP TABLE customers", { connection: databaseHost });
  assert.equal(refused.code, "42501");
  const reply = await world.order<Reply>("/fetch", chat);
  assert.equal(reply.done?.status, 200, JSON.stringify(reply));
  const pod = await get(world.namespace, "pod", "agent");
  assert.equal(spec(pod)["hostAliases"], undefined);
  const annotations = asRecord(asRecord(pod["metadata"])["annotations"]);
  assert.equal(annotations["chaperone.dev/tier"], "Locked");
  const verified = await logs(world.namespace, "agent", "chaperone-verify");
  t.diagnostic(verified);
  assert.match(verified, /"verified"/);
});

test("init containers, a second container and DNS settings of the pod's own meet the same rules", async (t) => {
  const [agent] = values(spec(agentPod("x", "agent"))["containers"]);
  const { ports: _, readinessProbe: __, ...plain } = asRecord(agent);
  const look = `require("dns").lookup("orders-db", (error, address) => { console.log(error?.code ?? address); })`;
  const world = await worldFor(t, "redirect-several", {
    interception: "redirect",
    pod: {
      dnsConfig: { searches: ["example.org"], options: [{ name: "ndots", value: "2" }] },
      initContainers: [{ ...plain, name: "migrate", command: ["node", "-e", look] }],
      containers: [
        agent,
        {
          ...plain,
          name: "neighbour",
          command: ["node", "-e", `${look}; setInterval(() => {}, 1000)`],
        },
      ],
    },
  });
  for (const container of ["migrate", "neighbour"])
    assert.match(await logs(world.namespace, "agent", container), /^198\.18\.64\.\d+$/m);
  assert.equal((await world.sql("SELECT id FROM orders LIMIT 1")).rowCount, 1);
});

test("a plain user gets nowhere else, and every try is told", async (t) => {
  const around = await unguarded();
  const world = await guarded(t, "redirect-user", {
    securityContext: { ...restricted, ...pinging },
  });
  await refusedAndTold(t, world, around);
});

test("root with default capabilities gets nowhere else by these ways; the tier says what it could still do", async (t) => {
  const around = await unguarded();
  const [agent] = values(spec(agentPod("x", "agent"))["containers"]);
  const container = { ...asRecord(agent), securityContext: { runAsUser: 0 } };
  const world = await guarded(t, "redirect-root", {
    securityContext: pinging,
    containers: [container],
  });
  await refusedAndTold(t, world, around);
  const { metadata } = await get(world.namespace, "pod", "agent");
  const annotations = asRecord(asRecord(metadata)["annotations"]);
  assert.equal(annotations["chaperone.dev/tier"], "Redirected");
  assert.equal(annotations["chaperone.dev/tier-reason"], "CapabilitiesKept");
});

test("a policy that demands a locked pod gives another none of its grants, and its status says why", async (t) => {
  const [agent] = values(spec(agentPod("x", "agent"))["containers"]);
  const container = { ...asRecord(agent), securityContext: { runAsUser: 1000 } };
  const world = await worldFor(t, "redirect-tier", {
    interception: "redirect",
    policies: [ordersPolicy({ minimumTier: "Locked" }), modelPolicy()],
    pod: { containers: [container] },
  });
  await create(agentPod(world.namespace, "locked", { interception: "redirect" }));
  await ready(world.namespace, "locked");
  const refused = await world.refusedSql("SELECT id FROM orders LIMIT 1");
  assert.match(refused.message, /demands tier Locked, and pod .* is Redirected: .*drop ALL/);
  const locked = agentOf(world.namespace, "locked");
  assert.equal((await locked.sql("SELECT id FROM orders LIMIT 1")).rowCount, 1);
  await until("the policy's status to say so", soonMs, async () => {
    const { status } = await get(world.namespace, "accesspolicy", "invoice-agent");
    const held = values(asRecord(status)["conditions"])
      .map(asRecord)
      .find((one) => one["type"] === "Held");
    return held?.["status"] === "False" && held["reason"] === "Redirected";
  });
  // A debugging container that is added later counts as well.
  await kubectl([
    "--namespace",
    world.namespace,
    "debug",
    "locked",
    `--image=${images.agent}`,
    "--image-pull-policy=IfNotPresent",
    "--attach=false",
    "--",
    "sleep",
    "60",
  ]);
  await apply({
    ...ordersPolicy({ minimumTier: "Locked", limits: { rowsPerResult: 99 } }),
    metadata: { name: "invoice-agent", namespace: world.namespace },
  });
  await until("the grant to be refused", soonMs, async () => {
    const { failed } = await locked.order("/sql", {
      text: "SELECT 1",
      connection: `${Date.now()}`,
    });
    return failed?.message.includes("demands tier Locked") === true;
  });
});

test("an upload of 100 MB arrives whole", async (t) => {
  await unguarded();
  const world = await guarded(t, "redirect-upload");
  await apply(
    {
      apiVersion: "chaperone.dev/v1alpha1",
      kind: "Connection",
      metadata: { name: "sink", namespace: world.namespace },
      spec: { protocol: "http", endpoint: { url: `http://free.${outside}.svc.cluster.local` } },
    },
    {
      apiVersion: "chaperone.dev/v1alpha1",
      kind: "AccessPolicy",
      metadata: { name: "sink", namespace: world.namespace },
      spec: {
        targetRefs: [{ group: "chaperone.dev", kind: "Connection", name: "sink" }],
        rules: [{ name: "upload", action: "Allow", http: { methods: ["POST"] } }],
      },
    },
  );
  await create(agentPod(world.namespace, "uploader", { interception: "redirect" }));
  await ready(world.namespace, "uploader");
  const agent = agentOf(world.namespace, "uploader");
  const bytes = 104_857_600;
  const { done, failed } = await agent.order<{ status: number; body: string }>("/upload", {
    url: `http://free.${outside}.svc.cluster.local/count`,
    bytes,
  });
  assert.deepEqual(done, { status: 200, body: `${bytes}` }, JSON.stringify(failed));
});
