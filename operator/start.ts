// Puts the control plane of a cluster together, in the order in which its parts may begin, and takes it apart in the other.
import { pinStatus } from "./connections/pin-status.ts";
import { CompactSign } from "jose";
import type { Logger } from "pino";
import { ulid } from "ulid";
import type { EventBody, EventType } from "../contract/event.ts";
import { startApi, type Api } from "./api/server.ts";
import { barredFrom } from "./approvals/duties.ts";
import { createRecorder, type Recorder } from "./audit/record.ts";
import { sqlAccounts } from "./budgets/accounts.ts";
import { serviceNames, servicePort, type OperatorConfig } from "./config.ts";
import { openDialling, type Dialling } from "./connections/dialling.ts";
import { layFoundations, messageOf, type Closers, type Foundations } from "./foundations.ts";
import type { DatabaseAccess } from "./leases/admin.ts";
import { operatorMetrics, startHealth, type OperatorMetrics } from "./health.ts";
import { notInjected } from "./injection/injected.ts";
import { interceptionOf } from "./injection/own-containers.ts";
import type { InjectionSettings } from "./injection/settings.ts";
import { judgeTier } from "./injection/tier.ts";
import { createWebhookRoutes } from "./injection/webhook.ts";
import { accessReviewer } from "./kube/access.ts";
import type { WatchParts } from "./kube/collection.ts";
import type { Controller } from "./kube/controller.ts";
import { kubeIdentity } from "./kube/identity.ts";
import { KubePeople } from "./kube/people.ts";
import { KubeRequests } from "./kube/requests.ts";
import { KubeView } from "./kube/view.ts";
import type { PodJudge } from "./pods/condition.ts";
import { WebhookBundle } from "./pki/webhook-bundle.ts";
import { startUpkeep } from "./upkeep.ts";
import { startWebhooks } from "./webhooks.ts";

/** While the first lists are awaited: the API server, or the CRDs, may come later than we. */
const waitReportMs = 10_000;

export interface Operator {
  close(): Promise<void>;
}

export async function startOperator(
  config: OperatorConfig,
  version: string,
  logger: Logger,
): Promise<Operator> {
  const closers: Closers = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.toReversed())
      await close().catch((error: unknown) =>
        logger.warn({ event: "close-failed", error: messageOf(error) }),
      );
  };
  try {
    await assemble(config, version, logger, closers);
    return { close: closeAll };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function assemble(
  config: OperatorConfig,
  version: string,
  logger: Logger,
  closers: Closers,
): Promise<void> {
  const problem = (event: string) => (error: unknown) =>
    logger.error({ event, error: messageOf(error) });
  const foundations = await layFoundations(config, version, logger, closers);
  const { client, certificates, store } = foundations;
  const watch: WatchParts = { client, now: Date.now, random: Math.random, log: watchLog(logger) };

  const view = new KubeView(watch, config.namespace);
  const requests = new KubeRequests(watch);
  const access = accessReviewer(client);
  const people = new KubePeople(watch, access, config.namespace);
  closers.push(
    () => people.close(),
    () => requests.close(),
    () => view.close(),
  );
  const running: { api?: Api; controllers: readonly Controller[]; isReady: boolean } = {
    controllers: [],
    isReady: false,
  };
  const metrics = operatorMetrics((gauges) => collect(gauges, view, running));
  const health = await startHealth({
    host: config.listen.host,
    port: config.listen.healthPort,
    registry: metrics.registry,
    notReady: () => (running.isReady ? [] : ["the operator is starting", ...unlisted(view)]),
  });
  closers.push(() => health.close());
  const recorder = ownStream(config, foundations, problem("own-stream-failed"));
  closers.push(() => recorder.close());
  const record = counted(recorder, metrics);

  for (const watched of [view, requests, people]) watched.start();
  await reported(
    Promise.all([view.synced(), requests.collection.synced, people.collection.synced]),
    view,
    logger,
  );

  const dialling = await openDialling(
    config,
    foundations,
    problem("own-addresses-failed"),
    closers,
  );
  const settings = (): InjectionSettings => injectionSettings(config, version, foundations);
  const judge: PodJudge = {
    notInjected: (pod) => notInjected(pod, settings(), Date.now()),
    proxyUid: config.proxy.uid,
  };
  const api = await startApi({
    view,
    requests,
    pins: pinStatus(client, view),
    identity: kubeIdentity({
      client,
      pods: view.pods.store,
      now: Date.now,
      checksPeerAddress: config.checksPeerAddress,
      notInjected: judge.notInjected,
      tierOf: (pod) => judgeTier(pod, interceptionOf(pod) ?? "hosts", settings().uid),
    }),
    keys: foundations.keys,
    events: { ingest: (delivery) => store.ingest(delivery) },
    reader: foundations.reader,
    accounts: sqlAccounts(store.db),
    people,
    record,
    logger,
    now: Date.now,
    peersAreOwn: config.checksPeerAddress,
    listen: {
      tls: certificates.serving(),
      host: config.listen.host,
      port: config.listen.apiPort,
    },
    origins: serviceNames(config).map((name) => `https://${name}:${servicePort}`),
    operatorNamespace: config.namespace,
    isLocal: false,
    barred: async (request) =>
      barredFrom(
        {
          policiesIn: (namespace) => view.policiesIn(namespace),
          clusterPolicies: () => view.clusterPolicies(),
          pod: (key) => view.pods.store.get(key),
        },
        request,
      ),
    databases: { access: accessBy(dialling), podExists: (podUid) => view.hasPod(podUid) },
  });
  running.api = api;
  closers.push(() => api.close());
  view.onPodGone((podUid) => api.forgetPod(podUid));

  const webhooks = await startWebhooks({
    host: config.listen.host,
    port: config.listen.webhookPort,
    tls: certificates.serving(),
    logger,
    routes: createWebhookRoutes({
      settings,
      view,
      isSynced: () => true, // it does not listen before
      access,
      record,
      isInjected: (namespace, name) => view.pods.store.get(`${namespace}/${name}`) !== undefined,
      now: Date.now,
      onInjection: (decision) =>
        metrics.admissions.inc({
          result: decision.kind,
          reason: "reason" in decision ? decision.reason : "",
        }),
    }),
  });
  closers.push(() => webhooks.close());
  certificates.onRenewed((serving) => {
    api.replaceCertificate(serving);
    webhooks.replaceCertificate(serving);
    logger.info({ event: "certificate-renewed" });
  });
  // Only now: from here on the API server calls us.
  const bundle = new WebhookBundle({
    client,
    name: config.webhookConfiguration,
    bundle: () => certificates.bundle(),
    onProblem: problem("webhook-bundle-failed"),
  });
  await bundle.write();
  bundle.start();
  closers.push(() => bundle.close());

  running.controllers = startUpkeep(
    { config, foundations, dialling, watch, view, requests, people, api, judge, record, problem },
    closers,
  );
  running.isReady = true;
  logger.info({
    event: "ready",
    namespace: config.namespace,
    connections: view.connections.store.size,
    policies: view.policies.store.size,
    pods: view.pods.store.size,
  });
}

function accessBy({ resolve, forbidden, roots }: Dialling): DatabaseAccess {
  return { resolve, forbidden, ...(roots === undefined ? {} : { roots }) };
}

function injectionSettings(
  config: OperatorConfig,
  version: string,
  { certificates }: Foundations,
): InjectionSettings {
  const [name = ""] = serviceNames(config);
  return {
    ...config.proxy,
    version,
    operatorUrl: `https://${name}:${servicePort}`,
    operatorCa: certificates.bundle(),
    extraCa: config.extraCa,
    redirectBy: config.redirectBy,
    hasNodeRules: config.hasNodeRules,
    isIPv6Only: config.isIPv6Only,
  };
}

/** A new stream for every start: no process goes on with another's. */
function ownStream(
  config: OperatorConfig,
  { store, keys }: Foundations,
  onFailure: (error: unknown) => void,
): Recorder {
  return createRecorder({
    store,
    stream: `${config.namespace}/${config.pod}/${ulid()}`,
    sign: (hash) => {
      const { kid, key } = keys.signer();
      return new CompactSign(new TextEncoder().encode(hash))
        .setProtectedHeader({ alg: "EdDSA", kid })
        .sign(key);
    },
    onFailure,
  });
}

function counted(
  recorder: Recorder,
  metrics: OperatorMetrics,
): (type: EventType, body: EventBody) => void {
  return (type, body) => {
    metrics.events.inc({ type });
    if (type === "error") metrics.refusals.inc({ reason: body.error?.code ?? "" });
    recorder.record(type, body);
  };
}

function collect(
  gauges: OperatorMetrics,
  view: KubeView,
  running: { readonly api?: Api; readonly controllers: readonly Controller[] },
): void {
  for (const [kind, ageMs] of Object.entries(view.ages(Date.now())))
    if (ageMs !== undefined) gauges.watchAge.set({ kind }, ageMs / 1000);
  for (const { name, queue } of running.controllers)
    gauges.queueDepth.set({ controller: name }, queue.depth);
  gauges.streams.set(running.api?.hub.size ?? 0);
}

async function reported(waiting: Promise<unknown>, view: KubeView, logger: Logger): Promise<void> {
  const timer = setInterval(
    () => logger.warn({ event: "waiting-for-first-lists", missing: unlisted(view) }),
    waitReportMs,
  );
  try {
    await waiting;
  } finally {
    clearInterval(timer);
  }
}

function unlisted(view: KubeView): string[] {
  return Object.entries(view.ages(Date.now())).flatMap(([kind, ageMs]) =>
    ageMs === undefined ? [`${kind}: not listed yet`] : [],
  );
}

function watchLog(logger: Logger): WatchParts["log"] {
  return {
    debug: (details, event) => logger.debug({ event, ...details }),
    warn: (details, event) => logger.warn({ event, ...details }),
    error: (details, event) => logger.error({ event, ...details }),
  };
}
