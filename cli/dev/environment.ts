// What an agent is given in local mode: the injected variables of each connection, the trust, and the forward proxy.
import type { AddressMap } from "../../contract/addresses.ts";
import { javaOptions, javaOptionsVariable, trustEnvironment } from "../../contract/trust.ts";
import type { Connection } from "../../crds/types.gen.ts";
import { connectionName } from "../../operator/connections/endpoint.ts";
import { dialedAddress, injectedEnvironment } from "../../operator/injection/environment.ts";

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
  forwardProxy: string,
): NodeJS.ProcessEnv {
  const trust = trustEnvironment(caFile);
  const proxies = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
  const noProxy = [own.NO_PROXY ?? own.no_proxy, "127.0.0.1", "localhost", "::1"]
    .filter((entry) => entry !== undefined && entry !== "")
    .join(",");
  return {
    ...own,
    ...trust,
    ...Object.fromEntries(proxies.map((name) => [name, forwardProxy])),
    NO_PROXY: noProxy,
    no_proxy: noProxy,
    // Node reads the proxy variables only when it is told to (24, 22.21); Python, Go and curl always do.
    NODE_USE_ENV_PROXY: "1",
    // The JVM reads none of them; its options say the same, after those of the caller's own, which the last one wins over.
    [javaOptionsVariable]: [
      own[javaOptionsVariable],
      trust[javaOptionsVariable],
      javaProxy(new URL(forwardProxy)),
    ]
      .filter((options) => options !== undefined && options !== "")
      .join(" "),
    ...Object.assign({}, ...connections.map(({ env }) => env)),
  };
}

/** Its own default for http.nonProxyHosts, which serves https too, leaves loopback out already. */
function javaProxy({ hostname, port }: URL): string {
  return javaOptions({
    "http.proxyHost": hostname,
    "http.proxyPort": port,
    "https.proxyHost": hostname,
    "https.proxyPort": port,
  });
}
