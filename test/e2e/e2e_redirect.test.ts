// Interception `redirect` in real pods: usual names lead to the Connections, and each way around them, open to a pod without the proxy, is closed and told.
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { until } from "../cluster/command.ts";
import {
  apply,
  create,
  get,
  kubectl,
  logs,
  namespaceOf,
  ready,
  soonMs,
  type KubeObject,
} from "./cluster.ts";
import { images } from "./images.ts";
import { person } from "./people.ts";
import { asRecord, spec, values } from "./read.ts";
import { databaseHost } from "./upstreams.ts";
import {
  agentOf,
  agentPod,
  modelPolicy,
  ordersPolicy,
  restricted,
  worldFor,
  type Agent,
  type Reply,
  type World,
} from "./world.ts";

const outside = "e2e-outside";

/** Lets every user ping, as newer container runtimes do by themselves. */
const pinging = {
  sysctls: [{ name: "net.ipv4.ping_group_range", value: "0 2147483647" }],
};

interface Surroundings {
  readonly free: Agent;
  readonly ways: readonly KubeObject[];
}

/** A pod without the proxy, and a Service before it: where the guarded ones must not get, and the judge of what is open. */
async function unguarded(): Promise<Surroundings> {
  await namespaceOf(outside, "privileged");
  const pod = agentPod(outside, "free", {
    serviceAccountName: "default",
    securityContext: { ...restricted, ...pinging },
  });
  const labels = { app: "free" };
  await apply(
    { ...pod, metadata: { name: "free", namespace: outside, labels } },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "free", namespace: outside },
      spec: { selector: labels, ports: [{ port: 80, targetPort: 8000 }] },
    },
  );
  await ready(outside, "free");
  const status = asRecord((await get(outside, "pod", "free"))["status"]);
  const address = String(status["podIP"]);
  const node = String(status["hostIP"]);
  const service = String(spec(await get(outside, "service", "free"))["clusterIP"]);
  const dnsService = await kubectl([
    "--namespace",
    outside,
    "exec",
    "free",
    "--",
    "cat",
    "/etc/resolv.conf",
  ]);
  const [, resolver = ""] = /^nameserver (\S+)/m.exec(dnsService) ?? [];
  const api = String(spec(await get("default", "service", "kubernetes"))["clusterIP"]);
  const text = "GET /env HTTP/1.0\r\n\r\n";
  return {
    free: agentOf(outside, "free"),
    ways: [
      { way: "tcp", host: service, port: 80, text },
      { way: "tcp", host: address, port: 8000, text },
      { way: "tcp", host: node, port: 10_250, text },
      { way: "tcp", host: api, port: 443, text },
      { way: "udp", host: address, port: 8001 },
      { way: "icmp", host: address },
      { way: "dns", host: resolver, text: "kubernetes.default.svc.cluster.local" },
    ],
  };
}

async function outcomes(agent: Agent, ways: readonly KubeObject[]): Promise<string[]> {
  const found: string[] = [];
  for (const way of ways) {
    const { done, failed } = await agent.order<string>("/get-out", way);
    found.push(done ?? JSON.stringify(failed));
  }
  return found;
}

async function eventsOf(t: TestContext, namespace: string): Promise<() => Promise<string>> {
  const auditor = await person(t, namespace, "rita", { roles: ["chaperone-auditor"] });
  return () => auditor.chaperone("events", "--limit", "1000", "-o", "json");
}

async function guarded(t: TestContext, stem: string, pod: KubeObject = {}): Promise<World> {
  return await worldFor(t, stem, { interception: "redirect", pod });
}

async function refusedAndTold(
  t: TestContext,
  world: World,
  { free, ways }: Surroundings,
): Promise<void> {
  const open = await outcomes(free, ways);
  for (const [at, outcome] of open.entries())
    assert.match(
      outcome,
      /^HTTP\/1\.[01] |^an echo$|^sent$|^\d+\.\d+\.\d+\.\d+$/,
      JSON.stringify(ways[at]),
    );
  assert.deepEqual(await outcomes(world, ways), [
    "ECONNRESET",
    "ECONNRESET",
    "ECONNRESET",
    "ECONNRESET",
    "EPERM",
    "refused",
    "ENOTFOUND",
  ]);
  const events = await eventsOf(t, world.namespace);
  const wanted = [
    ...ways
      .slice(0, 4)
      .map(({ host, port }) => `no Connection names ${String(host)}:${String(port)}`),
    "packets were refused",
    "no Connection has the host name kubernetes.default",
  ];
  await until("every refusal to be in the record", soonMs, async () => {
    const said = await events();
    return wanted.every((one) => said.includes(one));
  });
}

const chat = {
  url: "https://api.openai.com/v1/chat/completions",
  init: {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer anything" },
    body: JSON.stringify({ model: "gpt-5-mini", messages: [{ role: "user", content: "hi" }] }),
  },
};

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
