// Keeps every AccessPolicy's status true as targets, neighbours and proxies change.
import type { Validator } from "../../crds/validate.ts";
import type { ProxyViews } from "../api/views.ts";
import { govern, type Governing } from "../grants/govern.ts";
import type { KubeClient } from "../kube/client.ts";
import { spread } from "../kube/backoff.ts";
import { Controller, type ControllerLog } from "../kube/controller.ts";
import { resourceTypes } from "../kube/resource-types.ts";
import { applyStatus } from "../kube/status.ts";
import type { KubeView } from "../kube/view.ts";
import { enforcement } from "./enforcement.ts";
import { heldPods, type TierOf } from "./held.ts";
import { policyStatus } from "./status.ts";

/** How old the count gets where nothing changes: the age of the oldest view is part of it. */
export const countAgainMs = 15_000;

/** After a change proxies take it up within a second, and say so one by one: they are counted together. */
export const countSoonMs = 1_500;

const workers = 2;

const fieldManager = "chaperone-policies";

export interface PolicyControllerOptions {
  readonly client: KubeClient;
  readonly view: KubeView;
  readonly views: Pick<ProxyViews, "list" | "onChange">;
  readonly governing: Governing;
  readonly tierOf: TierOf;
  readonly validator: Validator;
  readonly random: () => number;
  readonly log: ControllerLog;
}

export function policyController(options: PolicyControllerOptions): Controller {
  const { client, view, governing, random } = options;
  const controller = new Controller({
    name: "policies",
    workers,
    log: options.log,
    async reconcile(key, signal) {
      const [namespace = ""] = key.split("/");
      const policy = view.policies.store.get(key);
      if (policy === undefined) return {};
      const views = options.views.list();
      const counted = enforcement(policy, views, (subject, connection) => {
        const governed = govern(governing, subject, undefined, connection);
        return "refused" in governed ? undefined : governed.bundle.generation;
      });
      const status = policyStatus({
        policy,
        connections: view.connectionsIn(namespace),
        policies: view.policiesIn(namespace),
        clusterPolicies: view.clusterPolicies(),
        problems: options.validator.validate("AccessPolicy", policy),
        enforcement: counted,
        pods: heldPods(policy, views, options.tierOf),
        now: governing.now(),
      });
      await applyStatus(
        client,
        resourceTypes.AccessPolicy,
        policy,
        { ...status },
        fieldManager,
        signal,
      );
      const waits = counted.current < counted.proxies;
      return {
        requeueAfterMs: spread(waits ? countSoonMs : countAgainMs, random),
      };
    },
  });

  // What was listed before we began to listen.
  for (const { metadata } of view.policies.store.values())
    controller.queue.add(`${metadata.namespace}/${metadata.name}`);
  // Targets and neighbours are of the same namespace.
  view.onChange(({ kind, namespace }) => {
    if (kind === "ClusterAccessPolicy")
      for (const { metadata } of view.policies.store.values())
        controller.queue.add(`${metadata.namespace}/${metadata.name}`);
    if (kind !== "Connection" && kind !== "AccessPolicy") return;
    for (const { metadata } of view.policiesIn(namespace))
      controller.queue.add(`${namespace}/${metadata.name}`);
  });
  options.views.onChange((namespaces) => {
    for (const namespace of namespaces)
      for (const { metadata } of view.policiesIn(namespace))
        controller.queue.addAfter(`${namespace}/${metadata.name}`, spread(countSoonMs, random));
  });
  return controller;
}
