// Injected pods as their condition `chaperone.dev/Held` tells of them, read with the person's own right to list pods.
import { knownHeld } from "../../operator/pods/condition.ts";
import {
  collectionPath,
  listAt,
  readObject,
  textAt,
  type KubeObject,
} from "../../operator/kube/objects.ts";
import { injectSelector, resourceTypes } from "../../operator/kube/resource-types.ts";
import type { PodRow } from "../backend.ts";
import { Failure } from "../exit.ts";
import { type ApiServer, refusal } from "./api-server.ts";
import type { Scope } from "./scope.ts";

const type = resourceTypes.Pod;

/** One page of the API server, a pod being some 10 KiB. */
const pageSize = 500;

/** Nobody reads more than 10,000 rows; a namespace is chosen before that. */
const maxPages = 20;

class Forbidden extends Failure {}

/** Of every namespace, or of the context's own when no more may be seen. */
export async function pods(server: ApiServer, scope: Scope): Promise<readonly PodRow[]> {
  return await scope.ask(
    (namespace) => podsIn(server, namespace),
    (error) => error instanceof Forbidden,
  );
}

async function podsIn(
  server: ApiServer,
  namespace: string | undefined,
): Promise<readonly PodRow[]> {
  const rows: PodRow[] = [];
  let next = "";
  for (let page = 0; page < maxPages; page += 1) {
    const query = new URLSearchParams({
      labelSelector: injectSelector,
      limit: String(pageSize),
      ...(next === "" ? {} : { continue: next }),
    });
    const path = `${collectionPath(type, namespace)}?${query.toString()}`;
    const answer = await server.call({ method: "GET", path });
    if (answer.status !== 200) {
      const failure = refusal("pods cannot be listed", answer, "ClusterRole view");
      throw answer.status === 403 ? new Forbidden(failure.message) : failure;
    }
    rows.push(...listAt(answer.body, "items").map((item) => podRow(readObject(item, type))));
    next = textAt(answer.body, "metadata", "continue") ?? "";
    if (next === "") return rows;
  }
  throw new Failure(
    `there are more than ${pageSize * maxPages} injected pods; look with kubectl get pods --selector ${injectSelector} in one namespace`,
  );
}

export function podRow(pod: KubeObject): PodRow {
  const { namespace = "", name } = pod.metadata;
  const phase = textAt(pod, "status", "phase") ?? "Unknown";
  const held = knownHeld(pod);
  return held === undefined
    ? {
        namespace,
        name,
        phase,
        held: "Unknown",
        tier: "Unknown",
        message: "nothing is proven yet: the pod is starting, or the operator is away",
      }
    : { namespace, name, phase, held: held.status, tier: held.reason, message: held.message };
}
