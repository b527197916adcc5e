// What goes on beside serving: the status of our resources, and clearing away what is over.
import type { EventBody, EventType } from "../contract/event.ts";
import { createValidator } from "../crds/validate.ts";
import type { Api } from "./api/server.ts";
import type { OperatorConfig } from "./config.ts";
import { connectionController } from "./connections/controller.ts";
import type { Dialling } from "./connections/dialling.ts";
import { egressController } from "./egress/controller.ts";
import type { Closers, Foundations } from "./foundations.ts";
import type { Governing } from "./grants/govern.ts";
import type { WatchParts } from "./kube/collection.ts";
import type { Controller } from "./kube/controller.ts";
import { Janitor } from "./kube/janitor.ts";
import type { KubePeople } from "./kube/people.ts";
import type { KubeRequests } from "./kube/requests.ts";
import type { KubeView } from "./kube/view.ts";
import { clusterPolicyController } from "./policies/cluster-controller.ts";
import { interceptionOf } from "./injection/own-containers.ts";
import type { PodJudge } from "./pods/condition.ts";
import { podController } from "./pods/controller.ts";
import { judgeTier } from "./injection/tier.ts";
import type { TierOf } from "./policies/held.ts";
import { policyController } from "./policies/controller.ts";
import { quarantineController } from "./policies/quarantine-controller.ts";
import { Retention } from "./policies/retention.ts";

export interface UpkeepParts {
  readonly config: OperatorConfig;
  readonly foundations: Foundations;
  readonly dialling: Dialling;
  readonly watch: WatchParts;
  readonly view: KubeView;
  readonly requests: KubeRequests;
  readonly people: KubePeople;
  readonly api: Api;
  readonly judge: PodJudge;
  readonly record: (type: EventType, body: EventBody) => void;
  readonly problem: (event: string) => (error: unknown) => void;
}

/** Starts everything and returns the controllers, for their numbers. */
export function startUpkeep(parts: UpkeepParts, closers: Closers): readonly Controller[] {
  const controllers = statusControllers(parts);
  for (const controller of controllers) {
    closers.push(() => controller.close());
    controller.start();
  }
  const { foundations, view, requests, people, problem } = parts;
  const { now } = parts.watch;
  const janitor = new Janitor({
    client: foundations.client,
    sessions: () => people.collection.store.values(),
    requests: () => requests.collection.store.values(),
    now,
    onProblem: problem("sweep-failed"),
  });
  const retention = new Retention({
    db: foundations.store.db,
    policies: () => view.policies.store.values(),
    now,
    onPruned: (events) => parts.watch.log.debug({ events }, "pruned"),
    onProblem: problem("retention-failed"),
  });
  closers.push(
    () => janitor.close(),
    () => retention.close(),
  );
  janitor.start();
  retention.start();
  return controllers;
}

function statusControllers(parts: UpkeepParts): Controller[] {
  const { config, foundations, dialling, watch, view, api, record } = parts;
  const { client, keys } = foundations;
  const { now, random, log } = watch;
  const governing: Governing = {
    view,
    now,
    maskKey: (namespace) => keys.derive(`mask/${namespace}`).toString("base64url"),
    operatorNamespace: config.namespace,
  };
  const tierOf: TierOf = ({ namespace, pod: name, podUid }) => {
    const pod = view.pods.store.get(`${namespace}/${name}`);
    return pod?.metadata.uid === podUid && pod !== undefined
      ? judgeTier(pod, interceptionOf(pod) ?? "hosts", config.proxy.uid)
      : undefined;
  };
  const policies = {
    client,
    view,
    views: api.views,
    governing,
    tierOf,
    validator: createValidator(),
    random,
    log,
  };
  return [
    connectionController({
      client,
      view,
      now,
      random,
      log,
      ...dialling,
      leases: api.leases,
      tokens: api.tokens,
      activeGrants: (name) => api.live.activeOn(name),
    }),
    policyController(policies),
    clusterPolicyController(policies),
    podController({ client, view, judge: parts.judge, now, random, log }),
    ...(config.agentEgress === undefined
      ? []
      : [
          egressController({
            ...config.agentEgress,
            client,
            view,
            resolve: dialling.resolve,
            operatorNamespace: config.namespace,
            operatorPort: config.listen.apiPort,
            now,
            random,
            log,
          }),
        ]),
    quarantineController({
      client,
      view,
      views: api.views,
      operatorNamespace: config.namespace,
      now,
      log,
      record,
    }),
  ];
}
