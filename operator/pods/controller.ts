// Keeps the condition `chaperone.dev/Held` of every injected pod true: at each change of the pod, and now and then, because what this
// installation trusts changes while pods live. It is never taken away.
import type { KubeClient } from "../kube/client.ts";
import { mergeConditions } from "../kube/conditions.ts";
import { spread } from "../kube/backoff.ts";
import { Controller, type ControllerLog } from "../kube/controller.ts";
import { resourceTypes } from "../kube/resource-types.ts";
import { applyStatus } from "../kube/status.ts";
import type { ObjectStore } from "../kube/store.ts";
import { knownHeld, podHeld, type PodJudge } from "./condition.ts";

/** Images and authorities of the installation change rarely, and a pod that no longer counts as injected is refused at once anyway. */
export const lookAgainMs = 10 * 60_000;

/** A look costs microseconds; writing waits for the API server. */
const workers = 2;

const fieldManager = "chaperone-pods";

export interface PodControllerOptions {
  readonly client: KubeClient;
  readonly view: { readonly pods: { readonly store: ObjectStore } };
  readonly judge: PodJudge;
  readonly now: () => number;
  readonly random: () => number;
  readonly log: ControllerLog;
}

export function podController(options: PodControllerOptions): Controller {
  const { client, view, judge, now, random } = options;
  const { store } = view.pods;
  const controller = new Controller({
    name: "pods",
    workers,
    log: options.log,
    async reconcile(key, signal) {
      const pod = store.get(key);
      if (pod === undefined) return {};
      const wanted = podHeld(pod, judge);
      if (wanted !== undefined) {
        const known = knownHeld(pod);
        const before = known === undefined ? [] : [known];
        await applyStatus(
          client,
          resourceTypes.Pod,
          { metadata: pod.metadata, status: { conditions: before } },
          { conditions: mergeConditions(before, [wanted], undefined, now()) },
          fieldManager,
          signal,
        );
      }
      return { requeueAfterMs: spread(lookAgainMs, random) };
    },
  });
  // What was listed before we began to listen.
  for (const { metadata } of store.values())
    controller.queue.add(`${metadata.namespace ?? ""}/${metadata.name}`);
  store.onChange(({ key, after }) => {
    if (after !== undefined) controller.queue.add(key);
  });
  return controller;
}
