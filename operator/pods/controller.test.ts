// The condition is written as a pod changes, once for each thing there is to say, and never taken away.
import assert from "node:assert/strict";
import { test } from "node:test";
import { answeringApi, type Sent } from "../kube/answering-api.ts";
import { fieldAt, readObject, textAt, type JsonObject, type KubeObject } from "../kube/objects.ts";
import { resourceTypes } from "../kube/resource-types.ts";
import { ObjectStore } from "../kube/store.ts";
import { podController } from "./controller.ts";

const now = Date.parse("2026-11-30T10:00:00Z");

function podAt(version: number, status: JsonObject = {}): KubeObject {
  return readObject(
    {
      metadata: {
        name: "agent",
        namespace: "agents",
        uid: "uid-1",
        resourceVersion: String(version),
        labels: { "chaperone.dev/inject": "true" },
      },
      spec: { containers: [{ name: "agent" }] },
      status: { phase: "Running", ...status },
    },
    resourceTypes.Pod,
  );
}

function conditionIn(written: Sent | undefined): unknown {
  return fieldAt(written?.body, "status", "conditions");
}

test("a pod that is there gets its condition, and again only when there is something else to say", async (t) => {
  const api = await answeringApi(t);
  const store = new ObjectStore<KubeObject>({}, (error) => assert.fail(String(error)));
  store.put(podAt(1));
  const judged = { why: undefined as string | undefined, looks: 0 };
  const controller = podController({
    client: api.client,
    view: { pods: { store } },
    judge: {
      notInjected: () => {
        judged.looks += 1;
        return judged.why;
      },
      proxyUid: 64_535,
    },
    now: () => now,
    random: () => 0.5,
    log: { warn: (details, event) => assert.fail(`${event} ${JSON.stringify(details)}`) },
  });
  api.closing(() => controller.close());
  controller.start();
  const [first] = await api.patched(1);
  assert.equal(
    first?.call,
    "PATCH /api/v1/namespaces/agents/pods/agent/status?fieldManager=chaperone-pods&force=true",
  );
  assert.equal(textAt(first?.body, "metadata", "uid"), "uid-1");
  const [condition] = Object(conditionIn(first)) as JsonObject[];
  assert.deepEqual(
    [condition?.["type"], condition?.["status"], condition?.["reason"]],
    ["chaperone.dev/Held", "False", "Cooperative"],
  );

  // The API server's answer comes back over the watch, and says nothing new; nor does the kubelet's.
  const stored = { ...condition, lastProbeTime: null, lastTransitionTime: "2026-11-30T10:00:00Z" };
  const looksBefore = judged.looks;
  store.put(podAt(2, { conditions: [stored] }));
  store.put(podAt(3, { conditions: [{ type: "Ready", status: "True" }, stored] }));
  judged.why = "it has another image";
  store.put(podAt(4, { conditions: [stored] }));
  const [, last, ...more] = await api.patched(2);
  assert.ok(judged.looks > looksBefore);
  assert.deepEqual(more, []);
  const [second] = Object(conditionIn(last)) as JsonObject[];
  assert.equal(second?.["reason"], "NotInjected");
  assert.equal(second?.["lastTransitionTime"], "2026-11-30T10:00:00Z", "its status is the same");
});
