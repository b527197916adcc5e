// What an agent is given in local mode: the injected variables of each connection, the trust, and the forward proxy.
import type { AddressMap, ListenAddress } from "../../contract/addresses.ts";
import { javaOptionsVariable, trustEnvironment } from "../../contract/trust.ts";
import type { Connection } from "../../crds/types.gen.ts";
import { connectionName } from "../../operator/connections/endpoint.ts";
import {
  dialedAddress,
  injectedEnvironment,
  proxyVariables,
} from "../../operator/injection/environment.ts";

/** One row of `chaperone dev`. */
export interface LocalConnection {
  readonly namespace: string;
  readonly name: string;
  readonly protocol: string;
  readonly address: string;
  readonly url: string;
  readonly env: Readonly<Record<string, string>>;
  /** Its environment carries a placeholder key, which every request must then show. */
  readonly isKeyed: boolean;
}

/** Stands in manifests where an SDK insists on a key; on a laptop it becomes a random one, so that no web page can know it. */
const placeholder = "held-by-chaperone";

export function connectionsTable(
  connections: readonly Connection[],
  addresses: AddressMap,
  guardKey: string,
): LocalConnection[] {
  return addresses.connections.flatMap((entry) => {
    const connection = connections.find(
      (candidate) => connectionName(candidate) === entry.connection,
    );
    if (connection === undefined) return [];
    const dialed = dialedAddress(entry, addresses.interception);
    const injected = Object.entries(injectedEnvironment(connection, entry, addresses.interception));
    const isKeyed = injected.some(([, value]) => value === placeholder);
    return [
      {
        namespace: connection.metadata.namespace,
        name: connection.metadata.name,
        protocol: entry.protocol,
        address: dialed.address,
        url: dialed.url,
        env: Object.fromEntries(
          injected.map(([name, value]) => [name, value === placeholder ? guardKey : value]),
        ),
        isKeyed,
      },
    ];
  });
}

/** The whole environment of a command under `chaperone run`: the caller's own, then ours. */
export function runEnvironment(
  own: NodeJS.ProcessEnv,
  connections: readonly LocalConnection[],
  caFile: string,
  forwardProxy: ListenAddress,
): NodeJS.ProcessEnv {
  const trust = trustEnvironment(caFile, forwardProxy);
  return {
    ...own,
    ...trust,
    ...proxyVariables(forwardProxy, own.NO_PROXY ?? own.no_proxy),
    // Of two options the last one wins.
    [javaOptionsVariable]: [own[javaOptionsVariable] ?? "", trust[javaOptionsVariable]]
      .filter((options) => options !== "")
      .join(" "),
    ...Object.assign({}, ...connections.map(({ env }) => env)),
  };
}
