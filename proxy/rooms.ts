// The protocol rooms of one proxy. Each loads when a Connection needs it: a pod without PostgreSQL never loads the SQL grammar.
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { AddressMap } from "../contract/addresses.ts";
import type { ConnectionId } from "../policy/operation.ts";
import { compileWasmOnce } from "./engine.ts";
import type { ProxyError } from "./errors.ts";
import type { HttpRoom, HttpRoute } from "./http/room.ts";
import type { Dial } from "./net/dial.ts";
import type { Gate } from "./pipeline.ts";
import { createPassthroughRoom, type PassthroughRoom } from "./passthrough/room.ts";
import type { PostgresRoom } from "./postgres/room.ts";
import type { PodAuthority } from "./tls/authority.ts";

export interface RoomsOptions {
  readonly dial: Dial;
  readonly authority: PodAuthority;
  readonly addresses: AddressMap;
  /** Refused before it became an operation: for the record. */
  readonly onRefused: (error: ProxyError, connection?: ConnectionId) => void;
  /** A failure that no code of the registry describes: for a log line. */
  readonly onUnexpected: (error: unknown) => void;
}

export interface Rooms {
  /** @param names what the client may have dialled, most specific first: the first that has a certificate is presented */
  acceptPostgres(socket: Socket, gate: Gate, names: readonly string[]): void;
  acceptHttp(socket: Socket | TLSSocket, route: HttpRoute): void;
  readonly passthrough: PassthroughRoom;
  close(): Promise<void>;
}

export async function openRooms(options: RoomsOptions): Promise<Rooms> {
  const { authority, addresses } = options;
  const needsPostgres = addresses.connections.some(({ protocol }) => protocol === "postgres");
  const needsHttp =
    addresses.connections.some(
      ({ protocol }) => protocol !== "postgres" && protocol !== "passthrough",
    ) || addresses.forwardProxy !== undefined;
  const passthrough = createPassthroughRoom(options);
  const postgres = needsPostgres ? await openPostgres(options) : undefined;
  const http = needsHttp ? await openHttp(options) : undefined;
  return {
    passthrough,
    acceptPostgres(socket, gate, names) {
      if (postgres === undefined)
        throw new Error("no postgres connection was named when the rooms were opened");
      const known = names.find((name) => authority.knows(name));
      postgres.accept(
        socket,
        gate,
        known === undefined ? undefined : () => authority.secureContextFor(known),
      );
    },
    acceptHttp(socket, route) {
      if (http === undefined)
        throw new Error("no http connection was named when the rooms were opened");
      http.accept(socket, route);
    },
    async close() {
      await Promise.all([postgres?.close(), http?.close(), passthrough.close()]);
    },
  };
}

async function openPostgres({ dial, onRefused }: RoomsOptions): Promise<PostgresRoom> {
  compileWasmOnce();
  const [{ createPostgresRoom }, { loadSqlGrammar }, { createUnderstanding }] = await Promise.all([
    import("./postgres/room.ts"),
    import("../policy/sql/grammar.ts"),
    import("./postgres/understand.ts"),
  ]);
  return createPostgresRoom({
    dial,
    onRefused,
    tlsContext: () => undefined,
    ...createUnderstanding(await loadSqlGrammar()),
  });
}

async function openHttp({ dial, onRefused, onUnexpected }: RoomsOptions): Promise<HttpRoom> {
  const { createHttpRoom } = await import("./http/room.ts");
  return createHttpRoom({ dial, onRefused, onUnexpected });
}
