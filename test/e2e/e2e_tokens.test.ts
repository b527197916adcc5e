// Tokens in the wrong hands: refused with the reason, recorded, and never a grant.
import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { before, test, type TestContext } from "node:test";
import { until } from "../cluster/command.ts";
import { create, exec, kubectl, ready, soonMs, type KubeObject } from "./cluster.ts";
import { proxySettings } from "./installation.ts";
import { person } from "./people.ts";
import { agentOf, agentPod, takingOrders, worldFor, type Agent, type World } from "./world.ts";
import { asRecord, values } from "./read.ts";

interface Exchange {
  readonly granted: boolean;
  readonly reason?: string;
  readonly message?: string;
}

let operator: { readonly url: string; readonly ca: string };
before(async () => {
  const { operatorUrl, operatorCa } = await proxySettings();
  operator = { url: operatorUrl, ca: operatorCa };
});

async function exchange(agent: Agent, token: string): Promise<Exchange> {
  const { done, failed } = await agent.order<Exchange>("/exchange", { ...operator, token });
  if (done === undefined) throw new Error(JSON.stringify(failed));
  return done;
}

/** A real token for the proxy's audience, bound to the pod, as its kubelet makes one. */
async function proxyToken(namespace: string, pod: string): Promise<string> {
  const node = {
    user: `system:node:${await fieldOf(namespace, pod, "spec.nodeName")}`,
    groups: ["system:nodes", "system:authenticated"],
  };
  const asked = [
    "create",
    "token",
    "invoice-agent",
    "--audience",
    "chaperone.dev",
    "--bound-object-kind",
    "Pod",
    "--bound-object-name",
    pod,
    "--bound-object-uid",
    await fieldOf(namespace, pod, "metadata.uid"),
    "--duration",
    "10m",
  ];
  return (await kubectl(["--namespace", namespace, ...asked], { as: node })).trim();
}

async function fieldOf(namespace: string, pod: string, field: string): Promise<string> {
  const args = ["--namespace", namespace, "get", "pod", pod, "-o", `jsonpath={.${field}}`];
  return await kubectl(args);
}

const tokenVolume = {
  name: "chaperone-token",
  projected: {
    sources: [{ serviceAccountToken: { audience: "chaperone.dev", path: "token" } }],
  },
};

/** Where our webhook and policies do not look: a pod that mounts the proxy's token into a container of its own, and wears the label. */
async function lookalike(
  t: TestContext,
  stem = "lookalike",
  changes: { readonly metadata?: KubeObject; readonly spec?: KubeObject } = {},
): Promise<Agent> {
  const namespace = "kube-system";
  const name = `e2e-${stem}-${Date.now()}`;
  const { metadata, spec } = agentPod(namespace, name);
  const [container] = values(asRecord(spec)["containers"]);
  await create({
    ...agentPod(namespace, name),
    metadata: { ...asRecord(metadata), ...changes.metadata },
    spec: {
      securityContext: asRecord(spec)["securityContext"],
      containers: [
        {
          ...asRecord(container),
          volumeMounts: [{ name: "chaperone-token", mountPath: "/token" }],
        },
      ],
      volumes: [tokenVolume],
      ...changes.spec,
    },
  });
  t.after(() => kubectl(["--namespace", namespace, "delete", "pod", name, "--wait=false"]));
  await ready(namespace, name);
  return await takingOrders(agentOf(namespace, name));
}

/** The proxy's container by hand: of its name, in its place, with its token, and with the agent's program in it. */
function byHand(): KubeObject {
  const [container] = values(asRecord(agentPod("", "")["spec"])["containers"]);
  return {
    initContainers: [
      {
        ...asRecord(container),
        name: "chaperone-proxy",
        restartPolicy: "Always",
        volumeMounts: [{ name: "chaperone-token", mountPath: "/token" }],
      },
    ],
    containers: [{ ...asRecord(container), name: "agent", command: ["sleep", "1d"] }],
  };
}

test("pods made to look injected get no grant for the real token that their kubelet gave them", async (t) => {
  const annotations = { "chaperone.dev/version": "0.1.0", "chaperone.dev/addresses": "{}" };
  const named = await lookalike(t, "named", { metadata: { annotations }, spec: byHand() });
  const mounting = await lookalike(t, "mounting", { metadata: { annotations } });
  const later = await lookalike(t, "later", { metadata: { labels: {} } });
  // Elsewhere an admission policy refuses this.
  await kubectl([
    "--namespace",
    "kube-system",
    "label",
    "pod",
    later.pod,
    "chaperone.dev/inject=true",
  ]);
  for (const [what, pod, message] of [
    ["a container of our name with another image", named, /none of this installation's/],
    ["another container that mounts the token", mounting, /only the proxy mounts its volumes/],
    ["a label that was added later", later, /has no annotation/],
  ] as const) {
    const { done: token = "" } = await pod.order<string>("/file", { url: "/token/token" });
    assert.match(token, /^ey/, what);
    const answer = await exchange(pod, token);
    t.diagnostic(`${what}: ${answer.reason}: ${answer.message}`);
    assert.equal(answer.granted, false, what);
    assert.equal(answer.reason, "PodNotInjected", what);
    assert.match(answer.message ?? "", message, what);
  }
});

test("stolen, foreign and false tokens get no grant, the reason is said, and the refusal is recorded", async (t) => {
  const world: World = await worldFor(t, "tokens");
  // Who was refused has no namespace of ours: such events are for those who audit the whole cluster.
  const auditor = await person(t, world.namespace, "anna", { everywhere: ["chaperone-auditor"] });
  const other = await lookalike(t);
  await world.sql("SELECT 1"); // the proxy's key is bound to its pod by now

  const own = await exec(
    world.namespace,
    "agent",
    "agent",
    "cat",
    "/var/run/secrets/kubernetes.io/serviceaccount/token",
  );
  const cases: readonly (readonly [string, Agent, string, RegExp])[] = [
    ["the agent's own token, for another audience", world, own, /^WrongAudience$/],
    ["no token at all", world, "not-a-token", /^TokenMalformed$/],
    [
      "one signed by somebody else",
      world,
      forged(own),
      /^Token(Unverified|Rejected|Signature|KeyUnknown)/,
    ],
    [
      "the proxy's own token, from another pod",
      other,
      await proxyToken(world.namespace, "agent"),
      /^PeerAddressMismatch$/,
    ],
    [
      "the proxy's own token, from the agent beside it",
      world,
      await proxyToken(world.namespace, "agent"),
      /Key/,
    ],
    [
      "a real token of a pod that only looks injected",
      other,
      await exec("kube-system", other.pod, "agent", "cat", "/token/token"),
      /^PodNotInjected$/,
    ],
  ];
  for (const [what, from, token, reason] of cases) {
    const answer = await exchange(from, token);
    t.diagnostic(`${what}: ${answer.reason}: ${answer.message}`);
    assert.equal(answer.granted, false, what);
    assert.match(answer.reason ?? "", reason, what);
    assert.ok(!(answer.message ?? "").includes(token), what);
  }
  assert.equal((await world.sql("SELECT 1")).rowCount, 1);
  await until("the refusals to be recorded", soonMs, async () => {
    const events = await auditor.chaperone("events", "--type", "error", "-o", "json");
    return events.includes("PeerAddressMismatch");
  });
});

/** The same claims under a key of our own. */
function forged(token: string): string {
  const [header = "", body = ""] = token.split(".");
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const claims = {
    ...JSON.parse(Buffer.from(body, "base64url").toString("utf8")),
    aud: ["chaperone.dev"],
  };
  const text = `${header}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}`;
  return `${text}.${sign("sha256", Buffer.from(text), privateKey).toString("base64url")}`;
}
