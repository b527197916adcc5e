// Puts the control plane of a cluster together, in the order in which its parts may begin, and takes it apart in the other.
import { lookup } from "node:dns/promises";
import { rootCertificates } from "node:tls";
import { CompactSign } from "jose";
import type { Logger } from "pino";
import { ulid } from "ulid";
import { createValidator } from "../crds/validate.ts";
import type { EventBody, EventType } from "../contract/event.ts";
import { startApi, type Api } from "./api/server.ts";
import { openReader } from "./audit/reader.ts";
import { createRecorder, type Recorder } from "./audit/record.ts";
import { openStore, type AuditStore } from "./audit/store.ts";
import { serviceNames, servicePort, type OperatorConfig } from "./config.ts";
import { connectionController } from "./connections/controller.ts";
import { OwnAddresses } from "./connections/own-addresses.ts";
import type { Governing } from "./grants/govern.ts";
import { SigningKeys } from "./grants/keys.ts";
import { operatorMetrics, startHealth, type OperatorMetrics } from "./health.ts";
import { notInjected } from "./injection/injected.ts";
import type { InjectionSettings } from "./injection/settings.ts";
import { createWebhookRoutes } from "./injection/webhook.ts";
import { accessReviewer, missingRights, whoAmI } from "./kube/access.ts";
import { KubeClient } from "./kube/client.ts";
import type { WatchParts } from "./kube/collection.ts";
import type { Controller } from "./kube/controller.ts";
import { kubeIdentity } from "./kube/identity.ts";
import { Janitor } from "./kube/janitor.ts";
import { kubeConnection } from "./kube/kube-config.ts";
import { KubePeople } from "./kube/people.ts";
import { KubeRequests } from "./kube/requests.ts";
import { neededRights } from "./kube/rights.ts";
import { KubeView } from "./kube/view.ts";
import { Certificates } from "./pki/certificates.ts";
import { keySecretStore } from "./pki/key-secret.ts";
import { NamedSecret } from "./pki/named-secret.ts";
import { WebhookBundle } from "./pki/webhook-bundle.ts";
import { policyController } from "./policies/controller.ts";
import { quarantineController } from "./policies/quarantine-controller.ts";
import { Retention } from "./policies/retention.ts";
import { startWebhooks } from "./webhooks.ts";

/** What must be there before anything can begin: the API server, our Secrets, our store. */
const openTimeoutMs = 30_000;

/** While the first lists are awaited: the API server, or the CRDs, may come later than we. */
const syncReportMs = 10_000;

export interface Operator {
  close(): Promise<void>;
}

export async function startOperator(
  config: OperatorConfig,
  version: string,
  logger: Logger,
): Promise<Operator> {
  const closers: (() => Promise<unknown>)[] = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.toReversed())
      await close().catch((error: unknown) =>
        logger.warn({ event: "close-failed", error: messageOf(error) }),
      );
  };
  const missing = new Set<string>(["the operator is starting"]);
  try {
    await assemble(config, version, logger, closers, missing);
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
  closers: (() => Promise<unknown>)[],
  missing: Set<string>,
): Promise<void> {
  const now = Date.now;
  const problem = (event: string) => (error: unknown) =>
    logger.error({ event, error: messageOf(error) });
  const opening = AbortSignal.timeout(openTimeoutMs);

  const { transport } = kubeConnection(config.kubeconfig, now);
  const client = new KubeClient(transport, `chaperone-operator/${version}`);
  closers.push(() => client.close());
  const operatorUser = await checkRights(client, config, opening);

  // Everything that Secrets and the volume keep.
  const certificates = await Certificates.open(
    {
      secret: new NamedSecret(client, config.namespace, config.authoritySecret),
      names: serviceNames(config),
      now,
      onProblem: problem("certificates-check-failed"),
    },
    opening,
  );
  closers.push(() => certificates.close());
  const keys = await SigningKeys.open(
    { store: keySecretStore(new NamedSecret(client, config.namespace, config.keysSecret)), now },
    opening,
  );
  const store = await openStore(config.auditStore);
  closers.push(() => store.close());
  const reader = await openReader(config.auditStore);
  closers.push(() => reader.close());

  // What the API server knows, as it changes.
  const parts: WatchParts = { client, now, random: Math.random, log: watchLog(logger) };
  const access = accessReviewer(client);
  const view = new KubeView(parts);
  const requests = new KubeRequests(parts);
  const people = new KubePeople(parts, access, config.namespace);
  closers.push(
    () => people.close(),
    () => requests.close(),
    () => view.close(),
  );
  let isSynced = false;

  let api: Api | undefined;
  const controllers: Controller[] = [];
  const metrics = operatorMetrics((gauges) => {
    for (const [kind, ageMs] of Object.entries(view.ages(now())))
      if (ageMs !== undefined) gauges.watchAge.set({ kind }, ageMs / 1000);
    for (const controller of controllers)
      gauges.queueDepth.set({ controller: controller.name }, controller.queue.depth);
    gauges.streams.set(api?.hub.size ?? 0);
  });
  const health = await startHealth({
    host: config.listen.host,
    port: config.listen.healthPort,
    registry: metrics.registry,
    notReady: () => [...missing],
  });
  closers.push(() => health.close());

  const recorder = ownStream(config, store, keys, problem("own-stream-failed"));
  closers.push(() => recorder.close());
  const record = counted(recorder, metrics);

  view.start();
  requests.start();
  people.start();
  await reported(
    Promise.all([view.synced(), requests.collection.synced, people.collection.synced]),
    logger,
  );
  isSynced = true;

  const settings = (): InjectionSettings => ({
    version,
    image: config.proxy.image,
    earlierImages: config.proxy.earlierImages,
    imagePullPolicy: config.proxy.imagePullPolicy,
    imagePullSecrets: config.proxy.imagePullSecrets,
    operatorUrl: `https://${serviceNames(config)[0] ?? ""}:${servicePort}`,
    operatorCa: certificates.bundle(),
    extraCa: config.extraCa,
    uid: config.proxy.uid,
    isIPv6Only: config.isIPv6Only,
  });
  api = await startApi({
    view,
    requests,
    identity: kubeIdentity({
      client,
      pods: view.pods.store,
      now,
      checksPeerAddress: config.checksPeerAddress,
      notInjected: (pod) => notInjected(pod, settings()),
    }),
    keys,
    events: { ingest: (batch) => store.ingest(batch) },
    reader,
    people,
    record,
    logger,
    now,
    listen: { tls: certificates.serving(), host: config.listen.host, port: config.listen.apiPort },
    origins: serviceNames(config).map((name) => `https://${name}:${servicePort}`),
    operatorNamespace: config.namespace,
    isLocal: false,
  });
  const running = api;
  closers.push(() => running.close());
  view.onPodGone((podUid) => running.forgetPod(podUid));

  const webhooks = await startWebhooks({
    host: config.listen.host,
    port: config.listen.webhookPort,
    tls: certificates.serving(),
    logger,
    routes: createWebhookRoutes({
      settings,
      view,
      isSynced: () => isSynced,
      access,
      operatorUser,
      now,
      onInjection: (decision) =>
        metrics.admissions.inc({
          result: decision.kind,
          reason: "reason" in decision ? decision.reason : "",
        }),
    }),
  });
  closers.push(() => webhooks.close());
  certificates.onRenewed((serving) => {
    running.replaceCertificate(serving);
    webhooks.replaceCertificate(serving);
    logger.info({ event: "certificate-renewed" });
  });
  const bundle = new WebhookBundle({
    client,
    name: config.webhookConfiguration,
    bundle: () => certificates.bundle(),
    onProblem: problem("webhook-bundle-failed"),
  });
  await bundle.write();
  bundle.start();
  closers.push(() => bundle.close());

  const resolve = async (host: string): Promise<readonly string[]> =>
    (await lookup(host, { all: true })).map(({ address }) => address);
  const forbidden = await OwnAddresses.open(
    {
      client,
      resolve,
      known: ownNames(config, transport.server),
      onProblem: problem("own-addresses-failed"),
    },
    opening,
  );
  closers.push(() => forbidden.close());
  const governing: Governing = {
    view,
    now,
    maskKey: (namespace) => keys.derive(`mask/${namespace}`).toString("base64url"),
    operatorNamespace: config.namespace,
  };
  const log = watchLog(logger);
  controllers.push(
    connectionController({
      client,
      view,
      now,
      random: Math.random,
      log,
      forbidden,
      resolve,
      roots: config.extraCa === "" ? undefined : [...rootCertificates, config.extraCa].join("\n"),
      activeGrants: (name) => running.live.activeOn(name),
    }),
    policyController({
      client,
      view,
      views: running.views,
      governing,
      validator: createValidator(),
      random: Math.random,
      log,
    }),
    quarantineController({
      client,
      view,
      views: running.views,
      operatorNamespace: config.namespace,
      now,
      log,
      record,
    }),
  );
  for (const controller of controllers) {
    closers.push(() => controller.close());
    controller.start();
  }
  const janitor = new Janitor({
    client,
    sessions: () => people.collection.store.values(),
    requests: () => requests.collection.store.values(),
    now,
    onProblem: problem("sweep-failed"),
  });
  janitor.start();
  const retention = new Retention({
    db: store.db,
    policies: () => view.policies.store.values(),
    now,
    onPruned: (events) => logger.info({ event: "pruned", events }),
    onProblem: problem("retention-failed"),
  });
  retention.start();
  closers.push(
    () => janitor.close(),
    () => retention.close(),
  );
  missing.clear();
  logger.info({
    event: "ready",
    namespace: config.namespace,
    origin: running.origin,
    connections: view.connections.store.size,
    policies: view.policies.store.size,
    pods: view.pods.store.size,
  });
}

/** Who we are, once it is sure that we may do what we must. */
async function checkRights(
  client: KubeClient,
  config: OperatorConfig,
  signal: AbortSignal,
): Promise<string> {
  const lacking = await missingRights(client, neededRights(config), signal);
  if (lacking.length > 0)
    throw new Error(
      `RBAC does not let the operator ${lacking.join(", ")}; install the chart's roles (helm upgrade), or bind them to its service account`,
    );
  return await whoAmI(client, signal);
}

function ownStream(
  config: OperatorConfig,
  store: AuditStore,
  keys: SigningKeys,
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

async function reported(waiting: Promise<unknown>, logger: Logger): Promise<void> {
  const timer = setInterval(() => logger.warn({ event: "waiting-for-first-lists" }), syncReportMs);
  try {
    await waiting;
  } finally {
    clearInterval(timer);
  }
}

function ownNames(config: OperatorConfig, server: string): ReadonlyMap<string, string> {
  const names = new Map<string, string>([
    [new URL(server).hostname.replace(/^\[|\]$/g, ""), "the API server"],
    ["kubernetes.default.svc", "the API server"],
  ]);
  for (const name of serviceNames(config)) names.set(name, "the operator itself");
  if (config.podAddress !== undefined) names.set(config.podAddress, "the operator itself");
  return names;
}

function watchLog(logger: Logger): WatchParts["log"] {
  return {
    debug: (details, event) => logger.debug({ event, ...details }),
    warn: (details, event) => logger.warn({ event, ...details }),
    error: (details, event) => logger.error({ event, ...details }),
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
