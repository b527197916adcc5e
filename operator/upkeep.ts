// What goes on beside serving: the status of our resources, and clearing away what is over.
import { lookup } from "node:dns/promises";
import { rootCertificates } from "node:tls";
import type { EventBody, EventType } from "../contract/event.ts";
import { createValidator } from "../crds/validate.ts";
import type { Api } from "./api/server.ts";
import { serviceNames, type OperatorConfig } from "./config.ts";
import { connectionController } from "./connections/controller.ts";
import { OwnAddresses } from "./connections/own-addresses.ts";
import { openTimeoutMs, type Closers, type Foundations } from "./foundations.ts";
import type { Governing } from "./grants/govern.ts";
import type { WatchParts } from "./kube/collection.ts";
import type { Controller } from "./kube/controller.ts";
import { Janitor } from "./kube/janitor.ts";
import type { KubePeople } from "./kube/people.ts";
import type { KubeRequests } from "./kube/requests.ts";
import type { KubeView } from "./kube/view.ts";
import { policyController } from "./policies/controller.ts";
import { quarantineController } from "./policies/quarantine-controller.ts";
import { Retention } from "./policies/retention.ts";

export interface UpkeepParts {
  readonly config: OperatorConfig;
  readonly foundations: Foundations;
  readonly watch: WatchParts;
  readonly view: KubeView;
  readonly requests: KubeRequests;
  readonly people: KubePeople;
  readonly api: Api;
  readonly record: (type: EventType, body: EventBody) => void;
  readonly problem: (event: string) => (error: unknown) => void;
}

/** Starts everything and returns the controllers, for their numbers. */
export async function startUpkeep(
  parts: UpkeepParts,
  closers: Closers,
): Promise<readonly Controller[]> {
  const controllers = await statusControllers(parts, closers);
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

async function statusControllers(parts: UpkeepParts, closers: Closers): Promise<Controller[]> {
  const { config, foundations, watch, view, api, record, problem } = parts;
  const { client, keys } = foundations;
  const { now, random, log } = watch;
  const resolve = async (host: string): Promise<readonly string[]> =>
    (await lookup(host, { all: true })).map(({ address }) => address);
  const forbidden = await OwnAddresses.open(
    {
      client,
      resolve,
      known: ownNames(config, foundations.server),
      onProblem: problem("own-addresses-failed"),
    },
    AbortSignal.timeout(openTimeoutMs),
  );
  closers.push(() => forbidden.close());
  const governing: Governing = {
    view,
    now,
    maskKey: (namespace) => keys.derive(`mask/${namespace}`).toString("base64url"),
    operatorNamespace: config.namespace,
  };
  return [
    connectionController({
      client,
      view,
      now,
      random,
      log,
      forbidden,
      resolve,
      roots: config.extraCa === "" ? undefined : [...rootCertificates, config.extraCa].join("\n"),
      activeGrants: (name) => api.live.activeOn(name),
    }),
    policyController({
      client,
      view,
      views: api.views,
      governing,
      validator: createValidator(),
      random,
      log,
    }),
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

/** Whom no probe may dial, by name; own-addresses.ts finds out more. */
function ownNames(config: OperatorConfig, server: string): ReadonlyMap<string, string> {
  const names = new Map<string, string>([
    [new URL(server).hostname.replace(/^\[|\]$/g, ""), "the API server"],
    ["kubernetes.default.svc", "the API server"],
  ]);
  for (const name of serviceNames(config)) names.set(name, "the operator itself");
  if (config.podAddress !== undefined) names.set(config.podAddress, "the operator itself");
  return names;
}
