// The variables that a Connection puts into an agent's environment, as the agent must dial it.
import type { ConnectionAddress, Interception, ListenAddress } from "../../contract/addresses.ts";
import type { Connection } from "../../crds/types.gen.ts";

export interface DialedAddress {
  /** What stands for `${host}`. */
  readonly host: string;
  readonly port: number;
  /** What stands for `${address}`: host and port. */
  readonly address: string;
  /** What stands for `${url}`: with the path of `endpoint.url`. */
  readonly url: string;
}

const defaultPorts: Readonly<Record<string, number>> = { https: 443, http: 80 };

/** Under `hosts` and `redirect` agents dial the first name; under `endpoints` the proxy's own loopback port, where HTTP is plain. */
export function dialedAddress(entry: ConnectionAddress, interception: Interception): DialedAddress {
  const named = interception === "endpoints" ? undefined : entry.hosts[0];
  const host = named?.name ?? entry.endpoint.address;
  const port = named === undefined ? entry.endpoint.port : entry.port;
  const scheme = schemeOf(entry, named !== undefined);
  const authority = defaultPorts[scheme] === port ? host : `${host}:${port}`;
  return { host, port, address: `${host}:${port}`, url: `${scheme}://${authority}${entry.path}` };
}

function schemeOf({ protocol, scheme }: ConnectionAddress, isNamed: boolean): string {
  if (protocol === "postgres") return "postgresql";
  return isNamed || protocol === "passthrough" ? scheme : "http";
}

/** Always dialled directly: the agent's own machine, the proxy's listeners included. */
const neverProxied = ["127.0.0.1", "localhost", "::1"];

/**
 * The variables that send an agent's HTTP clients through the forward proxy. Lower case too: curl ignores HTTP_PROXY, which a CGI
 * script could be sent as a header.
 *
 * @param ownNoProxy what the environment already says
 */
export function proxyVariables(
  { address, port }: ListenAddress,
  ownNoProxy?: string,
): Readonly<Record<string, string>> {
  const url = `http://${address}:${port}`;
  const noProxy = [ownNoProxy ?? "", ...neverProxied].filter((entry) => entry !== "").join(",");
  return {
    HTTPS_PROXY: url,
    HTTP_PROXY: url,
    NO_PROXY: noProxy,
    https_proxy: url,
    http_proxy: url,
    no_proxy: noProxy,
    // Node reads the proxy variables only when it is told to (24, 22.21); Python, Go and curl always do.
    NODE_USE_ENV_PROXY: "1",
  };
}

/** `inject.env` of the Connection with `${address}`, `${host}`, `${port}` and `${url}` filled in. */
export function injectedEnvironment(
  connection: Connection,
  entry: ConnectionAddress,
  interception: Interception,
): Record<string, string> {
  const dialed = dialedAddress(entry, interception);
  const values: Readonly<Record<string, string>> = {
    address: dialed.address,
    host: dialed.host,
    port: String(dialed.port),
    url: dialed.url,
  };
  const filled: Record<string, string> = {};
  for (const [name, template] of Object.entries(connection.spec.inject?.env ?? {})) {
    filled[name] = template.replace(/\$\{(\w+)\}/g, (whole, key: string) => values[key] ?? whole);
  }
  return filled;
}
