// `make chart`: keeps the chart's CRDs those of crds/, lints the chart, renders it in several ways and looks at what comes out. `--check` writes nothing.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { command, main, reporter, step, succeeds } from "../test/cluster/command.ts";
import { syncChartCrds } from "./chart-crds.ts";
import { readConfig, VERSIONS } from "../test/cluster/config.ts";
import {
  fieldAt,
  isJsonObject,
  listAt,
  textAt,
  type JsonObject,
} from "../operator/kube/objects.ts";

const root = join(import.meta.dirname, "..");
const chart = join(root, "charts/chaperone");
const source = join(root, "crds");
const namespace = "chaperone-system";

type Helm = (...args: readonly string[]) => Promise<string>;

/** The cluster's own, or one from the PATH. */
async function findHelm(): Promise<Helm> {
  const built = join(readConfig().binLink, "helm");
  const program = existsSync(built) ? built : "helm";
  if (!(await succeeds(program, ["version"])))
    throw new Error(
      "helm is not installed; put it on the PATH, or let make cluster build it, and run make chart again",
    );
  return (...args) => command(program, args);
}

async function rendered(
  helm: Helm,
  ...settings: readonly string[]
): Promise<readonly JsonObject[]> {
  const flags = settings.flatMap((setting) => ["--set", setting]);
  const version = ["--kube-version", VERSIONS.kubernetes.slice(1)];
  const text = await helm(
    "template",
    "chaperone",
    chart,
    "--namespace",
    namespace,
    ...version,
    ...flags,
  );
  return parseAllDocuments(text)
    .map((document): unknown => document.toJS())
    .filter(isJsonObject);
}

function one(objects: readonly JsonObject[], kind: string, name?: string): JsonObject {
  const found = objects.filter(
    (object) =>
      object["kind"] === kind &&
      (name === undefined || textAt(object, "metadata", "name") === name),
  );
  assert.equal(found.length, 1, `${found.length} of ${kind} ${name ?? ""}`);
  return found[0] ?? {};
}

function kinds(objects: readonly JsonObject[], kind: string): readonly JsonObject[] {
  return objects.filter((object) => object["kind"] === kind);
}

type Check = (helm: Helm) => Promise<void>;

const checks: Readonly<Record<string, Check>> = {
  "the operator's pod satisfies PodSecurity restricted": async (helm) => {
    const spec = fieldAt(one(await rendered(helm), "Deployment"), "spec", "template", "spec");
    assert.equal(fieldAt(spec, "securityContext", "runAsNonRoot"), true);
    assert.equal(fieldAt(spec, "securityContext", "seccompProfile", "type"), "RuntimeDefault");
    for (const container of listAt(spec, "containers")) {
      const context = fieldAt(container, "securityContext");
      assert.equal(fieldAt(context, "allowPrivilegeEscalation"), false);
      assert.equal(fieldAt(context, "readOnlyRootFilesystem"), true);
      assert.deepEqual(fieldAt(context, "capabilities", "drop"), ["ALL"]);
    }
  },
  "one replica that never overlaps with its successor": async (helm) => {
    const { spec } = one(await rendered(helm), "Deployment");
    assert.equal(fieldAt(spec, "replicas"), 1);
    assert.equal(fieldAt(spec, "strategy", "type"), "Recreate");
  },
  "Secrets of the cluster are only got, and only two named ones are written": async (helm) => {
    const objects = await rendered(helm);
    const cluster = listAt(one(objects, "ClusterRole", "chaperone-operator"), "rules");
    const own = listAt(one(objects, "Role", "chaperone-operator"), "rules");
    const onSecrets = (rules: readonly unknown[]): readonly unknown[] =>
      rules.filter((rule) => listAt(rule, "resources").includes("secrets"));
    assert.deepEqual(
      onSecrets(cluster).map((rule) => fieldAt(rule, "verbs")),
      [["get"]],
    );
    assert.deepEqual(
      onSecrets(own).map((rule) => fieldAt(rule, "resourceNames")),
      [["chaperone-ca", "chaperone-keys"]],
    );
    for (const rule of [...cluster, ...own])
      assert.ok(!JSON.stringify(rule).includes('"*"'), `a wildcard in ${JSON.stringify(rule)}`);
  },
  "no role of ours is aggregated to those of Kubernetes": async (helm) => {
    assert.doesNotMatch(JSON.stringify(await rendered(helm)), /aggregate-to/);
  },
  "webhooks fail closed, for labelled pods, outside the namespaces that must start without us":
    async (helm) => {
      const objects = await rendered(helm);
      for (const kind of ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"])
        for (const webhook of listAt(one(objects, kind), "webhooks")) {
          // The brake works whatever becomes of us; and so do port-forwards of pods that never asked for a proxy.
          const isOpen = /^(quarantines|port-forward)\./.test(textAt(webhook, "name") ?? "");
          assert.equal(fieldAt(webhook, "failurePolicy"), isOpen ? "Ignore" : "Fail");
          assert.equal(fieldAt(webhook, "sideEffects"), "None");
          assert.equal(fieldAt(webhook, "timeoutSeconds"), 5);
        }
      const pods = listAt(one(objects, "MutatingWebhookConfiguration"), "webhooks")[0];
      assert.deepEqual(fieldAt(pods, "objectSelector", "matchLabels"), {
        "chaperone.dev/inject": "true",
      });
      const [excluded] = listAt(pods, "namespaceSelector", "matchExpressions");
      assert.ok(listAt(excluded, "values").includes("kube-system"));
      assert.ok(listAt(excluded, "values").includes(namespace));
    },
  "workloads reach us only when their pods ask, and never for what Kubernetes' own controllers do":
    async (helm) => {
      const webhooks = listAt(
        one(await rendered(helm), "MutatingWebhookConfiguration"),
        "webhooks",
      );
      const webhook = webhooks.find((found) => textAt(found, "name") === "workloads.chaperone.dev");
      const conditions = listAt(webhook, "matchConditions").map((found) =>
        textAt(found, "expression"),
      );
      assert.equal(conditions.length, 2);
      assert.match(
        conditions.join(" "),
        /system:serviceaccount:kube-system:.*chaperone\.dev\/inject/s,
      );
      assert.ok(JSON.stringify(webhook).includes("kube-public"), "outside excluded namespaces");
    },
  "every admission policy is bound and denies": async (helm) => {
    const objects = await rendered(helm);
    const policies = kinds(objects, "ValidatingAdmissionPolicy");
    const bound = kinds(objects, "ValidatingAdmissionPolicyBinding");
    assert.equal(policies.length, 9);
    for (const policy of policies) {
      assert.equal(fieldAt(policy, "spec", "failurePolicy"), "Fail");
      const name = textAt(policy, "metadata", "name");
      const binding = bound.find((one_) => textAt(one_, "spec", "policyName") === name);
      assert.deepEqual(fieldAt(binding, "spec", "validationActions"), ["Deny", "Audit"]);
    }
  },
  "a redirected pod is admitted with our three containers alone, of this installation's images":
    async (helm) => {
      const objects = await rendered(helm, "proxy.earlierImages[0]=old:1", "proxy.uid=70000");
      const text = JSON.stringify(one(objects, "ValidatingAdmissionPolicy", "chaperone-injected"));
      for (const expected of [
        "c.image in ['ghcr.io/chaperone-dev/proxy:0.1.0', 'old:1']",
        "variables.init[0].name == 'chaperone-init' && variables.init[1].name == 'chaperone-proxy' && variables.init[2].name == 'chaperone-verify'",
        "c.securityContext.runAsUser == 70001",
      ])
        assert.ok(text.includes(expected), `${expected} is not in ${text}`);
    },
  "NetworkPolicies for agents come only where they are asked for, and belong to the role that lets them be written":
    async (helm) => {
      const without = JSON.stringify(await rendered(helm));
      assert.doesNotMatch(without, /networkpolicies|CHAPERONE_AGENT_EGRESS_OWNER/);
      const objects = await rendered(
        helm,
        "networkPolicy.agents=true",
        "networkPolicy.resolvers[0]=169.254.20.10",
      );
      const role = one(objects, "ClusterRole", "chaperone-operator-egress");
      assert.deepEqual(
        listAt(role, "rules").map((rule) => fieldAt(rule, "verbs")),
        [["create", "patch"], ["get"]],
      );
      one(objects, "ClusterRoleBinding", "chaperone-operator-egress");
      const deployment = JSON.stringify(one(objects, "Deployment"));
      assert.ok(
        deployment.includes('"CHAPERONE_AGENT_EGRESS_OWNER","value":"chaperone-operator-egress"'),
      );
      assert.ok(deployment.includes('"CHAPERONE_AGENT_RESOLVERS","value":"169.254.20.10"'));
    },
  "of pods the operator writes the status alone, and of that one condition": async (helm) => {
    const objects = await rendered(helm);
    const rules = listAt(one(objects, "ClusterRole", "chaperone-operator"), "rules").filter(
      (rule) => listAt(rule, "resources").some((name) => String(name).startsWith("pods")),
    );
    assert.deepEqual(
      rules.map((rule) => [fieldAt(rule, "resources"), fieldAt(rule, "verbs")]),
      [
        [["pods"], ["get", "list", "watch"]],
        [["pods/status"], ["patch"]],
      ],
    );
    const policy = one(objects, "ValidatingAdmissionPolicy", "chaperone-held");
    assert.equal(listAt(policy, "spec", "validations").length, 2);
    assert.equal(fieldAt(policy, "spec", "matchConstraints", "namespaceSelector"), undefined);
  },
  "each person's role holds what that person does, and nothing of another's": async (helm) => {
    const objects = await rendered(helm);
    const mayWrite = (role: string): readonly string[] =>
      listAt(one(objects, "ClusterRole", `chaperone-${role}`), "rules")
        .filter((rule) =>
          listAt(rule, "verbs").some((verb) => !["get", "list", "watch"].includes(String(verb))),
        )
        .flatMap((rule) => listAt(rule, "resources").map(String));
    assert.deepEqual(mayWrite("author"), ["connections", "accesspolicies"]);
    assert.deepEqual(mayWrite("cluster-author"), ["clusteraccesspolicies"]);
    assert.deepEqual(mayWrite("approver"), ["accesspolicies", "clusteraccesspolicies"]);
    assert.deepEqual(mayWrite("auditor"), []);
    assert.deepEqual(mayWrite("responder"), ["quarantines"]);
    const approving = listAt(one(objects, "ClusterRole", "chaperone-approver"), "rules").filter(
      (rule) => listAt(rule, "verbs").includes("approve"),
    );
    assert.deepEqual(
      approving.map((rule) => listAt(rule, "verbs")),
      [["approve"], ["get", "list", "watch", "approve"]],
    );
    for (const role of kinds(objects, "ClusterRole")) {
      const name = textAt(role, "metadata", "name") ?? "";
      const text = JSON.stringify(role["rules"]);
      assert.ok(name.endsWith("-operator") || !text.includes("/status"), `${name} writes a status`);
      assert.equal(role["aggregationRule"], undefined);
    }
    assert.equal(kinds(await rendered(helm, "roles.create=false"), "ClusterRole").length, 1);
  },
  "statuses and access requests are the operator's own, by the name of its service account": async (
    helm,
  ) => {
    const policy = one(
      await rendered(helm, "fullnameOverride=warden"),
      "ValidatingAdmissionPolicy",
      "warden-operator-only",
    );
    const text = JSON.stringify(policy);
    assert.ok(text.includes(`system:serviceaccount:${namespace}:warden`), text);
    assert.ok(text.includes('"*/status"'), text);
  },
  "a namespace that says so admits only injected pods, held without the operator": async (helm) => {
    const objects = await rendered(helm);
    for (const name of ["chaperone-required", "chaperone-required-closed"]) {
      const selector = fieldAt(
        one(objects, "ValidatingAdmissionPolicy", name),
        "spec",
        "matchConstraints",
        "namespaceSelector",
      );
      assert.deepEqual(fieldAt(selector, "matchLabels"), { "chaperone.dev/inject": "required" });
      assert.ok(JSON.stringify(selector).includes("kube-system"));
    }
  },
  "the CRDs are those of crds/, kept on uninstall unless told otherwise": async (helm) => {
    const installed = kinds(await rendered(helm), "CustomResourceDefinition");
    assert.equal(installed.length, 6);
    for (const crd of installed) {
      const plural = textAt(crd, "spec", "names", "singular") ?? "";
      const [own] = parseAllDocuments(await readFile(join(source, `${plural}.yaml`), "utf8"));
      assert.deepEqual(crd["spec"], fieldAt(own?.toJS(), "spec"));
      assert.equal(fieldAt(crd, "metadata", "annotations", "helm.sh/resource-policy"), "keep");
    }
    assert.equal(
      kinds(await rendered(helm, "crds.enabled=false"), "CustomResourceDefinition").length,
      0,
    );
    const [dropped] = kinds(await rendered(helm, "crds.keep=false"), "CustomResourceDefinition");
    assert.equal(fieldAt(dropped, "metadata", "annotations"), undefined);
  },
  "registry, tag, digest and pull secrets reach operator and proxy": async (helm) => {
    const digest = `sha256:${"a".repeat(64)}`;
    const text = JSON.stringify(
      one(
        await rendered(
          helm,
          "registry=mirror.example",
          "image.tag=t1",
          `proxy.image.digest=${digest}`,
          "imagePullSecrets[0].name=pull",
          "proxy.imagePullSecrets[0]=agents-pull",
          "proxy.earlierImages[0]=old:1",
        ),
        "Deployment",
      ),
    );
    for (const expected of [
      "mirror.example/chaperone-dev/operator:t1",
      `mirror.example/chaperone-dev/proxy@${digest}`,
      '"imagePullSecrets":[{"name":"pull"}]',
      '"agents-pull"',
      '"old:1"',
    ])
      assert.ok(text.includes(expected), `${expected} is not in the Deployment`);
  },
  "an existing claim is used instead of a new one": async (helm) => {
    const objects = await rendered(helm, "store.existingClaim=mine");
    assert.equal(kinds(objects, "PersistentVolumeClaim").length, 0);
    assert.ok(JSON.stringify(one(objects, "Deployment")).includes('"claimName":"mine"'));
  },
  "a node's agent is asked for: nothing of it is there otherwise, and the operator hears of it":
    async (helm) => {
      const plain = await rendered(helm);
      assert.equal(kinds(plain, "DaemonSet").length, 0);
      assert.equal(kinds(plain, "ServiceAccount").length, 1);
      const operatorSays = (objects: readonly JsonObject[], name: string): unknown =>
        listAt(
          listAt(one(objects, "Deployment"), "spec", "template", "spec", "containers")[0],
          "env",
        ).find((variable) => fieldAt(variable, "name") === name);
      assert.equal(fieldAt(operatorSays(plain, "CHAPERONE_NODE_RULES"), "value"), "false");
      assert.equal(fieldAt(operatorSays(plain, "CHAPERONE_REDIRECT_BY"), "value"), "init");
      const objects = await rendered(helm, "node.enabled=true", "redirect.by=node");
      assert.equal(fieldAt(operatorSays(objects, "CHAPERONE_NODE_RULES"), "value"), "true");
      assert.equal(fieldAt(operatorSays(objects, "CHAPERONE_REDIRECT_BY"), "value"), "node");
      await assert.rejects(rendered(helm, "redirect.by=node"), /set node\.enabled to true/);
    },
  "a node's agent has two capabilities, four folders of the node, one question to the API server, and no port":
    async (helm) => {
      const objects = await rendered(helm, "node.enabled=true");
      const { spec } = one(objects, "DaemonSet", "chaperone-node");
      const pod = fieldAt(spec, "template", "spec");
      assert.equal(fieldAt(pod, "hostPID"), undefined);
      assert.equal(fieldAt(pod, "hostIPC"), undefined);
      const [agent, ...more] = listAt(pod, "containers");
      assert.equal(more.length, 0);
      assert.equal(fieldAt(agent, "ports"), undefined);
      const context = fieldAt(agent, "securityContext");
      assert.deepEqual(fieldAt(context, "capabilities"), {
        drop: ["ALL"],
        add: ["SYS_ADMIN", "NET_ADMIN"],
      });
      assert.equal(fieldAt(context, "privileged"), false);
      assert.equal(fieldAt(context, "allowPrivilegeEscalation"), false);
      assert.equal(fieldAt(context, "readOnlyRootFilesystem"), true);
      assert.deepEqual(
        listAt(pod, "volumes").map((volume) => fieldAt(volume, "hostPath", "path")),
        ["/etc/cni/net.d", "/opt/cni/bin", "/var/run/netns", "/run/chaperone-node"],
      );
      assert.deepEqual(listAt(one(objects, "Role", "chaperone-node"), "rules"), [
        {
          apiGroups: ["apps"],
          resources: ["daemonsets"],
          resourceNames: ["chaperone-node"],
          verbs: ["get"],
        },
      ]);
      assert.equal(
        kinds(objects, "ClusterRoleBinding").filter((binding) =>
          JSON.stringify(binding).includes("chaperone-node"),
        ).length,
        0,
      );
      assert.equal(fieldAt(spec, "selector", "matchLabels", "app.kubernetes.io/component"), "node");
    },
  "unknown and wrong values are refused by the schema": async (helm) => {
    for (const wrong of [
      "replicas=2",
      "proxy.uid=0",
      "logLevel=loud",
      "image.digest=latest",
      "trust.extraCAs=none",
      "redirect.by=Istio",
      "node.mailboxDirectory=/run/my mail",
      "node.cni.confFile=../passwd",
    ])
      await assert.rejects(
        rendered(helm, wrong),
        /schema|Additional property|values don't meet/,
        wrong,
      );
  },
  "a Kubernetes older than 1.30 is refused": async (helm) => {
    await assert.rejects(
      helm("template", "chaperone", chart, "--kube-version", "1.29.0"),
      /kubeVersion/,
    );
  },
};

await main(async () => {
  const report = reporter(process.stdout);
  const isCheck = process.argv.includes("--check");
  const stale = await syncChartCrds(root, isCheck);
  if (isCheck && stale.length > 0)
    throw new Error(`${stale.join(", ")} out of date: run make chart and commit the result`);
  if (stale.length > 0) report(`wrote ${stale.join(", ")}`);
  const helm = await findHelm();
  await step(report, "helm lint", () => helm("lint", "--strict", chart));
  for (const [title, check] of Object.entries(checks)) await step(report, title, () => check(helm));
});
