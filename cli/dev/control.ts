// The control plane of local mode: the operator's own parts over files, on a Unix socket in the state directory.
import { userInfo } from "node:os";
import { CompactSign } from "jose";
import { pino, type Logger } from "pino";
import type { AddressMap, ListenAddress } from "../../contract/addresses.ts";
import type { EventBody, EventType } from "../../contract/event.ts";
import type { Quarantine } from "../../crds/types.gen.ts";
import { localPeople } from "../../operator/api/people.ts";
import { startApi, type Api } from "../../operator/api/server.ts";
import { createAuditReader } from "../../operator/audit/queries.ts";
import { createRecorder } from "../../operator/audit/record.ts";
import { openStore } from "../../operator/audit/store.ts";
import { sqlAccounts } from "../../operator/budgets/accounts.ts";
import { connectionName } from "../../operator/connections/endpoint.ts";
import { keyFileStore } from "../../operator/grants/key-file.ts";
import { SigningKeys } from "../../operator/grants/keys.ts";
import { planAddresses } from "../../operator/injection/addresses.ts";
import { createLocalIdentity, type LocalIdentity } from "./identity.ts";
import { shipLeftovers } from "./leftover-spools.ts";
import {
  loadManifests,
  onlyNamespace,
  reachableConnections,
  reloadManifests,
  type ManifestOptions,
} from "./manifests.ts";
import { freePorts } from "./ports.ts";
import { QuarantineFiles } from "./quarantine-files.ts";
import { createPinFile } from "./pin-file.ts";
import { createRequestFiles } from "./request-files.ts";
import { claimState, statePaths, type StatePaths } from "./state.ts";
import { FileView } from "./view.ts";
import { manifestFingerprint, watchManifests, watchQuarantines } from "./watch.ts";

export interface ControlOptions extends ManifestOptions {
  readonly serviceAccount: string;
  readonly chain: string | undefined;
  readonly state: string;
  readonly portBase: number | undefined;
  readonly logLevel: string;
}

export interface Control {
  readonly paths: StatePaths;
  readonly namespace: string;
  readonly view: FileView;
  readonly identity: LocalIdentity;
  readonly addresses: AddressMap;
  /** That of `addresses`. */
  readonly forwardProxy: ListenAddress;
  /** The audit stream of the proxy that belongs to this control plane. */
  readonly stream: string;
  readonly api: Api;
  readonly logger: Logger;
  close(): Promise<void>;
}

const keysTimeoutMs = 10_000;

export async function startControl(options: ControlOptions): Promise<Control> {
  const fingerprint = await manifestFingerprint(options.files);
  const loaded = await loadManifests(options);
  const namespace = options.namespace ?? onlyNamespace(loaded);
  const paths = statePaths(options.state);
  const closers: (() => Promise<void> | void)[] = [claimState(paths)];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).toReversed()) await closer();
  };
  try {
    const logger = pino(
      { name: "chaperone", level: options.logLevel },
      pino.destination({ fd: 2, sync: true }),
    );
    const view = new FileView(loaded);
    const identity = createLocalIdentity({
      namespace,
      serviceAccount: options.serviceAccount,
      chain: options.chain,
      connections: () => reachableConnections(view, namespace).map(connectionName),
    });
    const stream = `local/${identity.subject.podUid}`;
    const store = await openStore(paths.store);
    closers.push(() => store.close());
    const keys = await SigningKeys.open(
      { store: keyFileStore(paths.keys), now: Date.now },
      AbortSignal.timeout(keysTimeoutMs),
    );
    const sign = (hash: string): Promise<string> =>
      new CompactSign(new TextEncoder().encode(hash))
        .setProtectedHeader({ alg: "EdDSA", kid: keys.signer().kid })
        .sign(keys.signer().key);
    await shipLeftovers({
      spools: paths.spools,
      ingest: (batch) => store.ingest(batch),
      sign,
      say: options.say,
    });
    const recorder = createRecorder({
      store,
      stream: `${stream}/operator`,
      sign,
      onFailure: (err) => logger.error({ event: "own-stream", err }),
    });
    closers.push(() => recorder.close());
    const record = (type: EventType, body: EventBody): void =>
      recorder.record(type, { assurance: "local", ...body });
    const quarantines = new QuarantineFiles(paths.quarantines);
    view.replaceQuarantines(quarantines.list());
    const api = await startApi({
      view,
      requests: createRequestFiles(paths.requests),
      pins: createPinFile(paths.tools),
      identity: identity.verifier,
      keys,
      events: { ingest: (delivery) => store.ingest(delivery) },
      reader: createAuditReader(store.db),
      accounts: sqlAccounts(store.db),
      people: localPeople(userInfo().username),
      record,
      logger,
      now: Date.now,
      listen: { socketPath: paths.socket },
      isLocal: true,
      streamsOf: () => [stream],
      // One process works in this state directory, so roles of another start are nobody's.
      databases: { podExists: (podUid) => podUid === identity.subject.podUid },
    });
    closers.push(() => api.close());
    let orders = quarantines.list();
    closers.push(
      watchQuarantines(paths.quarantines, (list) => {
        for (const body of quarantineEvents(orders, list)) record("quarantine", body);
        orders = list;
        view.replaceQuarantines(list);
      }),
    );
    closers.push(
      watchManifests(options.files, fingerprint, () => reloadManifests(options, view, namespace)),
    );
    const plan = await planLocal(view, namespace, options.portBase);
    return { paths, namespace, view, identity, ...plan, stream, api, logger, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function planLocal(
  view: FileView,
  namespace: string,
  portBase: number | undefined,
): Promise<Pick<Control, "addresses" | "forwardProxy">> {
  const connections = reachableConnections(view, namespace);
  const plan = planAddresses(connections, { interception: "endpoints", portBase: portBase ?? 1 });
  const fixed = portBase === undefined ? 0 : plan.connections.length;
  const [forward = 0, ...ports] = await freePorts(1 + plan.connections.length - fixed);
  const forwardProxy = { address: "127.0.0.1", port: forward };
  const addressed = plan.connections.map((entry, index) => ({
    ...entry,
    endpoint: { ...entry.endpoint, port: ports[index] ?? entry.endpoint.port },
  }));
  return { forwardProxy, addresses: { ...plan, forwardProxy, connections: addressed } };
}

/** What the audit trail is told when the standing orders change. */
function quarantineEvents(
  before: readonly Quarantine[],
  after: readonly Quarantine[],
): readonly EventBody[] {
  const names = (list: readonly Quarantine[]) => new Set(list.map(({ metadata }) => metadata.name));
  const [had, has] = [names(before), names(after)];
  const tell = ({ metadata, spec }: Quarantine, state: "added" | "lifted"): EventBody => ({
    quarantine: { name: `${metadata.namespace}/${metadata.name}`, reason: spec.reason, state },
  });
  return [
    ...after.filter(({ metadata }) => !had.has(metadata.name)).map((order) => tell(order, "added")),
    ...before
      .filter(({ metadata }) => !has.has(metadata.name))
      .map((order) => tell(order, "lifted")),
  ];
}
