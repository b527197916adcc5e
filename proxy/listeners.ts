// Where the agent meets the proxy: one listener for each (address, port), on loopback alone. Address and port name the connection;
// the forward proxy's own listener is told by name.
import type { Socket } from "node:net";
import type { Logger } from "pino";
import type { AddressMap, ConnectionAddress } from "../contract/addresses.ts";
import { ProxyError } from "./errors.ts";
import type { ManagedGate } from "./gate.ts";
import { endpointRoute, namedRoute, onlyFor, type LocalGuard } from "./http-routes.ts";
import { createForwardProxy, type ForwardProxy, type ForwardTarget } from "./http/forward-proxy.ts";
import { listen, type Listener } from "./net/listen.ts";
import { openRedirectListeners, type RedirectListenersOptions } from "./redirect/listeners.ts";
import type { PassthroughPlace } from "./passthrough/room.ts";
import type { Gate } from "./pipeline.ts";
import type { Rooms } from "./rooms.ts";
import type { PodAuthority } from "./tls/authority.ts";
import { createTlsTerminator } from "./tls/terminate.ts";

export interface ListenersOptions {
  readonly addresses: AddressMap;
  readonly gates: ReadonlyMap<string, ManagedGate>;
  readonly rooms: Rooms;
  readonly authority: PodAuthority;
  /** A handshake for a name that is nobody's, or that is none: for the record. */
  readonly onRefused: (error: ProxyError) => void;
  readonly logger: Logger;
  readonly guard?: LocalGuard;
  /** Under interception `redirect`. */
  readonly redirect?: RedirectListenersOptions;
}

export interface Listeners {
  close(): Promise<void>;
}

export async function openListeners(options: ListenersOptions): Promise<Listeners> {
  const { addresses, gates, rooms, authority, logger } = options;
  const onFailure = (error: Error): void => {
    logger.info({ event: "tls-handshake-failed", error: error.message });
    if (error instanceof ProxyError) options.onRefused(error);
  };
  const terminator = createTlsTerminator({ authority, onFailure });
  const opened: Listener[] = [];
  let forwardProxy: ForwardProxy | undefined;
  let redirect: Listeners | undefined;
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

  /** Whatever address it came to: the name in the handshake has to be one of the Connection's. */
  const placeOf = (entry: ConnectionAddress): PassthroughPlace => ({
    gate: gateOf(entry),
    names: entry.names,
    port: entry.port,
  });
  const openPassthrough = (
    address: string,
    port: number,
    entry: ConnectionAddress,
  ): Promise<void> => {
    const place = placeOf(entry);
    return open(address, port, (socket) => rooms.passthrough.accept(socket, place));
  };

  const openEndpoint = (entry: ConnectionAddress): Promise<void> => {
    const { address, port } = entry.endpoint;
    const gate = gateOf(entry);
    if (entry.protocol === "postgres")
      return open(address, port, (socket) => rooms.acceptPostgres(socket, gate, [address]));
    if (entry.protocol === "passthrough") return openPassthrough(address, port, entry);
    const route = endpointRoute(entry, gate, options.guard);
    return open(address, port, (socket) => rooms.acceptHttp(socket, route));
  };

  /** @param entries at least one; those of one place speak one protocol */
  const openPlace = (
    address: string,
    port: number,
    entries: readonly ConnectionAddress[],
    first: ConnectionAddress,
  ): Promise<void> => {
    if (first.protocol === "postgres") {
      const names = first.hosts.filter((host) => host.address === address).map(({ name }) => name);
      return open(address, port, (socket) =>
        rooms.acceptPostgres(socket, gateOf(first), [...names, address]),
      );
    }
    if (first.protocol === "passthrough") return openPassthrough(address, port, first);
    const route = namedRoute(entries, gateOf, undefined);
    const accept = (socket: Socket): void => rooms.acceptHttp(socket, route);
    return open(
      address,
      port,
      route.scheme === "https" ? (socket) => terminator.accept(socket, accept) : accept,
    );
  };

  const entriesAt = (host: string, port: number): readonly ConnectionAddress[] =>
    addresses.connections.filter((entry) => entry.port === port && entry.names.includes(host));

  /** What the forward proxy meets at a host and port. */
  const targetFor = (host: string, port: number): ForwardTarget | undefined => {
    const entries = entriesAt(host, port);
    const [first] = entries;
    if (first === undefined) return undefined;
    if (first.protocol === "postgres")
      return {
        kind: "tunnel",
        open: () => ({
          take: (socket) => rooms.acceptPostgres(socket, gateOf(first), [host]),
        }),
      };
    if (first.protocol === "passthrough")
      return {
        kind: "tunnel",
        open: (signal) => rooms.passthrough.open(placeOf(first), host, signal),
      };
    return { kind: "http", route: namedRoute(entries, gateOf, options.guard) };
  };

  /** Who takes a redirected connection: the name that was dialled is the only one that may be asked for on it. */
  const takerAt = (host: string, port: number): ((socket: Socket) => void) | undefined => {
    const entries = entriesAt(host, port);
    const [first] = entries;
    if (first === undefined) return undefined;
    if (first.protocol === "postgres")
      return (socket) => rooms.acceptPostgres(socket, gateOf(first), [host]);
    if (first.protocol === "passthrough")
      return (socket) => rooms.passthrough.accept(socket, { ...placeOf(first), names: [host] });
    const route = onlyFor(host, namedRoute(entries, gateOf, undefined));
    const accept = (socket: Socket): void => rooms.acceptHttp(socket, route);
    return route.scheme === "https" ? (socket) => terminator.accept(socket, accept, host) : accept;
  };

  // One for each name and port that there is: nothing that is dialled adds to it.
  const takers = new Map(
    addresses.connections.flatMap(({ names, port }) =>
      names.map((name) => [`${name} ${port}`, takerAt(name, port)] as const),
    ),
  );
  const meet = (host: string, port: number): ((socket: Socket) => void) | undefined =>
    takers.get(`${host} ${port}`);

  try {
    if (options.redirect !== undefined)
      redirect = await openRedirectListeners(options.redirect, meet);
    if (addresses.interception === "endpoints")
      for (const entry of addresses.connections) await openEndpoint(entry);
    // Under redirect the addresses of names are nobody's to listen on.
    const places = addresses.interception === "redirect" ? [] : byPlace(addresses);
    for (const [place, entries] of places) {
      const [address = "", port = ""] = place.split(" ");
      const [first] = entries;
      if (first !== undefined) await openPlace(address, Number(port), entries, first);
    }
    if (addresses.forwardProxy !== undefined) {
      const proxy = createForwardProxy({
        authority,
        targetFor,
        accept: rooms.acceptHttp,
        onFailure,
      });
      forwardProxy = proxy;
      const { address, port } = addresses.forwardProxy;
      await open(address, port, (socket) => proxy.accept(socket));
    }
  } catch (error) {
    await Promise.all([...opened.map((listener) => listener.close()), redirect?.close()]);
    throw error;
  }

  return {
    async close() {
      // Handshakes that nobody finishes are cut, or the listeners would wait for them.
      await Promise.all([
        ...opened.map((listener) => listener.close()),
        terminator.close(),
        forwardProxy?.close(),
        redirect?.close(),
      ]);
    },
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
