// Where the agent meets the proxy: one listener for each (address, port), on loopback alone. Address and port name the connection.
import type { Socket } from "node:net";
import type { Logger } from "pino";
import type { AddressMap, ConnectionAddress } from "../contract/addresses.ts";
import { normalisePath } from "../policy/http/path.ts";
import { spellTarget } from "../policy/http/target.ts";
import type { ManagedGate } from "./gate.ts";
import type { HttpRoute } from "./http/room.ts";
import { listen, type Listener } from "./net/listen.ts";
import type { Gate } from "./pipeline.ts";
import type { Rooms } from "./rooms.ts";
import type { PodAuthority } from "./tls/authority.ts";
import { createTlsTerminator } from "./tls/terminate.ts";

export interface ListenersOptions {
  readonly addresses: AddressMap;
  readonly gates: ReadonlyMap<string, ManagedGate>;
  readonly rooms: Rooms;
  readonly authority: PodAuthority;
  readonly logger: Logger;
  /** Local mode: what a web page sends is refused, and connections that carry a placeholder key want it. */
  readonly guard?: { readonly guardKey: string; readonly keyed: (connection: string) => boolean };
}

export interface Listeners {
  routeFor(host: string, port: number): HttpRoute | undefined;
  close(): Promise<void>;
}

export async function openListeners(options: ListenersOptions): Promise<Listeners> {
  const { addresses, gates, rooms, authority, logger } = options;
  const terminator = createTlsTerminator({
    authority,
    onFailure: (error) => logger.info({ event: "tls-handshake-failed", error: error.message }),
  });
  const opened: Listener[] = [];
  const gateOf = ({ connection }: ConnectionAddress): Gate => {
    const gate = gates.get(connection);
    if (gate === undefined) throw new Error(`no gate for connection ${connection}`);
    return gate;
  };

  const open = async (
    address: string,
    port: number,
    onConnection: (socket: Socket) => void,
  ): Promise<void> => {
    opened.push(await listen({ host: address, port, onConnection }));
  };

  try {
    for (const entry of addresses.connections) {
      const { address, port } = entry.endpoint;
      if (addresses.interception !== "endpoints") continue;
      const gate = gateOf(entry);
      if (entry.protocol === "postgres")
        await open(address, port, (socket) => rooms.acceptPostgres(socket, gate, [address]));
      else {
        const route = endpointRoute(entry, gate, options.guard);
        await open(address, port, (socket) => rooms.acceptHttp(socket, route));
      }
    }
    for (const [place, entries] of byPlace(addresses)) {
      const [address = "", port = ""] = place.split(" ");
      const [first] = entries;
      if (first === undefined) continue;
      const names = first.hosts.filter((host) => host.address === address).map(({ name }) => name);
      if (first.protocol === "postgres")
        await open(address, Number(port), (socket) =>
          rooms.acceptPostgres(socket, gateOf(first), [...names, address]),
        );
      else {
        const route = namedRoute(entries, gateOf, undefined);
        const accept = (socket: Socket) => rooms.acceptHttp(socket, route);
        await open(
          address,
          Number(port),
          route.scheme === "https" ? (socket) => terminator.accept(socket, accept) : accept,
        );
      }
    }
  } catch (error) {
    await Promise.all(opened.map((listener) => listener.close()));
    throw error;
  }

  return {
    routeFor(host, port) {
      const entries = addresses.connections.filter(
        (entry) =>
          entry.protocol !== "postgres" && entry.port === port && entry.names.includes(host),
      );
      return entries.length === 0 ? undefined : namedRoute(entries, gateOf, options.guard);
    },
    async close() {
      // Handshakes that nobody finishes are cut, or the listeners would wait for them.
      await Promise.all([...opened.map((listener) => listener.close()), terminator.close()]);
    },
  };
}

/** The endpoint listener serves one connection, whatever way its own address is written. */
function endpointRoute(
  { connection, endpoint }: ConnectionAddress,
  gate: Gate,
  guard: ListenersOptions["guard"],
): HttpRoute {
  const own = new Set([endpoint.address, "localhost", "127.0.0.1"]);
  return {
    scheme: "http",
    select: (host, _path, port) =>
      own.has(host) && (port ?? 80) === endpoint.port ? gate : undefined,
    ...(guard === undefined
      ? {}
      : { guard: guard.keyed(connection) ? { key: guard.guardKey } : {} }),
  };
}

/** Connections that share a host and port: the longest endpoint path wins. */
function namedRoute(
  entries: readonly ConnectionAddress[],
  gateOf: (entry: ConnectionAddress) => Gate,
  guard: ListenersOptions["guard"],
): HttpRoute {
  const byLength = entries.toSorted((a, b) => b.path.length - a.path.length);
  const scheme = entries[0]?.scheme === "https" ? "https" : "http";
  const defaultPort = scheme === "https" ? 443 : 80;
  return {
    scheme,
    select(host, path, port) {
      const there = byLength.filter(
        (entry) => entry.names.includes(host) && (port ?? defaultPort) === entry.port,
      );
      // Where the path says which Connection it is, it has to have one reading.
      if (there.length > 1 && "problem" in normalisePath(path)) return undefined;
      const found = there.find((entry) => {
        const base = spellTarget(entry.path);
        return path === base || path.startsWith(`${base}/`);
      });
      return found === undefined ? undefined : gateOf(found);
    },
    ...(guard === undefined
      ? {}
      : {
          guard: entries.every(({ connection }) => guard.keyed(connection))
            ? { key: guard.guardKey }
            : {},
        }),
  };
}

/** Host listeners: every (address, port) with the connections that are met there. */
function byPlace(addresses: AddressMap): Map<string, ConnectionAddress[]> {
  const places = new Map<string, ConnectionAddress[]>();
  for (const entry of addresses.connections) {
    for (const { address } of entry.hosts) {
      const place = `${address} ${entry.port}`;
      const there = places.get(place) ?? [];
      if (!there.includes(entry)) places.set(place, [...there, entry]);
    }
  }
  return places;
}
