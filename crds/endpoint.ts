// Where a Connection leads and by which names agents dial it, with everything left out filled in: read by injection, probes,
// grants and conflict checks alike.
import type { Connection } from "./types.gen.ts";

export const defaultPostgresPort = 5432;
/** Of TLS that is not opened: HTTPS nearly always. */
export const defaultPassthroughPort = 443;

export interface EndpointAddress {
  readonly host: string;
  readonly port: number;
  readonly tls: "Disable" | "VerifyFull";
  /** Path of `endpoint.url` without a trailing slash; empty for none and for postgres. */
  readonly basePath: string;
}

/** Undefined when the endpoint does not say enough, which admission refuses. */
export function endpointAddress(spec: Connection["spec"]): EndpointAddress | undefined {
  const { host, port, url, tls } = spec.endpoint;
  if (host !== undefined)
    return {
      host,
      port: port ?? defaultPort(spec),
      // Of ours, there is none.
      tls: spec.protocol === "passthrough" ? "Disable" : (tls?.mode ?? "VerifyFull"),
      basePath: "",
    };
  return url === undefined ? undefined : urlAddress(url);
}

function defaultPort({ protocol }: Connection["spec"]): number {
  return protocol === "passthrough" ? defaultPassthroughPort : defaultPostgresPort;
}

function urlAddress(url: string): EndpointAddress | undefined {
  const parsed = URL.parse(url);
  if (parsed === null) return undefined;
  const secure = parsed.protocol === "https:";
  return {
    host: parsed.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: parsed.port === "" ? (secure ? 443 : 80) : Number(parsed.port),
    tls: secure ? "VerifyFull" : "Disable",
    basePath: parsed.pathname.replace(/\/+$/, ""),
  };
}

/** The host names agents dial; an endpoint that is an address has none unless `hosts` says so. */
export function dialledHosts(spec: Connection["spec"]): readonly string[] {
  if (spec.hosts !== undefined) return spec.hosts;
  const address = endpointAddress(spec);
  return address === undefined || isAddress(address.host) ? [] : [address.host];
}

function isAddress(host: string): boolean {
  return host.includes(":") || /^[0-9.]+$/.test(host);
}
