// Keeps every ClusterAccessPolicy's status true as proxies come, go and take it up.
import { govern } from "../grants/govern.ts";
import { spread } from "../kube/backoff.ts";
import { Controller } from "../kube/controller.ts";
import { resourceTypes } from "../kube/resource-types.ts";
import { applyStatus } from "../kube/status.ts";
import { countAgainMs, countSoonMs, type PolicyControllerOptions } from "./controller.ts";
import { clusterEnforcement } from "./enforcement.ts";
import { clusterPolicyStatus } from "./status.ts";

const fieldManager = "chaperone-policies";

export function clusterPolicyController(options: PolicyControllerOptions): Controller {
  const { client, view, governing, random } = options;
  const controller = new Controller({
    name: "cluster-policies",
    workers: 1,
    log: options.log,
    async reconcile(key, signal) {
      const policy = view.restrictions.store.get(key);
      if (policy === undefined) return {};
      const enforcement = clusterEnforcement(
        policy,
        options.views.list(),
        (subject, connection) => {
          const governed = govern(governing, subject, undefined, connection);
          return "refused" in governed ? undefined : governed.bundle.generation;
        },
      );
      const status = clusterPolicyStatus({
        policy,
        problems: options.validator.validate("ClusterAccessPolicy", policy),
        enforcement,
        now: governing.now(),
      });
      await applyStatus(
        client,
        resourceTypes.ClusterAccessPolicy,
        policy,
        { ...status },
        fieldManager,
        signal,
      );
      const waits = enforcement.current < enforcement.proxies;
      return {
        requeueAfterMs: spread(waits ? countSoonMs : countAgainMs, random),
      };
    },
  });
  for (const { metadata } of view.restrictions.store.values()) controller.queue.add(metadata.name);
  view.onChange(({ kind, name }) => {
    if (kind === "ClusterAccessPolicy") controller.queue.add(name);
  });
  options.views.onChange(() => {
    for (const { metadata } of view.clusterPolicies())
      controller.queue.addAfter(metadata.name, spread(countSoonMs, random));
  });
  return controller;
}
