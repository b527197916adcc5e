// Pods at the real API server: patched as the golden files say, once; left alone; refused with a reason; and held afterwards.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import fastJsonPatch from "fast-json-patch";
import { parse } from "yaml";
import { ordersDb, openai } from "../../operator/injection/fixture.ts";
import { egressSpec, networkPolicyName } from "../../operator/egress/network-policy.ts";
import { notInjected } from "../../operator/injection/injected.ts";
import type { RefuseReason } from "../../operator/injection/reasons.ts";
import { asRecord, spec, values } from "./read.ts";
import {
  apply,
  create,
  dryRun,
  kubectl,
  namespaceFor,
  namespaceOf,
  refusedBy,
  remove,
  soonMs,
  type KubeObject,
} from "./cluster.ts";
import { until } from "../cluster/command.ts";
import { proxySettings, webhookSleeps } from "./installation.ts";
import { agentPod, restrictedContainer } from "./world.ts";

const golden = path.join(import.meta.dirname, "../../operator/injection/golden");
const namespace = "e2e-admit-pods";
const restrictedNamespace = "e2e-admit-restricted";

before(async () => {
  for (const [name, level] of [
    [namespace, "privileged"],
    [restrictedNamespace, "restricted"],
  ] as const) {
    await namespaceOf(name, level);
    await apply(
      ...[ordersDb, openai].map(({ apiVersion, kind, metadata, spec: said }) => ({
        apiVersion,
        kind,
        metadata: { name: metadata.name, namespace: name },
        spec: said,
      })),
      {
        apiVersion: "v1",
        kind: "ServiceAccount",
        metadata: { name: "invoice-agent", namespace: name },
      },
      {
        apiVersion: "chaperone.dev/v1alpha1",
        kind: "AccessPolicy",
        metadata: { name: "all", namespace: name },
        spec: { targetRefs: [{ name: "orders-db" }, { name: "openai" }] },
      },
    );
    await known(name);
  }
});
after(async () => {
  await kubectl(["delete", "namespace", namespace, restrictedNamespace, "--wait=false"]);
});

/** The operator has seen both Connections when a pod that names them is injected; the API server takes up a new webhook within moments. */
async function known(name: string): Promise<void> {
  // A cluster that was made a moment ago takes up its webhooks and policies later than it says that they are there.
  await until("the webhook to be asked", soonMs, async () => {
    const { metadata, ...pod } = agentPod(name, "probe");
    const annotations = { "chaperone.dev/connections": "nothing" };
    const said = await dryRun({ ...pod, metadata: { ...asRecord(metadata), annotations } }).then(
      () => "",
      String,
    );
    return said.includes("ConnectionNotFound");
  });
  for (let tries = 0; ; tries += 1) {
    const pod = agentPod(name, "probe");
    const metadata = asRecord(pod["metadata"]);
    const named = { "chaperone.dev/connections": "orders-db,openai" };
    const answer = await dryRun({ ...pod, metadata: { ...metadata, annotations: named } }).then(
      (admitted) => ({ admitted: JSON.stringify(admitted) }),
      (error: unknown) => ({ refused: String(error) }),
    );
    if ("admitted" in answer && answer.admitted.includes("chaperone-proxy")) return;
    const isTooEarly = "admitted" in answer || answer.refused.includes("ConnectionNotFound");
    if (tries > 50 || !isTooEarly) throw new Error(JSON.stringify(answer).slice(0, 1_000));
  }
}

for (const name of ["plain", "endpoints", "full"])
  test(`the pod ${name} is patched as its golden file says`, async () => {
    const pod: KubeObject = parse(readFileSync(path.join(golden, `${name}.yaml`), "utf8"));
    const settings = await proxySettings();
    const said = readFileSync(path.join(golden, `${name}.json`), "utf8")
      .replaceAll("agents/", `${namespace}/`)
      .replaceAll("registry.example/chaperone/proxy@sha256:1111", settings.image)
      .replaceAll("https://chaperone.chaperone-system.svc:8443", settings.operatorUrl)
      .replaceAll(
        JSON.stringify("-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n"),
        JSON.stringify(settings.operatorCa),
      );
    const copy: unknown = structuredClone(pod);
    const expected = fastJsonPatch.applyPatch(copy, JSON.parse(said).patch).newDocument;
    const admitted = await dryRun(inNamespace(pod));
    contains(admitted, expected, "pod");
    assert.equal(notInjected(asRecord(admitted), settings, Date.now()), undefined);
  });

test("a pod that was injected and is created again is patched no further", async () => {
  const once = asRecord(await dryRun(agentPod(namespace, "twice")));
  const again = asRecord(await dryRun(once));
  assert.deepEqual(again["spec"], once["spec"]);
});

test("a pod without the label is left exactly as it is without us", async () => {
  const { metadata, ...pod } = agentPod(namespace, "plain");
  const { labels: _, ...unlabelled } = asRecord(metadata);
  const admitted = spec(await dryRun({ ...pod, metadata: unlabelled }));
  assert.equal(admitted["initContainers"], undefined);
  assert.equal(admitted["hostAliases"], undefined);
});

const container = (changes: KubeObject): KubeObject => ({
  name: "agent",
  image: "agent:1",
  ...changes,
});
const refusals: readonly (readonly [RefuseReason, KubeObject, KubeObject?])[] = [
  ["HostNetwork", { hostNetwork: true }],
  ["HostPID", { hostPID: true }],
  ["ShareProcessNamespace", { shareProcessNamespace: true }],
  ["ProxyUid", { securityContext: { runAsUser: 64_535 } }],
  ["ContainerName", { containers: [container({ name: "chaperone-proxy" })] }],
  ["VolumeName", { volumes: [{ name: "chaperone-spool", emptyDir: {} }] }],
  [
    "ProxyVolume",
    { containers: [container({ volumeMounts: [{ name: "chaperone-token", mountPath: "/t" }] })] },
  ],
  [
    "MountPathTaken",
    {
      volumes: [{ name: "x", emptyDir: {} }],
      containers: [container({ volumeMounts: [{ name: "x", mountPath: "/etc/chaperone/trust" }] })],
    },
  ],
  [
    "ProxyAudience",
    {
      volumes: [
        {
          name: "t",
          projected: {
            sources: [{ serviceAccountToken: { audience: "chaperone.dev", path: "t" } }],
          },
        },
      ],
    },
  ],
  ["MeshSidecar", { containers: [container({}), container({ name: "istio-proxy" })] }],
  ["ProxyPort", { containers: [container({ ports: [{ containerPort: 15_020 }] })] }],
  [
    "ConnectionSecret",
    { containers: [container({ envFrom: [{ secretRef: { name: "orders-db" } }] })] },
  ],
  ["InterceptionUnknown", {}, { "chaperone.dev/interception": "magic" }],
  ["ForwardProxyUnknown", {}, { "chaperone.dev/forward-proxy": "yes" }],
  ["ConnectionsMalformed", {}, { "chaperone.dev/connections": "Orders DB" }],
  ["ConnectionNotFound", {}, { "chaperone.dev/connections": "nothing" }],
];
for (const [reason, changes, annotations] of refusals)
  test(`${reason}: a pod with ${JSON.stringify(changes).slice(0, 80)} is refused with its reason`, async () => {
    const { metadata, ...pod } = agentPod(namespace, "refused", changes);
    const wrong = {
      ...pod,
      metadata: { ...asRecord(metadata), ...(annotations && { annotations }) },
    };
    assert.match(await refusedBy(dryRun(wrong)), new RegExp(`denied the request: ${reason}: `));
  });

test("a Connection of another namespace that does not allow this one is refused", async () => {
  const { metadata, ...pod } = agentPod(namespace, "foreign");
  const annotations = { "chaperone.dev/connections": `${restrictedNamespace}/openai` };
  const named = { ...pod, metadata: { ...asRecord(metadata), annotations } };
  assert.match(await refusedBy(dryRun(named)), /ConnectionNotAllowed: /);
});

for (const interception of ["hosts", "endpoints"])
  test(`a restricted namespace admits a pod injected for ${interception}`, async () => {
    const admitted = await dryRun(agentPod(restrictedNamespace, "restricted", { interception }));
    assert.equal(asRecord(values(spec(admitted)["initContainers"])[0])["name"], "chaperone-proxy");
  });

test("a pod that only looks injected does not pass without the webhook's doing", async () => {
  const { metadata, ...pod } = agentPod(namespace, "forged", {
    initContainers: [container({ name: "chaperone-proxy", restartPolicy: "Always" })],
  });
  assert.match(await refusedBy(dryRun({ ...pod, metadata })), /ContainerName: /);
});

test("without the webhook no labelled pod is admitted that lacks one of our containers, or has another in its place", async (t) => {
  const redirected = async (change: (init: KubeObject[]) => unknown): Promise<KubeObject> => {
    const init = values(spec(injected)["initContainers"]).map((one) => ({ ...asRecord(one) }));
    return { ...injected, spec: { ...spec(injected), initContainers: change(init) ?? init } };
  };
  const where = await namespaceFor(t, "by-hand", "privileged");
  const account = { serviceAccountName: "default" };
  const whole = agentPod(where, "by-hand", { interception: "redirect", ...account });
  const injected = asRecord(await dryRun(whole));
  await webhookSleeps(t, where);
  assert.match(await refusedBy(dryRun(whole)), /asks for chaperone\.dev\/inject and has no proxy/);
  await dryRun(await redirected(() => undefined));
  const changes: readonly (readonly [RegExp, (init: KubeObject[]) => unknown])[] = [
    [/does not begin with chaperone-init/, ([, proxy, verify]) => [proxy, verify]],
    [/does not begin with chaperone-init/, ([init, proxy]) => [init, proxy]],
    [/does not begin with/, ([init, proxy, verify]) => [proxy, init, verify]],
    [/run the proxy's image/, ([, , verify]) => void Object.assign(verify ?? {}, { image: "x:1" })],
    [/run the proxy's image/, ([, proxy]) => void Object.assign(proxy ?? {}, { image: "x:1" })],
    [
      /chaperone-verify is not what/,
      ([, , verify]) => void Object.assign(verify ?? {}, { command: ["true"] }),
    ],
    [
      /chaperone-verify is not what/,
      ([, , verify]) => void Object.assign(verify ?? {}, { restartPolicy: "Always" }),
    ],
    [
      /chaperone-init is not what/,
      ([init]) => void Object.assign(init ?? {}, { command: ["true"] }),
    ],
    [
      /chaperone-init is not what/,
      ([init]) =>
        void Object.assign(init ?? {}, {
          securityContext: { runAsUser: 0, capabilities: { drop: ["ALL"] } },
        }),
    ],
  ];
  for (const [message, change] of changes)
    assert.match(await refusedBy(dryRun(await redirected(change))), message);
});

test("the API server takes the NetworkPolicy that agents get, whatever their Connections' addresses", async () => {
  const addressesOf = (): readonly string[] => ["10.1.2.3", "fd00::1", "1.1.1.1", "2606:4700::1"];
  const admitted = await dryRun({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: networkPolicyName, namespace },
    spec: egressSpec({
      namespace,
      endpoints: [
        { host: "postgres.data.svc.cluster.local", port: 5432 },
        { host: "api.openai.com", port: 443 },
        { host: "203.0.113.9", port: 8080 },
      ],
      addressesOf,
      operatorNamespace: "chaperone-system",
      operatorPort: 8443,
      resolvers: ["169.254.20.10", "fd00::53"],
    }),
  });
  assert.equal(values(spec(admitted)["egress"]).length, 8);
});

test("nobody takes a token for the proxy's audience, neither by a volume nor by asking for one", async () => {
  const { metadata, ...pod } = agentPod(namespace, "thief", {
    volumes: [
      {
        name: "t",
        projected: { sources: [{ serviceAccountToken: { audience: "chaperone.dev", path: "t" } }] },
      },
    ],
  });
  const { labels: _, ...unlabelled } = asRecord(metadata);
  assert.match(
    await refusedBy(dryRun({ ...pod, metadata: unlabelled })),
    /audience chaperone\.dev are for injected proxies alone/,
  );
  const asked = kubectl([
    "--namespace",
    namespace,
    "create",
    "token",
    "default",
    "--audience",
    "chaperone.dev",
  ]);
  assert.match(await refusedBy(asked), /made by kubelets, for injected proxies alone/);
  const other = await kubectl([
    "--namespace",
    namespace,
    "create",
    "token",
    "default",
    "--audience",
    "vault",
  ]);
  assert.match(other, /^ey/);
});

test("what injection wrote does not change in a pod that lives, and nobody gets into its proxy", async (t) => {
  await create(agentPod(restrictedNamespace, "held"));
  t.after(() => remove(restrictedNamespace, "pod", "held"));
  const inHeld = (...args: readonly string[]): Promise<string> =>
    kubectl(["--namespace", restrictedNamespace, ...args]);
  const label = inHeld("label", "pod", "held", "chaperone.dev/inject-", "--overwrite");
  assert.match(await refusedBy(label), /label chaperone\.dev\/inject counts when a pod is created/);
  const annotation = inHeld("annotate", "pod", "held", "chaperone.dev/addresses={}", "--overwrite");
  assert.match(await refusedBy(annotation), /annotations of chaperone\.dev say what was injected/);
  const viaStatus = inHeld(
    "patch",
    "pod",
    "held",
    "--subresource=status",
    "--type=merge",
    "--patch",
    '{"metadata":{"annotations":{"chaperone.dev/chain":"other"}}}',
  );
  assert.match(await refusedBy(viaStatus), /annotations of chaperone\.dev say what was injected/);
  const image = inHeld("set", "image", "pod/held", "chaperone-proxy=busybox");
  assert.match(await refusedBy(image), /chaperone-verify do not change in a running pod/);
  await inHeld("label", "pod", "held", "team=data");
  const shell = inHeld("exec", "held", "--container", "chaperone-proxy", "--", "id");
  assert.match(await refusedBy(shell), /nobody gets a shell in chaperone-proxy/);
  const attached = inHeld("attach", "held", "--container", "chaperone-proxy");
  assert.match(await refusedBy(attached), /nobody gets a shell in chaperone-proxy/);
});

const debuggers: readonly (readonly [string, RegExp, KubeObject])[] = [
  [
    "looks into the proxy",
    /no ephemeral container looks into chaperone-proxy/,
    { targetContainerName: "chaperone-proxy" },
  ],
  [
    "mounts the proxy's token",
    /no ephemeral container/,
    { volumeMounts: [{ name: "chaperone-token", mountPath: "/t" }] },
  ],
  [
    "runs as the proxy",
    /no ephemeral container runs as user 64535/,
    { securityContext: { ...restrictedContainer, runAsUser: 64_535 } },
  ],
];
test("an injected pod that lives refuses the ephemeral containers that would get at its proxy", async (t) => {
  await create(agentPod(restrictedNamespace, "debugged"));
  t.after(() => remove(restrictedNamespace, "pod", "debugged"));
  for (const [what, message, changes] of debuggers)
    await t.test(`an ephemeral container that ${what} is refused`, async () => {
      const debug = {
        name: "debug",
        image: "debug:1",
        securityContext: restrictedContainer,
        ...changes,
      };
      const patch = { spec: { ephemeralContainers: [debug] } };
      const patched = kubectl([
        "--namespace",
        restrictedNamespace,
        "patch",
        "pod",
        "debugged",
        "--subresource=ephemeralcontainers",
        "--type=strategic",
        "--patch",
        JSON.stringify(patch),
      ]);
      assert.match(await refusedBy(patched), message);
    });
});

function inNamespace(pod: KubeObject): KubeObject {
  return { ...pod, metadata: { ...asRecord(pod["metadata"]), namespace } };
}

/** Everything expected is there, in its order; the API server may have added more. */
function contains(actual: unknown, expected: unknown, at: string): void {
  if (Array.isArray(expected)) {
    const list = values(actual);
    assert.ok(list.length >= expected.length, `${at} has ${list.length} of ${expected.length}`);
    for (const [index, entry] of expected.entries()) {
      const { name, mountPath } = Object(entry);
      const isNamed = typeof name === "string";
      const match = isNamed
        ? list.find((one) => Object(one).name === name && Object(one).mountPath === mountPath)
        : list[index];
      contains(match, entry, `${at}[${isNamed ? name : index}]`);
    }
  } else if (typeof expected === "object" && expected !== null) {
    for (const [field, value] of Object.entries(expected))
      contains(asRecord(actual)[field], value, `${at}.${field}`);
  } else {
    assert.equal(actual, expected, at);
  }
}
