// The operator away: pods that asked for it are not admitted without it, everybody else goes on.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { kubectl, create, dryRun, namespaceOf, refusedBy, type KubeObject } from "./cluster.ts";
import { operatorAway, operatorBack } from "./installation.ts";
import { asRecord } from "./read.ts";
import { agentPod } from "./world.ts";

const namespace = "e2e-admit-down";

before(async () => {
  await namespaceOf(namespace, "restricted");
  await create({
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name: "invoice-agent", namespace },
  });
  await operatorAway();
});
after(async () => {
  await operatorBack();
  await kubectl(["delete", "namespace", namespace, "--wait=false"]);
});

test("a labelled pod is refused while the webhook is down", async () => {
  const said = await refusedBy(dryRun(agentPod(namespace, "agent")));
  assert.match(said, /failed calling webhook "pods\.chaperone\.dev"/);
});

test("a pod without the label, a label on it, and every other object are not affected", async () => {
  const { metadata, ...pod } = agentPod(namespace, "plain");
  const { labels: _, ...unlabelled } = asRecord(metadata);
  await create({ ...pod, metadata: unlabelled });
  await kubectl(["--namespace", namespace, "label", "pod", "plain", "team=data"]);
  await kubectl(["--namespace", namespace, "delete", "pod", "plain", "--wait=false"]);
  await create({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "any", namespace } });
});

test("workloads whose pods did not ask are made and changed, and those that did wait for who deploys them to be known", async () => {
  const workload = (kind: string, name: string, labels: KubeObject): KubeObject => {
    const template = {
      metadata: { labels: { app: name, ...labels } },
      spec: { restartPolicy: "OnFailure", containers: [{ name: "x", image: "x:1" }] },
    };
    const always = { ...template, spec: { ...template.spec, restartPolicy: "Always" } };
    const selector = { matchLabels: { app: name } };
    return {
      apiVersion: kind.endsWith("Job") ? "batch/v1" : "apps/v1",
      kind,
      metadata: { name, namespace },
      spec:
        kind === "CronJob"
          ? { schedule: "0 0 1 1 *", jobTemplate: { spec: { template } } }
          : kind === "Job"
            ? { suspend: true, template }
            : {
                selector,
                template: always,
                ...(kind === "StatefulSet" && { serviceName: name }),
                ...(kind !== "DaemonSet" && { replicas: 0 }),
              },
    };
  };
  const kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"];
  // The API server knocks for seconds before it refuses: all at once.
  await Promise.all(
    kinds.map(async (kind) => {
      await dryRun(workload(kind, "plain", {}));
      const asking = workload(kind, "asking", { "chaperone.dev/inject": "true" });
      assert.match(await refusedBy(dryRun(asking)), /failed calling webhook "workloads/, kind);
    }),
  );
  await create(workload("Deployment", "plain", {}));
  await kubectl(["--namespace", namespace, "label", "deployment", "plain", "team=data"]);
});

test("an injected pod can be deleted, and the label cannot be put on a pod that lives", async () => {
  const { metadata, ...pod } = agentPod(namespace, "later");
  const { labels: _, ...unlabelled } = asRecord(metadata);
  await create({ ...pod, metadata: unlabelled });
  const labelled = kubectl([
    "--namespace",
    namespace,
    "label",
    "pod",
    "later",
    "chaperone.dev/inject=true",
  ]);
  assert.match(await refusedBy(labelled), /counts when a pod is created/);
});

test("a quarantine can be ordered all the same: it acts when the operator is back", async () => {
  await create({
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "Quarantine",
    metadata: { name: "while-away", namespace },
    spec: { reason: "seen while the operator is away", subjects: [{ serviceAccounts: ["x"] }] },
  });
  const malformed = create({
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "Quarantine",
    metadata: { name: "malformed", namespace },
    spec: {},
  });
  assert.match(await refusedBy(malformed), /spec\.reason/);
});
