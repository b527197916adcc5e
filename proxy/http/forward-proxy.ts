// The listener that HTTPS_PROXY and HTTP_PROXY point at: an agent may reach its Connections under their own host names and ports, each
// request decided like any other, and nothing else.
import { Socket } from "node:net";
import type { TLSSocket } from "node:tls";

import type { RefusedTarget } from "../../contract/event.ts";
import { ProxyError } from "../errors.ts";
import { neededConnection } from "../needed-connection.ts";
import type { PodAuthority } from "../tls/authority.ts";
import { createTlsTerminator } from "../tls/terminate.ts";
import { boundedHost, readConnect } from "./connect-target.ts";
import type { HttpRoute, TunnelAnswer } from "./room.ts";

/** What is met at a host and port. */
export type ForwardTarget =
  | { readonly kind: "http"; readonly route: HttpRoute }
  /** Another protocol, spoken inside a tunnel; TLS, where it has any, is its room's. */
  | {
      readonly kind: "tunnel";
      open(signal: AbortSignal): Tunnel | Promise<Tunnel>;
    };

/** Who takes it, or a refusal that is in the record already. */
type Tunnel =
  | { readonly take: (socket: Socket) => void }
  | Extract<TunnelAnswer, { readonly go: false }>;

export interface ForwardProxyOptions {
  readonly authority: PodAuthority;
  /** Undefined: no Connection names this host and port. */
  readonly targetFor: (host: string, port: number) => ForwardTarget | undefined;
  /** The HTTP room's. */
  readonly accept: (socket: Socket | TLSSocket, route: HttpRoute) => void;
  readonly onFailure?: (error: Error) => void;
}

export interface ForwardProxy {
  accept(socket: Socket): void;
  close(): Promise<void>;
}

export function createForwardProxy(options: ForwardProxyOptions): ForwardProxy {
  const { authority, accept, onFailure } = options;
  const terminator = createTlsTerminator({
    authority,
    ...(onFailure !== undefined && { onFailure }),
  });

  const targetOf = (place: Omit<RefusedTarget, "count">): ForwardTarget => {
    const target = options.targetFor(place.host, place.port);
    if (target === undefined) throw hostUnknown(place);
    return target;
  };

  /** The tunnel was asked for one host: another in the handshake or in a request is answered 421 (RFC 9110 section 7.4). */
  const requests = (socket: Socket, host: string, route: HttpRoute): void => {
    const inner: HttpRoute = {
      ...route,
      select: (named, path, port) => (named === host ? route.select(named, path, port) : undefined),
    };
    if (route.scheme === "http") accept(socket, inner);
    else terminator.accept(socket, (secure) => accept(secure, inner), host);
  };

  const route: HttpRoute = {
    scheme: "http",
    named(host, port) {
      const target = targetOf({ host: boundedHost(host), port, scheme: "http" });
      if (target.kind === "http" && target.route.scheme === "http") return target.route;
      throw new ProxyError(
        "ConnectionUnknown",
        `the Connection at ${host}:${port} is not reached by plain HTTP requests: use an https URL, or CONNECT`,
      );
    },
    select: () => undefined,
    async connect(authorityForm, headers, signal) {
      const { host, port } = readConnect(authorityForm, headers);
      const target = targetOf({ host, port, scheme: port === 80 ? "http" : "https" });
      const tunnel: Tunnel =
        target.kind === "tunnel"
          ? await target.open(signal)
          : { take: (socket) => requests(socket, host, target.route) };
      if (!("take" in tunnel)) return tunnel;
      return {
        take(raw) {
          if (raw instanceof Socket) tunnel.take(raw);
          else raw.destroy();
        },
      };
    },
  };

  return {
    accept: (socket) => accept(socket, route),
    close: () => terminator.close(),
  };
}

function hostUnknown(target: Omit<RefusedTarget, "count">): ProxyError {
  return new ProxyError("HostUnknown", neededConnection(target), { target });
}
