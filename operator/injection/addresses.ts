// Plans where a pod's connections are met, once, at injection. The same plan serves a pod and a laptop.
import { isIP } from "node:net";
import {
  addressMapVersion,
  maxConnectionsPerPod,
  type AddressMap,
  type ConnectionAddress,
  type Interception,
} from "../../contract/addresses.ts";
import type { Connection } from "../../crds/types.gen.ts";
import { connectionHosts, connectionName, connectionTarget } from "../connections/endpoint.ts";

export interface PlanOptions {
  readonly interception: Interception;
  /** First port of the endpoint listeners; each connection takes the next. */
  readonly portBase: number;
  /** Port of the forward proxy; left out, there is none. */
  readonly forwardProxyPort?: number;
}

/** Of the endpoint listeners of a pod: above the privileged ports, below Linux' ephemeral range, next to the admin port. */
export const endpointPortBase = 15_100;

/** Of the listener that HTTPS_PROXY and HTTP_PROXY point at. */
export const forwardProxyPort = 15_080;

/**
 * 127.0.64.0/18 and 198.18.64.0/18 (contract/redirect.ts) without their first addresses: room for every host name of the most
 * connections a pod may have.
 */
const firstHostAddress = {
  endpoints: 0,
  hosts: (127 << 24) | (64 << 8) | 1,
  redirect: (198 << 24) | (18 << 16) | (64 << 8) | 1,
} as const satisfies Record<Interception, number>;

/** @throws Error when a pod would have more connections than its annotation and listeners carry */
export function planAddresses(
  connections: readonly Connection[],
  { interception, portBase, forwardProxyPort: forwardPort }: PlanOptions,
): AddressMap {
  if (connections.length > maxConnectionsPerPod) {
    throw new Error(
      `${connections.length} connections for one pod; at most ${maxConnectionsPerPod} (name those it needs in the annotation chaperone.dev/connections)`,
    );
  }
  const sorted = connections.toSorted((a, b) => (connectionName(a) < connectionName(b) ? -1 : 1));
  const byName = new Map<string, string>();
  const addressOf = (name: string): string => {
    const known = byName.get(name);
    if (known !== undefined) return known;
    const address = dotted(firstHostAddress[interception] + byName.size);
    byName.set(name, address);
    return address;
  };
  return {
    version: addressMapVersion,
    interception,
    ...(forwardPort !== undefined && {
      forwardProxy: { address: "127.0.0.1", port: forwardPort },
    }),
    connections: sorted.map((connection, index): ConnectionAddress => {
      const target = connectionTarget(connection);
      const names = [
        ...new Set(
          connectionHosts(connection)
            .flatMap(withShortForms)
            .filter((name) => isIP(name) === 0),
        ),
      ];
      return {
        connection: connectionName(connection),
        protocol: connection.spec.protocol,
        scheme: target.scheme,
        path: target.basePath,
        names,
        hosts:
          interception === "endpoints"
            ? []
            : names.map((name) => ({ name, address: addressOf(name) })),
        port: target.port,
        endpoint: { address: "127.0.0.1", port: portBase + index },
      };
    }),
  };
}

const clusterSuffix = ".svc.cluster.local";

/** `a.b.svc.cluster.local` is dialled as `a.b.svc` and `a.b` as well. */
function withShortForms(name: string): string[] {
  if (!name.endsWith(clusterSuffix)) return [name];
  const short = name.slice(0, -clusterSuffix.length);
  return short.split(".").length === 2 ? [name, `${short}.svc`, short] : [name];
}

function dotted(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
}
