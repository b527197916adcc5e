// Where each connection of a pod is met: fixed at injection in the annotation `chaperone.dev/addresses`, read by the proxy through the downward API.
import { protocols, type Protocol } from "../policy/operation.ts";
import { isVirtualAddress } from "./redirect.ts";

export const addressMapVersion = 1;

/**
 * `endpoints`: environment variables point at the proxy. `hosts`: the names agents dial resolve to the proxy. `redirect`: whatever is
 * dialled comes to the proxy.
 */
export type Interception = "endpoints" | "hosts" | "redirect";

export interface ConnectionAddress {
  /** `namespace/name`. */
  readonly connection: string;
  readonly protocol: Protocol;
  /** What the agent speaks when it dials by host name. On the endpoint listener HTTP is always plain. */
  readonly scheme: "postgres" | "https" | "http";
  /** Base path the agent's requests carry, without a trailing slash; empty for none. */
  readonly path: string;
  /** The names agents dial for this connection, short forms included, under either interception. */
  readonly names: readonly string[];
  /** Each distinct host name has its own address, in 127.0.64.0/18 or, under `redirect`, in 198.18.64.0/18; empty under `endpoints`. */
  readonly hosts: readonly { readonly name: string; readonly address: string }[];
  /** The port agents dial by host name: the endpoint's own. */
  readonly port: number;
  /** Where injected variables point under `endpoints`. */
  readonly endpoint: ListenAddress;
}

export interface AddressMap {
  readonly version: typeof addressMapVersion;
  readonly interception: Interception;
  readonly connections: readonly ConnectionAddress[];
  /** Where `HTTPS_PROXY` and `HTTP_PROXY` of the agent point, in pods that ask for them. */
  readonly forwardProxy?: ListenAddress;
}

export interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

/** Bound on connections of one pod: a kubelet refuses annotations over 256 KiB, and each one is a listener. */
export const maxConnectionsPerPod = 256;

/**
 * Reads the annotation. Throws an Error naming what is wrong: the proxy must not guess where it listens.
 * @param text the annotation's value
 */
export function parseAddressMap(text: string): AddressMap {
  const value: unknown = JSON.parse(text);
  if (!isRecord(value)) throw new Error("chaperone.dev/addresses: not an object");
  if (value.version !== addressMapVersion) {
    throw new Error(
      `chaperone.dev/addresses: version ${String(value.version)} is not spoken here (known: ${addressMapVersion})`,
    );
  }
  const { interception } = value;
  if (!isInterception(interception))
    throw new Error("chaperone.dev/addresses: interception must be endpoints, hosts or redirect");
  if (!Array.isArray(value.connections) || value.connections.length > maxConnectionsPerPod) {
    throw new Error(
      `chaperone.dev/addresses: connections must be a list of at most ${maxConnectionsPerPod}`,
    );
  }
  const { forwardProxy } = value;
  return {
    version: addressMapVersion,
    interception,
    connections: value.connections.map((entry: unknown, index) =>
      parseConnection(entry, index, interception),
    ),
    ...(forwardProxy !== undefined && {
      forwardProxy: parseListen(forwardProxy, "chaperone.dev/addresses: forwardProxy"),
    }),
  };
}

export function isInterception(value: unknown): value is Interception {
  return value === "endpoints" || value === "hosts" || value === "redirect";
}

function parseConnection(
  value: unknown,
  index: number,
  interception: Interception,
): ConnectionAddress {
  const at = `chaperone.dev/addresses: connections[${index}]`;
  if (!isRecord(value) || !Array.isArray(value.hosts) || !Array.isArray(value.names))
    throw new Error(`${at}: not a connection address`);
  const { connection, protocol, scheme, path, port, endpoint } = value;
  if (typeof connection !== "string" || typeof path !== "string")
    throw new Error(`${at}: connection and path must be strings`);
  const known = protocols.find((one) => one === protocol);
  if (known === undefined) throw new Error(`${at}: unknown protocol ${String(protocol)}`);
  if (scheme !== "postgres" && scheme !== "https" && scheme !== "http")
    throw new Error(`${at}: unknown scheme ${String(scheme)}`);
  return {
    connection,
    protocol: known,
    scheme,
    path,
    port: parsePort(port, at),
    endpoint: parseListen(endpoint, at),
    names: value.names.map(String),
    hosts: value.hosts.map((host: unknown) => {
      if (!isRecord(host) || typeof host.name !== "string")
        throw new Error(`${at}: hosts must name a name and an address`);
      const address =
        interception === "redirect"
          ? parseVirtual(host.address, at)
          : parseLoopback(host.address, at);
      return { name: host.name, address };
    }),
  };
}

function parseListen(value: unknown, at: string): ListenAddress {
  if (!isRecord(value)) throw new Error(`${at}: not an address and port`);
  return { address: parseLoopback(value.address, at), port: parsePort(value.port, at) };
}

/** Data listeners stand only on loopback: anything else would offer the pod's grants to the network. */
function parseLoopback(value: unknown, at: string): string {
  if (typeof value !== "string" || !/^127(\.\d{1,3}){3}$/.test(value)) {
    throw new Error(`${at}: ${String(value)} is not a loopback address`);
  }
  return value;
}

/** One that only the proxy's DNS gives out: a real one would make a Connection of whatever stands there. */
function parseVirtual(value: unknown, at: string): string {
  if (typeof value !== "string" || !isVirtualAddress(value))
    throw new Error(`${at}: ${String(value)} is not an address of redirected names`);
  return value;
}

function parsePort(value: unknown, at: string): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > 65535)
    throw new Error(`${at}: ${String(value)} is not a port`);
  return value;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
