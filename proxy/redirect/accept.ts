// Takes the connections that the pod's rules redirect: the destination says by which name it was dialled, name and port say who serves it.
// Decided before a byte is read, so that protocols in which the server speaks first are served like the others.
import type { Socket } from "node:net";

import { proofLine, redirectPort } from "../../contract/redirect.ts";
import { ProxyError } from "../errors.ts";
import { neededConnection } from "../needed-connection.ts";
import type { Destination, OriginalDestination } from "./original-destination.ts";
import type { NameOf } from "./places.ts";

export interface RedirectedOptions {
  readonly destinationOf: OriginalDestination;
  readonly nameOf: NameOf;
  /** Who takes a connection dialled by this name and port; undefined when no Connection does. */
  readonly meet: (name: string, port: number) => ((socket: Socket) => void) | undefined;
  readonly onRefused: (error: ProxyError) => void;
  /** The destination could not be told, which cannot be the agent's doing. */
  readonly onFailure: (error: Error) => void;
}

export function acceptRedirected(socket: Socket, options: RedirectedOptions): void {
  const destination = destinationOf(socket, options);
  if (destination === undefined) {
    socket.destroy();
    return;
  }
  if (destination.port === redirectPort) {
    prove(socket, destination);
    return;
  }
  const { address, port } = destination;
  const name = options.nameOf(address);
  const take = name === undefined ? undefined : options.meet(name, port);
  if (take !== undefined) {
    take(socket);
    return;
  }
  // At once and as a reset: a client that waits for a greeting hears of it too, and none takes it for an answer.
  socket.resetAndDestroy();
  const target = { host: name ?? address, port, scheme: schemeAt(port) } as const;
  options.onRefused(new ProxyError("HostUnknown", neededConnection(target), { target }));
}

function destinationOf(
  socket: Socket,
  { destinationOf: read, onFailure }: RedirectedOptions,
): Destination | undefined {
  // Gone before it was accepted: nobody is there to refuse.
  if (socket.destroyed || socket.remoteAddress === undefined) return undefined;
  try {
    return read(socket);
  } catch (error) {
    onFailure(error instanceof Error ? error : new Error(String(error)));
    return undefined;
  }
}

/** What the verifier asks: a connection to anywhere that ends here says so. */
function prove(socket: Socket, { address, port }: Destination): void {
  socket.end(proofLine(address, port));
  socket.resume();
  const cut = setTimeout(() => socket.destroy(), proofLingerMs).unref();
  socket.once("close", () => clearTimeout(cut));
}

function schemeAt(port: number): "https" | "http" | "tcp" {
  if (port === 443) return "https";
  return port === 80 ? "http" : "tcp";
}

/** A verifier in the same pod reads one line. */
const proofLingerMs = 2_000;
