// What the installed operator writes into pods, read from the cluster, and the operator itself: away, and back.
import type { TestContext } from "node:test";
import { defaultProxyUid, type InjectionSettings } from "../../operator/injection/settings.ts";
import { until } from "../cluster/command.ts";
import {
  dryRun,
  get,
  kubectl,
  list,
  operatorNamespace,
  podTimeoutMs,
  soonMs,
  type KubeObject,
} from "./cluster.ts";
import { asRecord, spec, values } from "./read.ts";
import { agentPod } from "./world.ts";

export async function proxySettings(): Promise<InjectionSettings> {
  const deployment = await get(operatorNamespace, "deployment", "chaperone");
  const containers = values(spec(asRecord(spec(deployment)["template"]))["containers"]);
  const env = new Map(
    values(asRecord(containers[0])["env"]).map((entry) => {
      const { name, value } = asRecord(entry);
      return [String(name), typeof value === "string" ? value : ""];
    }),
  );
  const configuration = JSON.parse(
    await kubectl(["get", "mutatingwebhookconfiguration", "chaperone", "-o", "json"]),
  ) as { readonly webhooks: readonly { readonly clientConfig: { readonly caBundle: string } }[] };
  return {
    version: "0.1.0",
    image: env.get("CHAPERONE_PROXY_IMAGE") ?? "",
    earlierImages: [],
    imagePullPolicy: "IfNotPresent",
    imagePullSecrets: [],
    operatorUrl: `https://chaperone.${operatorNamespace}.svc:8443`,
    operatorCa: Buffer.from(
      configuration.webhooks[0]?.clientConfig.caBundle ?? "",
      "base64",
    ).toString("utf8"),
    extraCa: "",
    uid: defaultProxyUid,
    redirectBy: "init",
    hasNodeRules: true,
    isIPv6Only: false,
  };
}

/** For a namespace of its own, the API server asks nobody to inject until the test is over; admission policies hold what they hold. */
export async function webhookSleeps(t: TestContext, namespace: string): Promise<void> {
  const configuration = "mutatingwebhookconfiguration/chaperone";
  const at = "/webhooks/0/matchConditions";
  const condition = {
    name: `asleep-${namespace}`,
    expression: `request.namespace != '${namespace}'`,
  };
  const patch = (...operations: readonly KubeObject[]): Promise<string> =>
    kubectl(["patch", configuration, "--type=json", "--patch", JSON.stringify(operations)]);
  await patch({ op: "add", path: `${at}/-`, value: condition });
  t.after(async () => {
    // Others may sleep and wake up at the same time.
    await until("the webhook to be awake", soonMs, async () => {
      const { webhooks } = JSON.parse(await kubectl(["get", configuration, "-o", "json"])) as {
        readonly webhooks: readonly { readonly matchConditions: readonly { name: string }[] }[];
      };
      const path = `${at}/${webhooks[0]?.matchConditions.findIndex(({ name }) => name === condition.name)}`;
      await patch(
        { op: "test", path: `${path}/name`, value: condition.name },
        { op: "remove", path },
      );
      return true;
    });
  });
  // The API server takes up a webhook's change within moments.
  await until("the webhook to be asleep", soonMs, async () => {
    const pod = agentPod(namespace, "asleep", { serviceAccountName: "default" });
    const said = await dryRun(pod).then(() => "", String);
    return said.includes("has no proxy");
  });
}

export async function operatorAway(): Promise<void> {
  await scale(0);
  await until(
    "the operator to be gone",
    podTimeoutMs,
    async () =>
      (await list(operatorNamespace, "pods", "app.kubernetes.io/component=operator")).length === 0,
  );
}

export async function operatorBack(): Promise<void> {
  await scale(1);
  await kubectl(
    [
      "--namespace",
      operatorNamespace,
      "rollout",
      "status",
      "deployment/chaperone",
      `--timeout=${podTimeoutMs / 1000}s`,
    ],
    { timeoutMs: podTimeoutMs + 10_000 },
  );
  // Behind the Service too: the rules of the node follow the endpoints a moment later.
  await until("the webhook to answer", soonMs, async () => {
    const review = {
      apiVersion: "chaperone.dev/v1alpha1",
      kind: "AccessPolicy",
      metadata: { name: "probe", namespace: "default" },
      spec: { targetRefs: [{ name: "x" }] },
    };
    await kubectl(["create", "--dry-run=server", "-f", "-"], { input: JSON.stringify(review) });
    return true;
  });
}

async function scale(replicas: number): Promise<void> {
  await kubectl([
    "--namespace",
    operatorNamespace,
    "scale",
    "deployment/chaperone",
    `--replicas=${replicas}`,
  ]);
}
