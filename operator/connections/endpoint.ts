// Reads a Connection's endpoint the one way everybody must: where the upstream is, and where agents meet it.
import type { Connection } from "../../crds/types.gen.ts";

export interface ConnectionTarget {
  /** Lower case, without brackets. */
  readonly host: string;
  readonly port: number;
  /** Ours; what passes through is the agent's own. */
  readonly tls: boolean;
  /** Without a trailing slash; empty for none. */
  readonly basePath: string;
  /** Further hosts of a postgres connection. */
  readonly fallbacks: readonly { readonly host: string; readonly port: number }[];
  readonly scheme: "postgres" | "https" | "http";
}

const defaultPorts = { postgres: 5432, passthrough: 443, https: 443, http: 80 } as const;

/** @throws Error when the endpoint is not one the schema admits */
export function connectionTarget(connection: Connection): ConnectionTarget {
  const { endpoint, protocol } = connection.spec;
  if (protocol === "postgres" || protocol === "passthrough") {
    if (endpoint.host === undefined)
      throw new Error(`connection ${connection.metadata.name}: endpoint.host is missing`);
    return {
      host: endpoint.host.toLowerCase(),
      port: endpoint.port ?? defaultPorts[protocol],
      tls: protocol === "postgres" && endpoint.tls?.mode !== "Disable",
      basePath: "",
      fallbacks: (endpoint.fallbacks ?? []).map(({ host, port }) => ({
        host: host.toLowerCase(),
        port: port ?? defaultPorts.postgres,
      })),
      scheme: protocol === "postgres" ? "postgres" : "https",
    };
  }
  if (endpoint.url === undefined)
    throw new Error(`connection ${connection.metadata.name}: endpoint.url is missing`);
  const url = new URL(endpoint.url);
  const scheme = url.protocol === "https:" ? "https" : "http";
  return {
    host: url.hostname.replace(/^\[|\]$/g, "").toLowerCase(),
    port: url.port === "" ? defaultPorts[scheme] : Number(url.port),
    tls: scheme === "https",
    basePath: url.pathname.replace(/\/+$/, ""),
    fallbacks: [],
    scheme,
  };
}

/** The names agents dial for this connection. */
export function connectionHosts(connection: Connection): readonly string[] {
  return connection.spec.hosts ?? [connectionTarget(connection).host];
}

export function connectionName(connection: Connection): string {
  return `${connection.metadata.namespace}/${connection.metadata.name}`;
}
