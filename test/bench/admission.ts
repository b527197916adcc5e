// Our own work at the admission of a pod: from the bytes of the review to the bytes of the answer, without the network.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parse } from "yaml";
import { asPod, contextOf } from "../../operator/injection/fixture.ts";
import { inject } from "../../operator/injection/inject.ts";
import { readReview, reviewOf } from "../../operator/injection/review.ts";
import { markdown, percentile } from "./table.ts";
import type { Row } from "./table.ts";

const reviews = 3_000;
const warm = 300;
const goalMs = 5;

export async function admission(): Promise<Row[]> {
  const golden = join(import.meta.dirname, "../../operator/injection/golden/full.yaml");
  const pod: unknown = parse(await readFile(golden, "utf8"));
  const bytes = JSON.stringify({
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: {
      uid: "705ab4f5-6393-11e8-b7cc-42010a800002",
      kind: { group: "", version: "v1", kind: "Pod" },
      resource: { group: "", version: "v1", resource: "pods" },
      operation: "CREATE",
      namespace: "agents",
      userInfo: { username: "system:serviceaccount:kube-system:replicaset-controller" },
      object: pod,
    },
  });
  const context = contextOf();
  const spent: number[] = [];
  for (let review = -warm; review < reviews; review += 1) {
    const started = performance.now();
    const request = readReview(JSON.parse(bytes));
    if (request === undefined) throw new Error("the review is not one");
    const decision = inject(asPod(request.object), context);
    if (decision.kind !== "patch" || decision.patch.length === 0)
      throw new Error(`the pod was not injected: ${decision.kind}`);
    const { patch, warnings } = decision;
    JSON.stringify(reviewOf(request.uid, { allowed: true, patch, warnings }));
    if (review >= 0) spent.push(performance.now() - started);
  }
  const p99 = percentile(spent, 0.99);
  return [
    {
      what: "admission of one pod with sidecars, our own work",
      measured: `p50 ${percentile(spent, 0.5).toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`,
      ratio: "",
      floor: "",
      goal: `p99 ${goalMs} ms`,
      verdict: p99 < goalMs ? "goal met" : "goal missed",
    },
  ];
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  process.stdout.write(markdown(await admission()));
