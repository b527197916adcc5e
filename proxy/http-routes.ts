// Which connection serves a request, by the listener it came to, its host and its path.
import type { ConnectionAddress } from "../contract/addresses.ts";
import { normalisePath } from "../policy/http/path.ts";
import { spellTarget } from "../policy/http/target.ts";
import type { HttpRoute } from "./http/room.ts";
import type { Gate } from "./pipeline.ts";

/** Local mode: what a web page sends is refused, and connections that carry a placeholder key want it. */
export interface LocalGuard {
  readonly guardKey: string;
  readonly keyed: (connection: string) => boolean;
}

/** The endpoint listener serves one connection, whatever way its own address is written. */
export function endpointRoute(
  { connection, endpoint }: ConnectionAddress,
  gate: Gate,
  guard: LocalGuard | undefined,
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
export function namedRoute(
  entries: readonly ConnectionAddress[],
  gateOf: (entry: ConnectionAddress) => Gate,
  guard: LocalGuard | undefined,
): HttpRoute {
  const byLength = entries
    .toSorted((a, b) => b.path.length - a.path.length)
    .map((entry) => ({ entry, base: spellTarget(entry.path) }));
  const scheme = entries[0]?.scheme === "https" ? "https" : "http";
  const defaultPort = scheme === "https" ? 443 : 80;
  return {
    scheme,
    select(host, path, port) {
      const there = byLength.filter(
        ({ entry }) => entry.names.includes(host) && (port ?? defaultPort) === entry.port,
      );
      // Where the path says which Connection it is, it has to have one reading.
      if (there.length > 1 && "problem" in normalisePath(path)) return undefined;
      const found = there.find(({ base }) => path === base || path.startsWith(`${base}/`));
      return found === undefined ? undefined : gateOf(found.entry);
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

/** The same, for a connection that was dialled by one name: a request for another is answered 421 (RFC 9110 section 7.4). */
export function onlyFor(host: string, route: HttpRoute): HttpRoute {
  return {
    ...route,
    select: (named, path, port) => (named === host ? route.select(named, path, port) : undefined),
  };
}
