// Redirected pods that are not plain: names and resolvers of their own, another's rules beside ours, connections closed at once; and what
// each says of how it is held.
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../cluster/command.ts";
import {
  apply,
  create,
  get,
  kubectl,
  operatorNamespace,
  ready,
  refusedBy,
  soonMs,
  type KubeObject,
} from "./cluster.ts";
import { proxySettings } from "./installation.ts";
import { person } from "./people.ts";
import { asRecord, spec, values } from "./read.ts";
import { outside, pinging, refusedAndTold, unguarded } from "./surroundings.ts";
import { databaseHost } from "./upstreams.ts";
import { agentOf, agentPod, restricted, takingOrders, worldFor } from "./world.ts";

async function heldOf(namespace: string, pod: string): Promise<KubeObject | undefined> {
  const { status } = await get(namespace, "pod", pod);
  return values(asRecord(status)["conditions"])
    .map(asRecord)
    .find((one) => one["type"] === "chaperone.dev/Held");
}

async function isHeld(
  namespace: string,
  pod: string,
  status: string,
  reason: string,
  message: RegExp,
): Promise<void> {
  await until(`pod ${pod} to be ${reason}`, soonMs, async () => {
    const held = await heldOf(namespace, pod);
    return (
      held?.["status"] === status &&
      held["reason"] === reason &&
      message.test(String(held["message"]))
    );
  });
}

/** A patch of the pod's status by kubectl; `as` somebody whom RBAC keeps from nothing. */
function patchStatus(
  namespace: string,
  pod: string,
  status: KubeObject,
  as?: string,
): Promise<string> {
  return kubectl([
    ...(as === undefined ? [] : ["--as", as, "--as-group", "system:masters"]),
    "--namespace",
    namespace,
    "patch",
    "pod",
    pod,
    "--subresource=status",
    "--type=strategic",
    "--patch",
    JSON.stringify({ status }),
  ]);
}

test("a pod's condition tells its tier, follows what is added to it, and is the operator's own", async (t) => {
  await unguarded();
  const world = await worldFor(t, "redirect-held", { interception: "redirect" });
  const { namespace } = world;
  await isHeld(namespace, "agent", "True", "Locked", /comes to the proxy/);
  await create(agentPod(namespace, "led"));
  await ready(namespace, "led");
  await isHeld(namespace, "led", "False", "Cooperative", /^NotRedirected: /);

  const viewer = await person(t, namespace, "vera", { roles: ["view"] });
  const rows = JSON.parse(await viewer.chaperone("pods", "-o", "json")) as readonly KubeObject[];
  assert.deepEqual(
    new Map(rows.map(({ name, held, tier }) => [name, `${String(held)} ${String(tier)}`])),
    new Map([
      ["agent", "True Locked"],
      ["led", "False Cooperative"],
    ]),
  );
  t.diagnostic(await viewer.chaperone("pods"));

  const forged = { type: "chaperone.dev/Held", status: "True", reason: "Locked", message: "" };
  const own = /condition chaperone\.dev\/Held of a pod is written by the operator alone/;
  for (const [where, pod] of [
    [namespace, "led"],
    [outside, "free"],
  ] as const)
    assert.match(await refusedBy(patchStatus(where, pod, { conditions: [forged] })), own);
  await patchStatus(namespace, "led", {
    conditions: [{ type: "example.org/Mine", status: "True" }],
  });
  const operator = `system:serviceaccount:${operatorNamespace}:chaperone`;
  const nothingElse = /writes the condition chaperone\.dev\/Held of a pod and nothing else/;
  for (const status of [
    { phase: "Failed" },
    { conditions: [{ type: "Ready", status: "False" }] },
    { containerStatuses: [{ name: "agent", ready: false }] },
    { message: "x", reason: "Evicted" },
  ])
    assert.match(await refusedBy(patchStatus(namespace, "led", status, operator)), nothingElse);

  await kubectl([
    "--namespace",
    namespace,
    "debug",
    "agent",
    `--image=${String(asRecord(values(spec(agentPod("x", "x"))["containers"])[0])["image"])}`,
    "--image-pull-policy=IfNotPresent",
    "--attach=false",
    "--",
    "sleep",
    "60",
  ]);
  await isHeld(namespace, "agent", "False", "Redirected", /^CapabilitiesKept: .*ephemeral/);
});

test("names and resolvers of the pod's own lead no further, and its Connections by their usual names", async (t) => {
  const { address, resolver } = await unguarded();
  const world = await worldFor(t, "redirect-names", {
    interception: "redirect",
    pod: {
      hostAliases: [
        { ip: address, hostnames: ["free.example"] },
        { ip: address, hostnames: [databaseHost, "elsewhere.example"] },
      ],
      dnsPolicy: "None",
      dnsConfig: { nameservers: [resolver], searches: ["example.org"] },
    },
  });
  const out = async (way: KubeObject): Promise<string> => {
    const { done, failed } = await world.order<string>("/get-out", way);
    return done ?? JSON.stringify(failed);
  };
  const text = "GET /env HTTP/1.0\r\n\r\n";
  for (const host of ["free.example", "elsewhere.example", address])
    assert.equal(await out({ way: "tcp", host, port: 8000, text }), "ECONNRESET", host);
  const name = `free.${outside}.svc.cluster.local`;
  assert.equal(await out({ way: "dns", host: resolver, text: name }), "ENOTFOUND");
  assert.equal(await out({ way: "tcp", host: name, port: 80, text }), "ENOTFOUND");
  const { rows } = await world.sql("SELECT id FROM orders ORDER BY id LIMIT 1", {
    connection: "usual",
    url: `postgresql://agent@${databaseHost}:5432/orders`,
  });
  assert.equal(rows.length, 1);
});

test("rules that a mesh's init container puts beside ours let its own user out no more than another", async (t) => {
  const around = await unguarded();
  const { image } = await proxySettings();
  const rules = `table inet mesh {
    chain nat { type nat hook output priority -100; policy accept; meta skuid 1337 accept; }
    chain filter { type filter hook output priority 0; policy accept; meta skuid 1337 accept; }
  }`;
  const load = `process.exit(require("child_process").spawnSync("nft", ["-f", "-"], { input: ${JSON.stringify(rules)}, stdio: ["pipe", "inherit", "inherit"] }).status ?? 1)`;
  const [agent] = values(spec(agentPod("x", "agent"))["containers"]);
  const { securityContext: held, ...container } = asRecord(agent);
  const world = await worldFor(t, "redirect-mesh", {
    interception: "redirect",
    pod: {
      securityContext: { ...restricted, ...pinging },
      initContainers: [
        {
          name: "mesh-init",
          image,
          imagePullPolicy: "IfNotPresent",
          command: ["node", "-e", load],
          securityContext: {
            runAsUser: 0,
            runAsNonRoot: false,
            allowPrivilegeEscalation: false,
            capabilities: { drop: ["ALL"], add: ["NET_ADMIN"] },
          },
        },
      ],
      containers: [{ ...container, securityContext: { ...asRecord(held), runAsUser: 1337 } }],
    },
  });
  await refusedAndTold(t, world, around);
  await isHeld(world.namespace, "agent", "False", "Redirected", /^CapabilitiesAdded: .*mesh-init/);
});

test("what is downloaded arrives whole, however soon its connection is closed", async (t) => {
  await unguarded();
  const host = `free.${outside}.svc.cluster.local`;
  const world = await worldFor(t, "redirect-close", { interception: "redirect" });
  const { namespace } = world;
  await apply(
    {
      apiVersion: "chaperone.dev/v1alpha1",
      kind: "Connection",
      metadata: { name: "source", namespace },
      spec: { protocol: "http", endpoint: { url: `http://${host}` } },
    },
    {
      apiVersion: "chaperone.dev/v1alpha1",
      kind: "AccessPolicy",
      metadata: { name: "source", namespace },
      spec: {
        targetRefs: [{ group: "chaperone.dev", kind: "Connection", name: "source" }],
        rules: [{ name: "download", action: "Allow", http: { methods: ["GET"] } }],
      },
    },
  );
  await create(agentPod(namespace, "reader", { interception: "redirect" }));
  await ready(namespace, "reader");
  const reader = await takingOrders(agentOf(namespace, "reader"));
  // The proxy closes as soon as the last byte is written: from then on they belong to nobody.
  for (const bytes of [104_857_600, ...Array<number>(30).fill(1_572_864), 1]) {
    const { done, failed } = await reader.order("/download", {
      url: `http://${host}/give/${bytes}`,
    });
    assert.equal(done, bytes, JSON.stringify(failed));
  }
});
