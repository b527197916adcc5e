// The whole system in one process on loopback: the operator's own parts over files, and one proxy beside them.
import { randomBytes } from "node:crypto";
import { userInfo } from "node:os";
import { rootCertificates } from "node:tls";
import { CompactSign } from "jose";
import { pino, type Logger } from "pino";
import type { AddressMap } from "../../contract/addresses.ts";
import type { EventBody, EventType } from "../../contract/event.ts";
import { checkFiles, formatLocated, type CheckResult } from "../../crds/check.ts";
import { readManifestFiles } from "../../crds/manifest-files.ts";
import { allowsNamespace } from "../../operator/grants/govern.ts";
import { keyFileStore } from "../../operator/grants/key-file.ts";
import { SigningKeys } from "../../operator/grants/keys.ts";
import { startApi, type Api } from "../../operator/api/server.ts";
import { localPeople } from "../../operator/api/people.ts";
import { OwnStream } from "../../operator/audit/own-stream.ts";
import { createAuditReader } from "../../operator/audit/queries.ts";
import { openStore } from "../../operator/audit/store.ts";
import { connectionName } from "../../operator/connections/endpoint.ts";
import { planAddresses } from "../../operator/injection/addresses.ts";
import { startProxy, type RunningProxy } from "../../proxy/start.ts";
import { Failure } from "../exit.ts";
import { version } from "../program.ts";
import { connectionsTable, type LocalConnection } from "./environment.ts";
import { startForwardProxy } from "./forward.ts";
import { createLocalIdentity } from "./identity.ts";
import { freePorts } from "./ports.ts";
import { QuarantineFiles } from "./quarantine-files.ts";
import { createRequestFiles } from "./request-files.ts";
import { claimState, statePaths } from "./state.ts";
import { FileView } from "./view.ts";
import { watchManifests, watchQuarantines } from "./watch.ts";

export interface LocalOptions {
  readonly files: readonly string[];
  readonly namespace: string | undefined;
  readonly serviceAccount: string;
  readonly chain: string | undefined;
  readonly state: string;
  readonly portBase: number | undefined;
  /** What people should know: a broken file, a reload. One line each, without the newline. */
  readonly say: (line: string) => void;
  readonly logLevel: string;
}

export interface Local {
  readonly stateDirectory: string;
  readonly caFile: string;
  readonly namespace: string;
  readonly connections: readonly LocalConnection[];
  /** `http://127.0.0.1:PORT` of the forward proxy for HTTP_PROXY and HTTPS_PROXY. */
  readonly forwardProxy: string;
  readonly proxy: RunningProxy;
  close(): Promise<void>;
}

const closeFlushMs = 3_000;

export async function startLocal(options: LocalOptions): Promise<Local> {
  const loaded = await load(options);
  const namespace = options.namespace ?? onlyNamespace(loaded);
  const paths = statePaths(options.state);
  const release = claimState(paths);
  const closers: (() => Promise<void> | void)[] = [release];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.toReversed()) await close();
  };
  try {
    const logger = pino(
      { name: "chaperone", level: options.logLevel },
      pino.destination({ fd: 2, sync: true }),
    );
    const view = new FileView(loaded);
    const reachable = () =>
      view
        .allConnections()
        .filter(
          ({ metadata }) =>
            metadata.namespace === namespace || isForeignAllowed(view, metadata, namespace),
        );
    const identity = createLocalIdentity({
      namespace,
      serviceAccount: options.serviceAccount,
      chain: options.chain,
      connections: () => reachable().map(connectionName),
    });
    const addresses = await planLocal(reachable(), options.portBase);
    const store = await openStore(paths.store);
    closers.push(() => store.close());
    const keys = await SigningKeys.open(
      { store: keyFileStore(paths.keys), now: Date.now },
      AbortSignal.timeout(10_000),
    );
    const stream = `local/${identity.subject.podUid}`;
    const own = new OwnStream({
      stream: `local/${identity.subject.podUid}/operator`,
      ingest: (batch) => store.ingest(batch),
      sign: (hash) =>
        new CompactSign(new TextEncoder().encode(hash))
          .setProtectedHeader({ alg: "EdDSA", kid: keys.signer().kid })
          .sign(keys.signer().key),
      now: Date.now,
      onProblem: (error) =>
        logger.error({
          event: "own-stream",
          error: error instanceof Error ? error.message : String(error),
        }),
    });
    closers.push(async () => void (await own.close(closeFlushMs)));
    const api = await openApi({
      view,
      paths,
      identity,
      keys,
      store,
      stream,
      logger,
      record: (type, body) => own.record(type, { assurance: "local", ...body }),
    });
    closers.push(() => api.close());

    const quarantines = new QuarantineFiles(paths.quarantines);
    view.replaceQuarantines(quarantines.list());
    closers.push(watchQuarantines(paths.quarantines, (list) => view.replaceQuarantines(list)));
    closers.push(watchManifests(options.files, async () => reload(options, view, namespace)));

    const guardKey = `held-by-chaperone-${randomBytes(12).toString("hex")}`;
    const connections = connectionsTable(reachable(), addresses, guardKey);
    const proxy = await startProxy({
      subject: identity.subject,
      addresses,
      operator: { url: api.origin, socketPath: paths.socket },
      readToken: identity.readToken,
      stream,
      spoolDirectory: paths.spool,
      authorityDirectory: paths.authority,
      trustFile: paths.caFile,
      roots: rootCertificates,
      extraCAs: [],
      resolvConf: "/etc/resolv.conf",
      version,
      logger,
      local: {
        guardKey,
        keyed: (name) =>
          connections.find((connection) => `${connection.namespace}/${connection.name}` === name)
            ?.isKeyed ?? false,
      },
    });
    closers.push(() => proxy.close());
    const forward = await startForwardProxy(proxy);
    closers.push(() => forward.close());
    return {
      stateDirectory: paths.directory,
      caFile: paths.caFile,
      namespace,
      connections,
      forwardProxy: forward.url,
      proxy,
      close: closeAll,
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function load(options: LocalOptions): Promise<CheckResult> {
  const result = await checkFiles(options.files, readManifestFiles, {
    secrets: "all",
    namespace: options.namespace ?? "default",
  });
  if (result.problems.length > 0) {
    throw new Failure(
      `the manifests have errors:\n${result.problems.map((problem) => `  ${formatLocated(problem)}`).join("\n")}`,
    );
  }
  if (result.connections.length === 0)
    throw new Failure(
      `no Connection stands in ${options.files.join(", ")}; an agent could reach nothing`,
    );
  return result;
}

async function reload(options: LocalOptions, view: FileView, namespace: string): Promise<void> {
  try {
    const loaded = await load(options);
    const before = new Set(view.allConnections().map(connectionName));
    view.replace(loaded);
    options.say("manifests reloaded");
    const added = loaded.connections.filter(
      (connection) =>
        connection.metadata.namespace === namespace && !before.has(connectionName(connection)),
    );
    if (added.length > 0)
      options.say(
        `new connections get an address at the next start: ${added.map(connectionName).join(", ")}`,
      );
  } catch (error) {
    options.say(
      `${error instanceof Error ? error.message : String(error)}\nthe last good state stays in force`,
    );
  }
}

function onlyNamespace(loaded: CheckResult): string {
  const namespaces = [...new Set(loaded.connections.map(({ metadata }) => metadata.namespace))];
  const [first] = namespaces;
  if (first === undefined || namespaces.length > 1)
    throw new Failure(
      `the manifests name the namespaces ${namespaces.join(", ")}; say which the caller is in with --namespace`,
    );
  return first;
}

function isForeignAllowed(
  view: FileView,
  { namespace, name }: { namespace: string; name: string },
  caller: string,
): boolean {
  const connection = view.connection(namespace, name);
  return connection !== undefined && allowsNamespace(connection, caller);
}

async function planLocal(
  connections: ReturnType<FileView["allConnections"]>,
  portBase: number | undefined,
): Promise<AddressMap> {
  const plan = planAddresses(connections, { interception: "endpoints", portBase: portBase ?? 1 });
  if (portBase !== undefined) return plan;
  const ports = await freePorts(plan.connections.length);
  return {
    ...plan,
    connections: plan.connections.map((entry, index) => ({
      ...entry,
      endpoint: { ...entry.endpoint, port: ports[index] ?? 0 },
    })),
  };
}

interface ApiParts {
  readonly view: FileView;
  readonly paths: ReturnType<typeof statePaths>;
  readonly identity: ReturnType<typeof createLocalIdentity>;
  readonly keys: SigningKeys;
  readonly store: Awaited<ReturnType<typeof openStore>>;
  readonly stream: string;
  readonly logger: Logger;
  readonly record: (type: EventType, body: EventBody) => void;
}

function openApi({
  view,
  paths,
  identity,
  keys,
  store,
  stream,
  logger,
  record,
}: ApiParts): Promise<Api> {
  return startApi({
    view,
    requests: createRequestFiles(paths.requests),
    identity: identity.verifier,
    keys,
    events: { ingest: (batch) => store.ingest(batch) },
    reader: createAuditReader(store.db),
    people: localPeople(userInfo().username),
    record,
    logger,
    now: Date.now,
    listen: { socketPath: paths.socket },
    isLocal: true,
    streamsOf: () => [stream],
  });
}
