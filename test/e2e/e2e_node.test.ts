// Rules that the node loads, in real pods: a namespace under PodSecurity `restricted` is held like any other, and where plugin or agent is missing no agent starts.
import assert from "node:assert/strict";
import path from "node:path";
import { after, before, test } from "node:test";
import { command, until } from "../cluster/command.ts";
import { toolPath } from "../cluster/kubectl.ts";
import {
  apply,
  config,
  create,
  dryRun,
  get,
  kubectl,
  list,
  logs,
  namespaceFor,
  namespaceOf,
  operatorNamespace,
  podTimeoutMs,
  ready,
  refusedBy,
  soonMs,
  type KubeObject,
} from "./cluster.ts";
import { operatorBack, webhookSleeps } from "./installation.ts";
import { cniConfigurations, nodeFolders, writeCniConfiguration } from "./node.ts";
import { asRecord, spec, values } from "./read.ts";
import { chat, pinging, refusedAndTold, unguarded } from "./surroundings.ts";
import { databaseHost } from "./upstreams.ts";
import { agentPod, restricted, worldFor, type Reply } from "./world.ts";

const byNode = { "chaperone.dev/redirect-by": "node" };
const asked = { interception: "redirect", annotations: byNode } as const;
const chart = path.join(import.meta.dirname, "../../charts/chaperone");
/** Whether the installation has its agents, which the suite found without. */
let hasAgents = false;

async function withAgents(enabled: boolean): Promise<void> {
  hasAgents = enabled;
  const set = [`node.enabled=${enabled}`, ...nodeFolders].flatMap((value) => ["--set", value]);
  await command(
    toolPath(config, "helm"),
    [
      "--kubeconfig",
      config.kubeconfig,
      "upgrade",
      "chaperone",
      chart,
      "--namespace",
      operatorNamespace,
      "--reuse-values",
      "--wait",
      "--timeout",
      `${podTimeoutMs / 1000}s`,
      ...set,
    ],
    { timeoutMs: podTimeoutMs + 30_000 },
  );
  await operatorBack();
}

async function isChained(): Promise<boolean> {
  const texts = Object.values(await cniConfigurations());
  return texts.some((text) => text.includes('"type":"chaperone"'));
}

/** The agent's pod goes, or comes back; the DaemonSet stays. */
async function agentOnNode(isThere: boolean): Promise<void> {
  const nodeSelector = { "e2e.chaperone.dev/absent": isThere ? null : "true" };
  await kubectl([
    "--namespace",
    operatorNamespace,
    "patch",
    "daemonset",
    "chaperone-node",
    "--patch",
    JSON.stringify({ spec: { template: { spec: { nodeSelector } } } }),
  ]);
  await until(`the agent to be ${isThere ? "ready" : "gone"}`, podTimeoutMs, async () => {
    const pods = await list(operatorNamespace, "pods", "app.kubernetes.io/component=node");
    if (!isThere) return pods.length === 0;
    const conditions = values(asRecord(pods[0]?.["status"])["conditions"]).map(asRecord);
    return conditions.some((one) => one["type"] === "Ready" && one["status"] === "True");
  });
}

let untouched: Readonly<Record<string, string>> = {};

before(async () => {
  untouched = await cniConfigurations();
  await withAgents(true);
});
after(async () => {
  if (hasAgents) await withAgents(false);
});

test("a namespace under PodSecurity restricted admits a redirected pod, which reaches its Connections by their usual names and is locked", async (t) => {
  assert.ok(await isChained());
  const world = await worldFor(t, "node", asked);
  const { rows } = await world.sql("SELECT id, name, ssn FROM customers ORDER BY id", {
    connection: databaseHost,
    url: `postgresql://agent@${databaseHost}:5432/orders`,
  });
  assert.deepEqual(rows[0], { id: 1, name: "Ada Lovelace", ssn: "*******6789" });
  const reply = await world.order<Reply>("/fetch", chat);
  assert.equal(reply.done?.status, 200, JSON.stringify(reply));
  const pod = await get(world.namespace, "pod", "agent");
  const own = values(spec(pod)["initContainers"]).map(asRecord);
  assert.deepEqual(
    own.map(({ name }) => name),
    ["chaperone-proxy", "chaperone-verify"],
  );
  const annotations = asRecord(asRecord(pod["metadata"])["annotations"]);
  assert.equal(annotations["chaperone.dev/tier"], "Locked");
  const verified = await logs(world.namespace, "agent", "chaperone-verify");
  t.diagnostic(verified);
  assert.match(verified, /"verified"/);
});

test("a plain user of such a pod gets nowhere else, and every try is told", async (t) => {
  const around = await unguarded();
  const world = await worldFor(t, "node-user", {
    ...asked,
    pod: { securityContext: { ...restricted, ...pinging } },
  });
  await refusedAndTold(t, world, around);
});

test("while the node's agent is away such a pod does not start, its events say why, other pods start, and it starts when the agent is back", async (t) => {
  const world = await worldFor(t, "node-away", asked);
  await agentOnNode(false);
  try {
    assert.ok(await isChained(), "an agent that is only gone for a while leaves its plugin");
    await create(agentPod(world.namespace, "late", asked));
    const other = agentPod(world.namespace, "other", { serviceAccountName: "default" });
    const { labels: _, annotations: __, ...metadata } = asRecord(other["metadata"]);
    await create({ ...other, metadata });
    await ready(world.namespace, "other");
    await until("the events to say why", podTimeoutMs, async () => {
      const events = await list(world.namespace, "events");
      return events.some(
        (event) =>
          asRecord(event["involvedObject"])["name"] === "late" &&
          event["reason"] === "FailedCreatePodSandBox" &&
          String(event["message"]).includes(
            `does not answer on this node, so the rules of pod ${world.namespace}/late are not loaded`,
          ),
      );
    });
    // Those that run do not need it.
    assert.equal((await world.sql("SELECT id FROM orders LIMIT 1")).rowCount, 1);
  } finally {
    await agentOnNode(true);
  }
  await ready(world.namespace, "late");
});

test("a pod that started before the plugin was there is stopped by its verifier, and the agent in it never runs", async (t) => {
  const world = await worldFor(t, "node-race", asked);
  await agentOnNode(false);
  try {
    for (const [name, text] of Object.entries(untouched)) await writeCniConfiguration(name, text);
    await create(agentPod(world.namespace, "early", asked));
    await until("the verifier to stop it", podTimeoutMs, async () => {
      await until("its condition to say so", soonMs, async () => {
        const held = values(
          asRecord((await get(world.namespace, "pod", "early"))["status"])["conditions"],
        )
          .map(asRecord)
          .find(({ type }) => type === "chaperone.dev/Held");
        return held?.["status"] === "False" && held["reason"] === "NotProven";
      });
      const { status } = await get(world.namespace, "pod", "early");
      const verify = values(asRecord(status)["initContainerStatuses"])
        .map(asRecord)
        .find(({ name }) => name === "chaperone-verify");
      const text = JSON.stringify([verify?.["state"], verify?.["lastState"]]);
      return text.includes("its node did not load the rules when the pod was made");
    });
    const { status } = await get(world.namespace, "pod", "early");
    const [agent] = values(asRecord(status)["containerStatuses"]).map(asRecord);
    assert.equal(agent?.["started"], false);
    assert.equal(JSON.stringify(agent["state"]).includes("waiting"), true);
  } finally {
    await agentOnNode(true);
  }
  await until("the plugin to be back in the list", soonMs, isChained);
  await kubectl(["--namespace", world.namespace, "delete", "pod", "early", "--wait=true"], {
    timeoutMs: podTimeoutMs,
  });
  await create(agentPod(world.namespace, "early", asked));
  await ready(world.namespace, "early");
});

test("without the webhook no pod is admitted whose node shall load its rules and which lacks a part of it, or has more", async (t) => {
  const namespace = await namespaceFor(t, "node-forged");
  await apply({
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name: "invoice-agent", namespace },
  });
  const whole = agentPod(namespace, "by-hand", asked);
  const injected = asRecord(await dryRun(whole));
  const init = values(spec(injected)["initContainers"]).map(asRecord);
  const annotations = asRecord(asRecord(injected["metadata"])["annotations"]);
  const changed = (
    containers: readonly unknown[],
    notes: KubeObject = annotations,
  ): KubeObject => ({
    ...injected,
    metadata: { ...asRecord(injected["metadata"]), annotations: notes },
    spec: { ...spec(injected), initContainers: containers },
  });
  await webhookSleeps(t, namespace);
  await dryRun(changed(init));
  const { "chaperone.dev/rules": rules, ...silent } = annotations;
  const { "chaperone.dev/redirect-by": _, ...byInit } = annotations;
  const forged: readonly (readonly [RegExp, KubeObject])[] = [
    [/does not begin with chaperone-proxy and chaperone-verify/, changed(init.slice(0, 1))],
    [/does not begin with chaperone-proxy and chaperone-verify/, changed(init.toReversed())],
    [/without chaperone-init/, changed([...init, { ...init[1], name: "chaperone-init" }])],
    [/chaperone\.dev\/rules is injection's alone/, changed(init, silent)],
    [
      /chaperone\.dev\/rules is injection's alone/,
      changed(init, {
        ...annotations,
        "chaperone.dev/rules": String(rules).replace("64535", "1000"),
      }),
    ],
    [/does not begin with chaperone-init/, changed(init, byInit)],
    [
      /chaperone\.dev\/rules is injection's alone/,
      changed(init.slice(0, 1), { ...byInit, "chaperone.dev/interception": "hosts" }),
    ],
  ];
  for (const [message, pod] of forged) assert.match(await refusedBy(dryRun(pod)), message);
});

// The last: an upgrade of the chart takes a new operator, and none brings the agents back.
test("without the installation's agents the node is what it was, byte for byte, its pods go on, and new ones are refused with what to do", async (t) => {
  const world = await worldFor(t, "node-gone", asked);
  await withAgents(false);
  await until(
    "the node's files to be what they were",
    podTimeoutMs,
    async () => !(await isChained()),
  );
  assert.deepEqual(await cniConfigurations(), untouched);
  assert.equal((await world.sql("SELECT id FROM orders LIMIT 1")).rowCount, 1);
  assert.match(
    await refusedBy(dryRun(agentPod(world.namespace, "new", asked))),
    /NodeRulesAbsent: .*node\.enabled/,
  );
  await namespaceOf("e2e-outside", "privileged");
  const plain: KubeObject = agentPod("e2e-outside", "after", { serviceAccountName: "default" });
  const { labels: _, annotations: __, ...metadata } = asRecord(plain["metadata"]);
  await apply({ ...plain, metadata });
  await ready("e2e-outside", "after");
  await kubectl(["--namespace", "e2e-outside", "delete", "pod", "after", "--wait=false"]);
});
