// The condition is written as a pod changes, once for each thing there is to say, and never taken away.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test, type TestContext } from "node:test";
import { KubeClient } from "../kube/client.ts";
import { fieldAt, readObject, textAt, type JsonObject, type KubeObject } from "../kube/objects.ts";
import { resourceTypes } from "../kube/resource-types.ts";
import { ObjectStore } from "../kube/store.ts";
import { podController } from "./controller.ts";

const now = Date.parse("2026-11-30T10:00:00Z");

interface Written {
  readonly url: string;
  readonly body: unknown;
}

/** An API server that takes every patch, and a way to wait for the next. */
async function apiServer(t: TestContext) {
  const written: Written[] = [];
  const waiting: (() => void)[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      written.push({
        url: `${request.method ?? ""} ${request.url ?? ""}`,
        body: JSON.parse(Buffer.concat(chunks).toString("utf8")),
      });
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
      for (const go of waiting.splice(0)) go();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const client = new KubeClient(
    { server: `http://127.0.0.1:${port}`, credentials: async () => ({ headers: {}, tls: {} }) },
    "test",
  );
  const after: (() => Promise<void>)[] = [];
  t.after(async () => {
    for (const close of after) await close();
    await client.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    client,
    written,
    /** Before the server is gone. */
    closing: (close: () => Promise<void>): void => void after.push(close),
    async writes(count: number): Promise<void> {
      while (written.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
    },
  };
}

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

function conditionIn(written: Written | undefined): unknown {
  return fieldAt(written?.body, "status", "conditions");
}

test("a pod that is there gets its condition, and again only when there is something else to say", async (t) => {
  const api = await apiServer(t);
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
  await api.writes(1);
  const [first] = api.written;
  assert.equal(
    first?.url,
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
  await api.writes(2);
  assert.ok(judged.looks > looksBefore);
  assert.equal(api.written.length, 2);
  const [second] = Object(conditionIn(api.written[1])) as JsonObject[];
  assert.equal(second?.["reason"], "NotInjected");
  assert.equal(second?.["lastTransitionTime"], "2026-11-30T10:00:00Z", "its status is the same");
});
