// HTTP_PROXY and HTTPS_PROXY of local mode: an agent may reach the connections under their own host names, and nothing else.
import { Socket } from "node:net";
import type { TLSSocket } from "node:tls";

import { ProxyError } from "../errors.ts";
import type { PodAuthority } from "../tls/authority.ts";
import { createTlsTerminator } from "../tls/terminate.ts";
import { readAuthority } from "./head.ts";
import type { HttpRoute } from "./room.ts";

export interface ForwardProxyOptions {
  readonly authority: PodAuthority;
  /** Which connections serve this host and port by name. */
  readonly routeFor: (host: string, port: number) => HttpRoute | undefined;
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

  const named = (host: string, port: number): HttpRoute => {
    const route = options.routeFor(host, port);
    if (route === undefined) throw new ProxyError("Denied", missing(host, port));
    return route;
  };

  const route: HttpRoute = {
    scheme: "http",
    named,
    select: () => undefined,
    connect(target) {
      const { host, port } = readAuthority(target.toLowerCase());
      const inner = named(host, port ?? 443);
      return (tunnel) => {
        if (!(tunnel instanceof Socket)) tunnel.destroy();
        else if (inner.scheme === "http") accept(tunnel, inner);
        else terminator.accept(tunnel, (secure) => accept(secure, inner));
      };
    },
  };

  return {
    accept: (socket) => accept(socket, route),
    close: () => terminator.close(),
  };
}

function missing(host: string, port: number): string {
  const scheme = port === 443 ? "https://" : "http://";
  const url = `${scheme}${host}${port === 443 || port === 80 ? "" : `:${port}`}`;
  return `no Connection names ${host}:${port}; to reach it, add a Connection with endpoint.url ${url} (or with ${host} among its hosts) and an AccessPolicy that targets it`;
}
