import assert from "node:assert/strict";
import { test } from "node:test";
import fastJsonPatch from "fast-json-patch";
import fc from "fast-check";
import { parseAddressMap } from "../../contract/addresses.ts";
import { fieldAt, listAt, textAt, type JsonObject } from "../kube/objects.ts";
import {
  annotated,
  asPod,
  connection,
  contextOf,
  openai,
  ordersDb,
  podOf,
  rolesDb,
} from "./fixture.ts";
import { inject, type InjectionContext } from "./inject.ts";
import { notInjected } from "./injected.ts";
import { newAuthority } from "../pki/authority.ts";
import { annotationOf } from "./pod.ts";
import { refuseReasons, type RefuseReason } from "./reasons.ts";

const now = Date.parse("2026-11-30T12:00:00Z");
const year = 365 * 24 * 60 * 60 * 1000;

const shared = connection(
  "shared",
  {
    protocol: "http",
    endpoint: { url: "http://shared.tools.svc.cluster.local:8080" },
    allowedNamespaces: ["agents-*", "agents"],
  },
  "tools",
);
const certified = connection("certified-db", {
  protocol: "postgres",
  endpoint: {
    host: "certified.data.svc.cluster.local",
    tls: { mode: "VerifyFull", clientCertificateSecretRef: { name: "pg-client" } },
  },
});

const closed = connection(
  "closed",
  { protocol: "http", endpoint: { url: "http://closed.tools.svc.cluster.local" } },
  "tools",
);

function patched(pod: JsonObject, context: InjectionContext = contextOf()): JsonObject {
  const decision = inject(pod, context);
  assert.equal(decision.kind, "patch", JSON.stringify(decision));
  if (decision.kind !== "patch") throw new Error("unreachable");
  const copy: unknown = structuredClone(pod);
  return asPod(fastJsonPatch.applyPatch(copy, [...decision.patch]).newDocument);
}

function warningsOf(pod: JsonObject, context: InjectionContext = contextOf()): string {
  const decision = inject(pod, context);
  return decision.kind === "patch" ? decision.warnings.join("\n") : JSON.stringify(decision);
}

const container = (changes: JsonObject) => ({ name: "agent", image: "agent:1", ...changes });
const volume = (name: string, changes: JsonObject) => ({ name, ...changes });

const refused: readonly (readonly [RefuseReason, JsonObject])[] = [
  ["HostNetwork", podOf({ hostNetwork: true })],
  ["HostPID", podOf({ hostPID: true })],
  ["ShareProcessNamespace", podOf({ shareProcessNamespace: true })],
  ["Windows", podOf({ os: { name: "windows" } })],
  ["ProxyUid", podOf({ securityContext: { runAsUser: 64_535 } })],
  ["ProxyUid", podOf({ containers: [container({ securityContext: { runAsUser: 64_535 } })] })],
  [
    "ProxyUid",
    podOf({
      initContainers: [container({ name: "init", securityContext: { runAsUser: 64_535 } })],
    }),
  ],
  ["ContainerName", podOf({ containers: [container({ name: "chaperone-proxy" })] })],
  ["ContainerName", podOf({ initContainers: [container({ name: "chaperone-proxy" })] })],
  ["ContainerName", podOf({ initContainers: [container({ name: "chaperone-verify" })] })],
  ["VolumeName", podOf({ volumes: [volume("chaperone-ca", { emptyDir: {} })] })],
  [
    "ProxyVolume",
    podOf({
      containers: [container({ volumeMounts: [{ name: "chaperone-token", mountPath: "/t" }] })],
    }),
  ],
  [
    "ProxyVolume",
    podOf({
      containers: [
        container({
          volumeMounts: [{ name: "chaperone-trust", mountPath: "/etc/chaperone/trust" }],
        }),
      ],
    }),
  ],
  [
    "MountPathTaken",
    podOf({
      containers: [
        container({ volumeMounts: [{ name: "x", mountPath: "/etc/chaperone/trust/" }] }),
      ],
    }),
  ],
  [
    "ProxyAudience",
    podOf({
      volumes: [
        volume("mine", {
          projected: {
            sources: [{ serviceAccountToken: { audience: "chaperone.dev", path: "t" } }],
          },
        }),
      ],
    }),
  ],
  [
    "MeshSidecar",
    podOf({ initContainers: [container({ name: "istio-proxy", restartPolicy: "Always" })] }),
  ],
  ["MeshSidecar", podOf({ containers: [container({}), container({ name: "istio-proxy" })] })],
  ["ProxyPort", podOf({ containers: [container({ ports: [{ containerPort: 15_020 }] })] })],
  [
    "ProxyPort",
    podOf(
      { containers: [container({ ports: [{ containerPort: 80 }, { containerPort: 15_001 }] })] },
      { annotations: { "chaperone.dev/interception": "redirect" } },
    ),
  ],
  [
    "ConnectionSecret",
    podOf({
      containers: [
        container({
          env: [{ name: "P", valueFrom: { secretKeyRef: { name: "orders-db", key: "password" } } }],
        }),
      ],
    }),
  ],
  [
    "ConnectionSecret",
    podOf({ containers: [container({ envFrom: [{ secretRef: { name: "openai" } }] })] }),
  ],
  ["ConnectionSecret", podOf({ volumes: [volume("s", { secret: { secretName: "openai" } })] })],
  [
    "ConnectionSecret",
    podOf({ volumes: [volume("s", { projected: { sources: [{ secret: { name: "openai" } }] } })] }),
  ],
  ["ConnectionSecret", podOf({ volumes: [volume("s", { secret: { secretName: "pg-client" } })] })],
  ["InterceptionUnknown", annotated({ "chaperone.dev/interception": "magic" })],
  [
    "RedirectByUnknown",
    annotated({ "chaperone.dev/interception": "redirect", "chaperone.dev/redirect-by": "magic" }),
  ],
  ["ForwardProxyUnknown", annotated({ "chaperone.dev/forward-proxy": "yes" })],
  ["ConnectionsMalformed", annotated({ "chaperone.dev/connections": "Orders DB" })],
  ["ConnectionNotFound", annotated({ "chaperone.dev/connections": "orders-db, nothing" })],
  ["ConnectionNotAllowed", annotated({ "chaperone.dev/connections": "tools/closed" })],
];

test("a pod that names the login which makes the roles of its Connection is refused", () => {
  const pod = podOf({
    containers: [container({ envFrom: [{ secretRef: { name: "roles-admin" } }] })],
  });
  const decision = inject(pod, contextOf([rolesDb]));
  assert.equal(decision.kind, "refuse");
  assert.equal("reason" in decision && decision.reason, "ConnectionSecret");
});

for (const [reason, pod] of refused) {
  test(`${reason}: ${JSON.stringify(pod["spec"]).slice(0, 120)} is refused with its sentence`, () => {
    const decision = inject(pod, contextOf([ordersDb, certified, openai, shared, closed]));
    assert.equal(decision.kind, "refuse");
    if (decision.kind !== "refuse") return;
    assert.equal(decision.reason, reason);
    assert.ok(decision.message.endsWith(refuseReasons[reason]), decision.message);
  });
}

test("each reason to refuse is broken by a pod of these tests", () => {
  const tested = new Set<string>([
    ...refused.map(([reason]) => reason),
    "InterceptionIPv6",
    "NodeRulesAbsent", // rules-by.test.ts
    "TooManyConnections",
  ]);
  assert.deepEqual(
    Object.keys(refuseReasons).filter((reason) => !tested.has(reason)),
    [],
  );
});

test("a pod without IPv4 is told to use endpoints", () => {
  const context = contextOf([ordersDb], { isIPv6Only: true });
  const decision = inject(podOf(), context);
  assert.equal(decision.kind === "refuse" && decision.reason, "InterceptionIPv6");
  patched(annotated({ "chaperone.dev/interception": "endpoints" }), context);
});

test("more connections than a pod can carry are refused with what to do", () => {
  const many = Array.from({ length: 257 }, (_, index) =>
    connection(`c${index}`, { protocol: "http", endpoint: { url: `http://h${index}.example` } }),
  );
  const decision = inject(podOf(), contextOf(many));
  assert.equal(decision.kind === "refuse" && decision.reason, "TooManyConnections");
});

test("a pod that did not opt in is left alone", () => {
  const decision = inject(podOf({}, { labels: {} }), contextOf());
  assert.equal(decision.kind === "skip" && decision.reason, "NotLabelled");
});

test("the proxy comes first, and is the agent's neighbour, not its container", () => {
  const pod = patched(podOf({ initContainers: [container({ name: "migrate" })] }));
  const names = listAt(pod, "spec", "initContainers").map((entry) => textAt(entry, "name"));
  assert.deepEqual(names, ["chaperone-proxy", "migrate"]);
  assert.equal(fieldAt(pod, "spec", "initContainers", "restartPolicy"), undefined);
  assert.equal(textAt(listAt(pod, "spec", "initContainers")[0], "restartPolicy"), "Always");
  assert.equal(annotationOf(pod, "kubectl.kubernetes.io/default-container"), "agent");
});

test("every container of the agent gets the variables and the roots, init containers too", () => {
  const pod = patched(podOf({ initContainers: [container({ name: "migrate" })] }));
  for (const list of ["containers", "initContainers"]) {
    const agent = listAt(pod, "spec", list).at(-1);
    const env = new Map(
      listAt(agent, "env").map((entry) => [textAt(entry, "name"), textAt(entry, "value")]),
    );
    assert.equal(env.get("DATABASE_URL"), "postgresql://agent@orders-db:5432/orders");
    assert.equal(env.get("OPENAI_BASE_URL"), "https://api.openai.com/v1");
    assert.equal(env.get("SSL_CERT_FILE"), "/etc/chaperone/trust/ca.crt");
    assert.deepEqual(listAt(agent, "volumeMounts"), [
      { name: "chaperone-trust", mountPath: "/etc/chaperone/trust", readOnly: true },
    ]);
  }
});

test("a variable that the container sets itself stays, with a warning", () => {
  const env = [{ name: "DATABASE_URL", value: "mine" }];
  const pod = podOf({ containers: [container({ env })] });
  const kept = listAt(listAt(patched(pod), "spec", "containers")[0], "env").filter(
    (entry) => textAt(entry, "name") === "DATABASE_URL",
  );
  assert.deepEqual(kept, env);
  assert.match(warningsOf(pod), /container agent sets DATABASE_URL itself and keeps it/);
});

test("two connections that want one variable: the first by name has it, with a warning", () => {
  const other = connection("another", {
    protocol: "http",
    endpoint: { url: "http://another.example" },
    inject: { env: { DATABASE_URL: "${url}" } },
  });
  const context = contextOf([ordersDb, other]);
  const env = listAt(listAt(patched(podOf(), context), "spec", "containers")[0], "env");
  assert.equal(
    textAt(
      env.find((entry) => textAt(entry, "name") === "DATABASE_URL"),
      "value",
    ),
    "http://another.example",
  );
  assert.match(warningsOf(podOf(), context), /both inject DATABASE_URL/);
});

test("the proxy variables point at a listener only where the pod asks for it, and a container's own stay", () => {
  const variables = (pod: JsonObject): Map<string, string> =>
    new Map(
      listAt(listAt(patched(pod), "spec", "containers")[0], "env").map((entry) => [
        textAt(entry, "name") ?? "",
        textAt(entry, "value") ?? "",
      ]),
    );
  const mapOf = (pod: JsonObject) =>
    parseAddressMap(annotationOf(patched(pod), "chaperone.dev/addresses") ?? "");
  assert.equal(variables(podOf()).has("HTTPS_PROXY"), false);
  assert.equal(mapOf(podOf()).forwardProxy, undefined);
  for (const interception of ["hosts", "endpoints"]) {
    const asking = annotated({
      "chaperone.dev/forward-proxy": "true",
      "chaperone.dev/interception": interception,
    });
    const { address, port } = mapOf(asking).forwardProxy ?? { address: "", port: 0 };
    const set = variables(asking);
    for (const name of ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"])
      assert.equal(set.get(name), `http://${address}:${port}`);
    assert.equal(set.get("NO_PROXY"), "127.0.0.1,localhost,::1");
    assert.equal(set.get("NODE_USE_ENV_PROXY"), "1");
    const ports = mapOf(asking).connections.map(({ endpoint }) => endpoint.port);
    assert.ok(!ports.includes(port));
  }
  const own = podOf(
    { containers: [container({ env: [{ name: "HTTPS_PROXY", value: "http://corporate:3128" }] })] },
    { annotations: { "chaperone.dev/forward-proxy": "true" } },
  );
  assert.equal(variables(own).get("HTTPS_PROXY"), "http://corporate:3128");
  assert.match(warningsOf(own), /container agent sets HTTPS_PROXY itself and keeps it/);
});

test("the kubelet does not expand what a Connection injects", () => {
  const odd = connection("odd", {
    protocol: "http",
    endpoint: { url: "http://odd.example" },
    inject: { env: { ODD: "$(HOME) ${host}" } },
  });
  const env = listAt(listAt(patched(podOf(), contextOf([odd])), "spec", "containers")[0], "env");
  assert.equal(textAt(env[0], "value"), "$$(HOME) odd.example");
});

test("low ports are opened under hosts, and not under endpoints", () => {
  const sysctls = (pod: JsonObject) => listAt(pod, "spec", "securityContext", "sysctls");
  assert.deepEqual(sysctls(patched(podOf())), [
    { name: "net.ipv4.ip_unprivileged_port_start", value: "0" },
  ]);
  assert.deepEqual(sysctls(patched(annotated({ "chaperone.dev/interception": "endpoints" }))), []);
  assert.deepEqual(sysctls(patched(podOf(), contextOf([ordersDb]))), []);
});

test("a connection of another namespace comes only when the pod names it and it allows this one", () => {
  const context = contextOf([ordersDb, shared]);
  const connectionsOf = (pod: JsonObject): readonly string[] =>
    parseAddressMap(
      annotationOf(patched(pod, context), "chaperone.dev/addresses") ?? "",
    ).connections.map(({ connection: name }) => name);
  assert.deepEqual(connectionsOf(podOf()), ["agents/orders-db"]);
  assert.deepEqual(
    connectionsOf(annotated({ "chaperone.dev/connections": "orders-db, tools/shared," })),
    ["agents/orders-db", "tools/shared"],
  );
});

test("a pod with no connection is injected with a warning", () => {
  assert.match(warningsOf(podOf(), contextOf([])), /no Connection in namespace agents/);
});

test("a pod without the chain annotation does not claim one", () => {
  const names = (pod: JsonObject): readonly unknown[] =>
    listAt(listAt(pod, "spec", "initContainers")[0], "env").map((entry) => textAt(entry, "name"));
  assert.ok(!names(patched(podOf())).includes("CHAPERONE_CHAIN"));
  assert.ok(
    names(patched(annotated({ "chaperone.dev/chain": "sum" }))).includes("CHAPERONE_CHAIN"),
  );
});

test("fields that this program does not know survive", () => {
  const pod = patched(
    podOf({ fromTheFuture: { a: [1] }, containers: [container({ alsoNew: true })] }),
  );
  assert.deepEqual(fieldAt(pod, "spec", "fromTheFuture"), { a: [1] });
  assert.equal(fieldAt(listAt(pod, "spec", "containers")[0], "alsoNew"), true);
});

const name = fc.stringMatching(/^[a-z][a-z0-9]{0,6}$/);
const mount = fc.record({ name, mountPath: fc.constantFrom("/data", "/tmp/x") });
const variable = fc.record({
  name: fc.constantFrom("DATABASE_URL", "SSL_CERT_FILE", "OTHER", "OPENAI_API_KEY"),
  value: fc.string({ maxLength: 8 }),
});
const anyContainer = fc.record(
  {
    name,
    image: fc.constant("i"),
    env: fc.array(variable, { maxLength: 3 }),
    volumeMounts: fc.array(mount, { maxLength: 2 }),
  },
  { requiredKeys: ["name", "image"] },
);
const anyPod = fc.record(
  {
    containers: fc.array(anyContainer, { minLength: 1, maxLength: 3 }),
    initContainers: fc.array(anyContainer, { maxLength: 2 }),
    volumes: fc.array(fc.record({ name, emptyDir: fc.constant({}) }), { maxLength: 2 }),
    hostAliases: fc.array(
      fc.record({
        ip: fc.constantFrom("10.0.0.1", "127.0.64.1", "127.0.0.1"),
        hostnames: fc.array(fc.constantFrom("orders-db", "other", "api.openai.com"), {
          maxLength: 2,
        }),
      }),
      { maxLength: 2 },
    ),
    securityContext: fc.constantFrom({}, { runAsUser: 1000 }, { sysctls: [] }),
  },
  { requiredKeys: ["containers"] },
);
const anyAnnotations = fc.constantFrom<Readonly<Record<string, string>> | undefined>(
  undefined,
  {},
  { "chaperone.dev/interception": "endpoints" },
  { "chaperone.dev/interception": "redirect" },
  { "chaperone.dev/chain": "c", "chaperone.dev/connections": "openai" },
);

test("injecting what is injected changes nothing, whatever the pod, and it counts as injected", () => {
  fc.assert(
    fc.property(anyPod, anyAnnotations, (spec, given) => {
      const pod = podOf(spec, given === undefined ? {} : { annotations: given });
      const once = patched(pod);
      const again = inject(once, contextOf());
      assert.deepEqual(again.kind === "patch" && again.patch, []);
      assert.equal(notInjected(once, contextOf().settings, now), undefined);
    }),
  );
});

test("what a cluster adds to our container by its own defaults is kept", () => {
  const once = patched(podOf());
  const proxy = asPod(listAt(once, "spec", "initContainers")[0]);
  const limited = {
    ...proxy,
    imagePullPolicy: "Always",
    resizePolicy: [{ resourceName: "cpu", restartPolicy: "NotRequired" }],
    resources: {
      requests: fieldAt(proxy, "resources", "requests"),
      limits: { cpu: "1", memory: "256Mi" },
    },
  };
  const pod = { ...once, spec: { ...asPod(once["spec"]), initContainers: [limited] } };
  const again = inject(pod, contextOf());
  assert.deepEqual(again.kind === "patch" && again.patch, []);
  assert.equal(notInjected(pod, contextOf().settings, now), undefined);
});

const tampered: readonly (readonly [string, (proxy: JsonObject) => JsonObject])[] = [
  ["another command", (proxy) => ({ ...proxy, command: ["sleep", "1d"] })],
  ["another image", (proxy) => ({ ...proxy, image: "evil" })],
  ["arguments", (proxy) => ({ ...proxy, args: ["--inspect"] })],
  [
    "a variable more",
    (proxy) => ({
      ...proxy,
      env: [...listAt(proxy, "env"), { name: "NODE_OPTIONS", value: "--require /x" }],
    }),
  ],
  [
    "a mount more",
    (proxy) => ({
      ...proxy,
      volumeMounts: [...listAt(proxy, "volumeMounts"), { name: "x", mountPath: "/app" }],
    }),
  ],
  ["another user", (proxy) => ({ ...proxy, securityContext: { runAsUser: 0 } })],
  [
    "a lifecycle hook",
    (proxy) => ({ ...proxy, lifecycle: { postStart: { exec: { command: ["x"] } } } }),
  ],
];

for (const [what, change] of tampered) {
  test(`a pod whose proxy has ${what} only looks injected, and injecting it again mends it`, () => {
    const once = patched(podOf());
    const proxy = asPod(listAt(once, "spec", "initContainers")[0]);
    const pod = { ...once, spec: { ...asPod(once["spec"]), initContainers: [change(proxy)] } };
    assert.match(notInjected(pod, contextOf().settings, now) ?? "", /chaperone-proxy/);
    assert.equal(notInjected(patched(pod), contextOf().settings, now), undefined);
  });
}

test("a pod of the release before still counts as injected, one whose token volume differs does not", () => {
  const { settings } = contextOf();
  const earlier = patched(
    podOf(),
    contextOf([], {
      image: settings.earlierImages[0] ?? "",
      // Of five years' life: what ended proves nothing any more.
      operatorCa: newAuthority(now - 6 * year).certificate,
    }),
  );
  assert.equal(notInjected(earlier, settings, now), undefined);
  const volumes = listAt(earlier, "spec", "volumes").map((entry) =>
    textAt(entry, "name") === "chaperone-token"
      ? { name: "chaperone-token", hostPath: { path: "/x" } }
      : entry,
  );
  const pod = { ...earlier, spec: { ...asPod(earlier["spec"]), volumes } };
  assert.match(notInjected(pod, settings, now) ?? "", /volume chaperone-token/);
});

test("a pod whose proxy trusts a CA that is none of the installation's only looks injected", () => {
  const ours = newAuthority(now).certificate;
  const before = newAuthority(now - year).certificate;
  const theirs = newAuthority(now).certificate;
  const { settings } = contextOf([], { operatorCa: ours + before, extraCa: before });
  const pod = (changes: Partial<typeof settings>): string | undefined =>
    notInjected(patched(podOf(), contextOf([], { ...settings, ...changes })), settings, now);
  assert.equal(pod({}), undefined);
  assert.equal(pod({ operatorCa: before }), undefined, "of before the rotation");
  assert.equal(pod({ extraCa: "" }), undefined, "of before the installation trusted another");
  for (const operatorCa of [theirs, ours + theirs, `${ours}more`, "nothing"])
    assert.match(pod({ operatorCa }) ?? "", /CHAPERONE_OPERATOR_CA of chaperone-proxy holds a CA/);
  for (const extraCa of [theirs, before + theirs])
    assert.match(pod({ extraCa }) ?? "", /CHAPERONE_EXTRA_CA of chaperone-proxy holds a CA/);
});

test("a map that holds a Connection of another namespace which the pod does not name was not written by injection", () => {
  const context = contextOf([ordersDb, shared]);
  const named = patched(
    podOf(
      {},
      { namespace: "agents", annotations: { "chaperone.dev/connections": "tools/shared" } },
    ),
    context,
  );
  assert.equal(notInjected(named, context.settings, now), undefined);
  const metadata = asPod(named["metadata"]);
  const { "chaperone.dev/connections": _, ...rest } = asPod(metadata["annotations"]);
  const forged = { ...named, metadata: { ...metadata, annotations: rest } };
  assert.match(notInjected(forged, context.settings, now) ?? "", /Connection tools\/shared/);
});

/** Every value in it, by its path, and every member it could have besides. */
function* places(value: unknown, at: readonly string[] = []): Generator<readonly string[]> {
  if (typeof value !== "object" || value === null) return yield at;
  yield [...at, "added"];
  for (const [member, below] of Object.entries(value)) yield* places(below, [...at, member]);
}

function changedAt(value: unknown, [head, ...rest]: readonly string[]): unknown {
  if (head === undefined) return typeof value === "number" ? value + 1 : "changed";
  if (Array.isArray(value))
    return head === "added"
      ? [...value, "changed"]
      : value.map((one, index) => (String(index) === head ? changedAt(one, rest) : one));
  return { ...asPod(value), [head]: changedAt(asPod(value)[head], rest) };
}

test("whatever is changed in our container or volumes, the pod no longer counts as injected, and a new injection has something to do", () => {
  const { settings } = contextOf();
  const once = patched(annotated({ "chaperone.dev/chain": "sum" }));
  const spec = asPod(once["spec"]);
  const [proxy, ...others] = listAt(spec, "initContainers");
  // How much it gets and how it is pulled are the cluster's.
  const free = new Set(["resources", "resizePolicy", "imagePullPolicy"]);
  let tried = 0;
  const tampered = (pod: JsonObject, what: string): void => {
    tried += 1;
    assert.notEqual(notInjected(pod, settings, now), undefined, what);
    const again = inject(pod, contextOf());
    assert.ok(again.kind === "refuse" || (again.kind === "patch" && again.patch.length > 0), what);
  };
  for (const place of places(proxy)) {
    if (free.has(place[0] ?? "")) continue;
    const initContainers = [changedAt(proxy, place), ...others];
    tampered({ ...once, spec: { ...spec, initContainers } }, place.join("."));
  }
  const volumes = listAt(spec, "volumes");
  for (const place of places(volumes)) {
    if (place.length < 2) continue; // volumes of the agent's own may come besides
    tampered({ ...once, spec: { ...spec, volumes: changedAt(volumes, place) } }, place.join("."));
  }
  assert.ok(tried > 100, String(tried));
});

test("a pod that asks the node's resolvers is warned that the proxy has to find the operator by them", () => {
  const told = (spec: JsonObject): string => {
    const decision = inject(podOf(spec), contextOf());
    return decision.kind === "patch" ? decision.warnings.join("\n") : decision.kind;
  };
  assert.match(told({ dnsPolicy: "Default" }), /dnsPolicy Default .* find the operator/);
  assert.doesNotMatch(told({ dnsPolicy: "ClusterFirst" }), /dnsPolicy/);
});

test("a pod with name servers of its own is told the operator's whole name, and is injected all the same", () => {
  const urlIn = (spec: JsonObject): unknown => {
    const pod = patched(podOf(spec), contextOf());
    assert.equal(notInjected(pod, contextOf().settings, now), undefined);
    const proxy = listAt(pod, "spec", "initContainers")[0];
    const entry = listAt(proxy, "env").find(
      (one) => textAt(one, "name") === "CHAPERONE_OPERATOR_URL",
    );
    return textAt(entry, "value");
  };
  assert.equal(urlIn({}), "https://chaperone.chaperone-system.svc:8443");
  assert.equal(
    urlIn({ dnsPolicy: "None", dnsConfig: { nameservers: ["10.96.0.10"] } }),
    "https://chaperone.chaperone-system.svc.cluster.local:8443",
  );
});
