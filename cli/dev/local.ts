// The whole system in one process on loopback: the control plane over files, one proxy, and a forward proxy for host names.
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import type { ListenAddress } from "../../contract/addresses.ts";
import { startProxy, type RunningProxy } from "../../proxy/start.ts";
import { version } from "../../contract/version.ts";
import { startControl, type Control, type ControlOptions } from "./control.ts";
import { connectionsTable, type LocalConnection } from "./environment.ts";
import { reachableConnections } from "./manifests.ts";

export interface Local {
  readonly stateDirectory: string;
  readonly caFile: string;
  readonly connections: readonly LocalConnection[];
  /** Where HTTP_PROXY and HTTPS_PROXY point. */
  readonly forwardProxy: ListenAddress;
  close(): Promise<void>;
}

export async function startLocal(options: ControlOptions): Promise<Local> {
  const control = await startControl(options);
  const closers: (() => Promise<void>)[] = [() => control.close()];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).toReversed()) await closer();
  };
  try {
    const { paths, view, namespace, addresses, forwardProxy } = control;
    const guardKey = `held-by-chaperone-${randomBytes(12).toString("hex")}`;
    const connections = connectionsTable(
      reachableConnections(view, namespace),
      addresses,
      guardKey,
    );
    const proxy = await startLocalProxy(control, connections, guardKey);
    closers.push(() => proxy.close());
    return {
      stateDirectory: paths.directory,
      caFile: paths.caFile,
      connections,
      forwardProxy,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function startLocalProxy(
  control: Control,
  connections: readonly LocalConnection[],
  guardKey: string,
): Promise<RunningProxy> {
  const { paths, identity, addresses, stream, api, logger } = control;
  const keyed = new Set(
    connections
      .filter(({ isKeyed }) => isKeyed)
      .map(({ namespace, name }) => `${namespace}/${name}`),
  );
  return startProxy({
    subject: identity.subject,
    addresses,
    operator: { url: api.origin, socketPath: paths.socket },
    readToken: () => identity.readToken(),
    stream,
    spoolDirectory: join(paths.spools, identity.subject.podUid),
    authorityDirectory: paths.authority,
    trustFile: paths.caFile,
    roots: rootCertificates,
    extraCAs: [],
    resolvConf: "/etc/resolv.conf",
    version,
    logger,
    local: { guardKey, keyed: (connection) => keyed.has(connection) },
  });
}
