// What people with kubectl try on an injected pod: each attack is first seen to work on a pod beside it that has no proxy.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { parseAddressMap } from "../../contract/addresses.ts";
import { until } from "../cluster/command.ts";
import {
  apply,
  create,
  dryRun,
  get,
  kubectl,
  namespaceOf,
  ready,
  refusedBy,
  soonMs,
  type KubeObject,
} from "./cluster.ts";
import { policiesThatRefused } from "./audit-log.ts";
import { images } from "./images.ts";
import { proxySettings } from "./installation.ts";
import { person } from "./people.ts";
import { asRecord, spec, values } from "./read.ts";
import {
  agentOf,
  agentPod,
  furnish,
  hasCondition,
  takingOrders,
  type Agent,
  type Reply,
} from "./world.ts";
import { ensureUpstreams } from "./upstreams.ts";

const namespace = "e2e-attacks-people";
/** RBAC keeps nothing from them, so admission alone stands in the way. */
const mallory = { user: "mallory", groups: ["system:masters"] };
/** Edits what is in the namespace, as most people who deploy agents do. */
const eddy = { user: "eddy" };

/** What a command does that goes on until it is stopped is seen by then. */
const watchMs = 15_000;

let agent: Agent;

before(async () => {
  await namespaceOf(namespace, "restricted");
  await furnish(namespace, await ensureUpstreams());
  await apply(mirror("http://nowhere.invalid"), {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessPolicy",
    metadata: { name: "mirror", namespace },
    spec: { targetRefs: [{ name: "mirror" }], rules: [{ name: "all", action: "Allow" }] },
  });
  await hasCondition(namespace, "connection", "mirror");
  await create(agentPod(namespace, "agent"));
  await create(plainPod("plain"));
  await apply({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "RoleBinding",
    metadata: { name: "eddy", namespace },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "edit" },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: eddy.user }],
  });
  await Promise.all([ready(namespace, "agent"), ready(namespace, "plain")]);
  agent = await takingOrders(agentOf(namespace, "agent"));
  await takingOrders(agentOf(namespace, "plain"));
});
after(async () => {
  await kubectl(["delete", "namespace", namespace, "--wait=false"]);
});

const mirror = (url: string): KubeObject => ({
  apiVersion: "chaperone.dev/v1alpha1",
  kind: "Connection",
  metadata: { name: "mirror", namespace },
  spec: { protocol: "http", endpoint: { url }, hosts: ["mirror.test"] },
});

/** The same agent beside a sidecar that is nobody's business, without the label. */
function plainPod(name: string): KubeObject {
  const { metadata, ...pod } = agentPod(namespace, name);
  const { labels: _, annotations: __, ...unlabelled } = asRecord(metadata);
  const [container] = values(spec(pod)["containers"]);
  const sidecar = {
    ...asRecord(container),
    name: "neighbour",
    command: ["sleep", "1d"],
    resources: { requests: { memory: "32Mi" } },
  };
  return {
    ...pod,
    metadata: unlabelled,
    spec: { ...spec(pod), containers: [container, sidecar] },
  };
}

const inNamespace = (...args: readonly string[]): Promise<string> =>
  kubectl(["--namespace", namespace, ...args], { as: mallory });

/** What a command said before it was stopped, for those that do not end by themselves. */
async function watched(...args: readonly string[]): Promise<string> {
  const all = ["--namespace", namespace, ...args];
  return await kubectl(all, { as: mallory, timeoutMs: watchMs }).catch((error: unknown) => {
    const text = String(error);
    if (text.includes("took too long and was stopped")) return text;
    throw error;
  });
}

interface Attack {
  readonly what: string;
  /** `container`: the one that it is about. */
  readonly on: (pod: string, container: string) => Promise<unknown>;
  readonly refusal: RegExp;
}

const resized = { resources: { limits: { memory: "128Mi" }, requests: { memory: "64Mi" } } };

const attacks: readonly Attack[] = [
  {
    what: "a shell in it",
    on: (pod, container) => inNamespace("exec", pod, "--container", container, "--", "id"),
    refusal: /nobody gets a shell in chaperone-proxy/,
  },
  {
    what: "attaching to it",
    on: (pod, container) => watched("attach", pod, "--container", container),
    refusal: /nobody gets a shell in chaperone-proxy/,
  },
  {
    what: "a debugger that looks into it",
    on: (pod, container) =>
      inNamespace(
        "debug",
        pod,
        `--image=${images.agent}`,
        `--target=${container}`,
        "--profile=restricted",
        "--image-pull-policy=IfNotPresent",
        "--container=looker",
        "--",
        "true",
      ),
    refusal: /no ephemeral container looks into chaperone-proxy/,
  },
  {
    what: "annotations that say other than injection did",
    on: (pod) => inNamespace("annotate", "pod", pod, "chaperone.dev/addresses={}", "--overwrite"),
    refusal: /annotations of chaperone\.dev say what was injected/,
  },
  {
    what: "starving it of memory",
    on: (pod, container) =>
      inNamespace(
        "patch",
        "pod",
        pod,
        "--subresource=resize",
        "--type=strategic",
        "--patch",
        JSON.stringify({
          spec: {
            [container === "chaperone-proxy" ? "initContainers" : "containers"]: [
              { name: container, ...resized },
            ],
          },
        }),
      ),
    refusal: /do not change in a running pod/,
  },
  {
    what: "another image in its place",
    on: (pod, container) =>
      inNamespace("set", "image", `pod/${pod}`, `${container}=${images.upstream}`),
    refusal: /do not change in a running pod/,
  },
];

for (const { what, on, refusal } of attacks)
  test(`${what}: works on a container beside an agent, and is refused on the proxy`, async () => {
    await on("plain", "neighbour");
    assert.match(await refusedBy(on("agent", "chaperone-proxy")), refusal);
  });

test("forwarding ports: works into a pod without a proxy, is refused into an injected one, and recorded", async (t) => {
  const auditor = await person(t, namespace, "anna", { everywhere: ["chaperone-auditor"] });
  assert.match(await watched("port-forward", "pod/plain", ":8000"), /Forwarding from/);
  const refused = await refusedBy(watched("port-forward", "pod/agent", ":15020"));
  assert.match(refused, /may not forward ports of pod e2e-attacks-people\/agent/);
  await until("the refusal to be recorded", soonMs, async () =>
    (await auditor.chaperone("events", "--type", "error", "-o", "json")).includes(
      "PortForwardRefused",
    ),
  );
});

test("a label added later: any other works on a pod that lives, and ours is refused", async () => {
  await inNamespace("label", "pod", "plain", "team=data", "--overwrite");
  const late = inNamespace("label", "pod", "plain", "chaperone.dev/inject=true");
  assert.match(await refusedBy(late), /counts when a pod is created and never changes/);
});

test("asking for a token of the proxy's audience: other audiences work, and this one is refused", async () => {
  const token = (audience: string): Promise<string> =>
    inNamespace("create", "token", "invoice-agent", "--audience", audience);
  assert.match(await token("vault"), /^ey/);
  assert.match(await refusedBy(token("chaperone.dev")), /made by kubelets, for injected proxies/);
});

test("a copied pod: the copy of one without a proxy is as its author wants it, the copy of an injected one is not", async () => {
  const copyOf = async (pod: string): Promise<KubeObject> => {
    const { metadata, ...copied } = await get(namespace, "pod", pod);
    const { labels, annotations } = asRecord(metadata);
    const { nodeName: _, ephemeralContainers: __, ...of } = spec(copied);
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "copy", namespace, labels, annotations },
      spec: of,
    };
  };
  const other = (pod: KubeObject, list: string, name: string): KubeObject => ({
    ...pod,
    spec: {
      ...spec(pod),
      [list]: values(spec(pod)[list]).map((one) =>
        asRecord(one)["name"] === name ? { ...asRecord(one), image: "evil:1" } : one,
      ),
    },
  });
  const imageOf = (pod: unknown, list: string, name: string): unknown =>
    values(spec(pod)[list])
      .map(asRecord)
      .find((one) => one["name"] === name)?.["image"];

  const plain = await dryRun(other(await copyOf("plain"), "containers", "neighbour"));
  assert.equal(imageOf(plain, "containers", "neighbour"), "evil:1");

  const injected = other(await copyOf("agent"), "initContainers", "chaperone-proxy");
  const { image } = await proxySettings();
  assert.equal(imageOf(await dryRun(injected), "initContainers", "chaperone-proxy"), image);
  const { labels: _, ...unlabelled } = asRecord(injected["metadata"]);
  assert.match(
    await refusedBy(dryRun({ ...injected, metadata: unlabelled })),
    /audience chaperone\.dev are for injected proxies alone/,
  );
});

test("reading a Connection's Secret in the agent's pod: works without a proxy, and is refused beside one", async () => {
  const reading = (pod: KubeObject): KubeObject => ({
    ...pod,
    spec: {
      ...spec(pod),
      containers: values(spec(pod)["containers"]).map((one) => ({
        ...asRecord(one),
        envFrom: [{ secretRef: { name: "orders-db" } }],
      })),
    },
  });
  await dryRun(reading(plainPod("reader")));
  assert.match(await refusedBy(dryRun(reading(agentPod(namespace, "reader")))), /ConnectionSecret/);
});

test("writing what the operator says: other statuses can be written by who may, ours by nobody else", async () => {
  const patch = (resource: string, name: string, status: KubeObject): Promise<string> =>
    inNamespace(
      "patch",
      resource,
      name,
      "--subresource=status",
      "--type=merge",
      "--patch",
      JSON.stringify({ status }),
    );
  await patch("pod", "plain", { message: "as I like it" });
  for (const [resource, name] of [
    ["connection", "orders-db"],
    ["accesspolicy", "invoice-agent"],
  ] as const)
    assert.match(
      await refusedBy(patch(resource, name, { conditions: [] })),
      /written by the operator alone/,
    );
});

test("a Connection whose endpoint is the agent's own pod, or its proxy, leads nowhere", async () => {
  const { status } = await get(namespace, "pod", "agent");
  const address = String(asRecord(status)["podIP"]);
  const direct = await agent.order<Reply>("/fetch", { url: `http://${address}:15020/healthz` });
  assert.equal(direct.done?.status, 200); // past the proxy it is there
  for (const port of [8000, 15020]) {
    await apply(mirror(`http://${address}:${port}`));
    await until("the new endpoint to count", soonMs, async () => {
      const { done } = await agent.order<Reply>("/fetch", { url: "http://mirror.test/healthz" });
      return done?.status === 502 && done.body.includes(`${address}:${port}`);
    });
    const { done } = await agent.order<Reply>("/fetch", { url: "http://mirror.test/healthz" });
    assert.match(done?.body ?? "", /is an address that is never dialled/);
  }
});

test("another pod of the namespace: reaches what an agent serves, and no listener of its proxy", async () => {
  const neighbour = agentOf(namespace, "plain");
  const { metadata, status } = await get(namespace, "pod", "agent");
  const address = String(asRecord(status)["podIP"]);
  const reach = async (port: number): Promise<string> => {
    const { done, failed } = await neighbour.order<Reply>("/fetch", {
      url: `http://${address}:${port}/healthz`,
    });
    return done === undefined ? (failed?.cause ?? "") : String(done.status);
  };
  assert.match(await reach(8000), /^\d+$/);
  const map = parseAddressMap(
    String(asRecord(asRecord(metadata)["annotations"])["chaperone.dev/addresses"]),
  );
  const ports = map.connections.flatMap(({ port, endpoint }) => [port, endpoint.port]);
  assert.ok(ports.length >= 6);
  for (const port of ports) assert.match(await reach(port), /ECONNREFUSED/, String(port));
});

test("root of the node finds no credential in the arguments and the environment of a proxy that holds a lease", async (t) => {
  await agent.sql("SELECT 1");
  const { metadata } = await get(namespace, "pod", "agent");
  const uid = String(asRecord(metadata)["uid"]);
  const { password, apiKey } = await ensureUpstreams();
  const found = processes().filter(({ environment }) => environment.includes(uid));
  if (found.length === 0) return t.skip("the cluster's processes are not this machine's");
  for (const { pid, command, environment } of found) {
    assert.match(command, /--disable-sigusr1.*proxy\.mjs/);
    for (const secret of [password, apiKey, "PRIVATE KEY", "eyJ"])
      assert.ok(!command.includes(secret) && !environment.includes(secret), secret.slice(0, 3));
    assert.equal(readFileSync(`/proc/${pid}/coredump_filter`, "utf8").trim(), "00000000");
  }
});

interface Process {
  readonly pid: string;
  readonly command: string;
  readonly environment: string;
}

/** Of this machine, where they can be read and are injected proxies. */
function processes(): readonly Process[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const [command, environment] = ["cmdline", "environ"].map((file) =>
          readFileSync(`/proc/${pid}/${file}`, "utf8").replaceAll("\0", " "),
        );
        return command?.includes("proxy.mjs") === true && environment !== undefined
          ? [{ pid, command, environment }]
          : [];
      } catch {
        return []; // gone, or not ours to read
      }
    });
}

const governing: readonly (readonly [string, KubeObject])[] = [
  [
    "connections",
    { kind: "Connection", spec: { protocol: "http", endpoint: { url: "https://x" } } },
  ],
  ["accesspolicies", { kind: "AccessPolicy", spec: { targetRefs: [{ name: "orders-db" }] } }],
  ["quarantines", { kind: "Quarantine", spec: { all: true, reason: "mine" } }],
  [
    "clusteraccesspolicies",
    { kind: "ClusterAccessPolicy", spec: { limits: { requestsPerMinute: 1 } } },
  ],
];

test("an editor of the namespace edits what is in it, and nothing that governs", async () => {
  const object = (body: KubeObject): KubeObject => ({
    apiVersion: "chaperone.dev/v1alpha1",
    metadata: {
      name: "mine",
      ...(body["kind"] === "ClusterAccessPolicy" ? {} : { namespace }),
    },
    ...body,
  });
  await dryRun(
    { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "mine", namespace } },
    { as: eddy },
  );
  for (const [plural, body] of governing)
    assert.match(
      await refusedBy(dryRun(object(body), { as: eddy })),
      new RegExp(`cannot create resource "${plural}"`),
    );
  const erased = kubectl(
    ["--namespace", namespace, "delete", "accesspolicy", "invoice-agent", "--dry-run=server"],
    { as: eddy },
  );
  assert.match(await refusedBy(erased), /cannot delete resource "accesspolicies"|cannot get/);
});

test("what the cluster denies, no policy of a namespace allows; it says by how many proxies it is enforced", async (t) => {
  assert.equal((await agent.sql("SELECT id FROM customers")).rowCount, 2);
  await restrict(t, {
    namespaces: [namespace],
    rules: [
      {
        name: "no-customers",
        action: "Deny",
        sql: { statements: ["select"], relations: ["public.customers"] },
        message: "The cluster keeps customers to itself.",
      },
    ],
  });
  await apply({
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessPolicy",
    metadata: { name: "everything", namespace },
    spec: {
      targetRefs: [{ name: "orders-db" }],
      subjects: [{ serviceAccounts: ["*"] }],
      rules: [{ name: "all", action: "Allow", sql: { statements: ["select"] } }],
    },
  });
  t.after(() => inNamespace("delete", "accesspolicy", "everything"));
  const refusal = async (): Promise<string> =>
    await agent.refusedSql("SELECT id FROM customers").then(({ message }) => message, String);
  await until("the Deny of the cluster to act", soonMs, async () =>
    (await refusal()).includes("The cluster keeps customers to itself."),
  );
  assert.equal((await agent.sql("SELECT id FROM orders WHERE id = 1")).rowCount, 1);
  await until("the policy to say that it is enforced", soonMs, async () => {
    const { status } = JSON.parse(
      await kubectl(["get", "clusteraccesspolicy", guard, "-o", "json"]),
    );
    return values(asRecord(status)["conditions"])
      .map(asRecord)
      .some(({ type, status: is }) => type === "Enforced" && is === "True");
  });
});

const guard = "e2e-attacks-people";
async function restrict(t: TestContext, of: KubeObject): Promise<void> {
  await apply({
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "ClusterAccessPolicy",
    metadata: { name: guard },
    spec: of,
  });
  t.after(() => kubectl(["delete", "clusteraccesspolicy", guard]));
}

test("in a namespace that says so no pod runs without a proxy, and no ports are forwarded", async (t) => {
  await dryRun(plainPod("without"));
  const required = (value: string): Promise<string> =>
    kubectl(["label", "namespace", namespace, `chaperone.dev/inject${value}`, "--overwrite"]);
  await required("=required");
  t.after(() => required("-"));
  await until("the label to count", soonMs, async () => {
    const said = await dryRun(plainPod("without")).then(() => "", String);
    return said.includes("is labelled chaperone.dev/inject=required");
  });
  await dryRun(agentPod(namespace, "with"));
  const debugged = {
    ...plainPod("debugged"),
    metadata: { name: "debugged", namespace, labels: { "chaperone.dev/inject": "false" } },
  };
  assert.match(await refusedBy(dryRun(debugged)), /chaperone\.dev\/inject=required/);
  assert.match(
    await refusedBy(watched("port-forward", "pod/plain", ":8000")),
    /no ports are forwarded in a namespace/,
  );
  const unlabelling = kubectl(["label", "namespace", namespace, "chaperone.dev/inject-"], {
    as: eddy,
  });
  assert.match(await refusedBy(unlabelling), /cannot (patch|get) resource "namespaces"/);
});

test("what admission policies refused stands in the API server's own audit log", async (t) => {
  const refused = await policiesThatRefused(mallory.user);
  if (refused === undefined) return t.skip("the audit log of this cluster cannot be read");
  assert.deepEqual([...refused].toSorted(), [
    "chaperone-apart",
    "chaperone-closed",
    "chaperone-operator-only",
    "chaperone-required-closed",
    "chaperone-tokens",
    "chaperone-unchanged",
  ]);
});

test("nothing of it harmed the agent: it works as before", async () => {
  assert.equal((await agent.sql("SELECT id FROM orders WHERE id = 1")).rowCount, 1);
  const { spec: of } = await get(namespace, "pod", "agent");
  const debuggers = asRecord(of)["ephemeralContainers"];
  assert.deepEqual(debuggers ?? [], []);
});
