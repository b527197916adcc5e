// Opens TCP connections to upstreams, and to nothing else: never to ourselves, to loopback or to link-local addresses (a cloud's metadata service).
import { BlockList, connect, isIPv6 } from "node:net";
import type { Socket, TcpNetConnectOpts } from "node:net";

import { ProxyError } from "../errors.ts";
import type { Resolver } from "./resolve.ts";

/** Begins to connect to an address: `net.connect`, or what makes another kind of socket of it. */
export type Open<S extends Socket = Socket> = (to: TcpNetConnectOpts) => S;

/** Resolves with a connected socket, or throws ProxyError UpstreamUnreachable, or the signal's reason. */
export interface Dial {
  (host: string, port: number, signal: AbortSignal): Promise<Socket>;
  <S extends Socket>(host: string, port: number, signal: AbortSignal, open: Open<S>): Promise<S>;
}

export interface DialOptions {
  readonly resolver: Resolver;
  /** True for an address that is one of our own listeners: dialling it would be a loop. */
  readonly deny: (address: string, port: number) => boolean;
  /** Local mode: targets may run on this machine. Link-local stays refused. */
  readonly allowLoopback?: boolean;
  readonly connectTimeoutMs?: number;
}

/** All attempts together; beyond it a client library has usually given up. */
const defaultConnectTimeoutMs = 10_000;
/** When the next address is tried beside one that has not answered (RFC 8305 section 5). */
const nextAttemptMs = 250;
/** A name may have dozens of addresses; the first few decide. */
const maxAttempts = 8;

export function createDial(options: DialOptions): Dial {
  const loopback = new BlockList();
  loopback.addSubnet("127.0.0.0", 8, "ipv4");
  loopback.addAddress("::1", "ipv6");
  const never = new BlockList();
  never.addSubnet("0.0.0.0", 8, "ipv4"); // "this host"
  never.addSubnet("169.254.0.0", 16, "ipv4"); // link-local, metadata services
  never.addSubnet("224.0.0.0", 3, "ipv4"); // multicast, reserved, broadcast
  never.addAddress("::", "ipv6");
  never.addSubnet("fe80::", 10, "ipv6");
  never.addSubnet("ff00::", 8, "ipv6");

  const refused = (address: string, port: number): boolean => {
    const family = isIPv6(address) ? "ipv6" : "ipv4";
    if (options.deny(address, port) || never.check(address, family)) return true;
    return options.allowLoopback !== true && loopback.check(address, family);
  };

  return async <S extends Socket>(
    host: string,
    port: number,
    signal: AbortSignal,
    open?: Open<S>,
  ): Promise<Socket> => {
    const bounded = AbortSignal.any([
      signal,
      AbortSignal.timeout(options.connectTimeoutMs ?? defaultConnectTimeoutMs),
    ]);
    try {
      const addresses = await options.resolver.resolve(host, bounded);
      const allowed = addresses.filter((address) => !refused(address, port)).slice(0, maxAttempts);
      if (allowed.length === 0) {
        throw new ProxyError(
          "UpstreamUnreachable",
          `The endpoint ${host}:${port} is an address that is never dialled (this proxy, its own pod, loopback or link-local).`,
        );
      }
      return await firstConnected(allowed, port, bounded, open ?? connect);
    } catch (error) {
      throw translate(error, host, port, signal);
    }
  };
}

function translate(error: unknown, host: string, port: number, signal: AbortSignal): unknown {
  if (signal.aborted || error instanceof ProxyError) return signal.aborted ? signal.reason : error;
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const why =
    error instanceof Error && error.name === "TimeoutError"
      ? "it did not answer in time"
      : String(code ?? error);
  return new ProxyError(
    "UpstreamUnreachable",
    `The endpoint ${host}:${port} cannot be reached: ${why}.`,
    { cause: error },
  );
}

/** Tries the addresses in order, the next one beside the last when that is slow; the first that connects wins and the others are dropped. */
function firstConnected(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
  begin: Open,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const open = new Set<Socket>();
    let next = 0;
    let timer: NodeJS.Timeout | undefined;
    let settled = false;

    const settle = (winner: Socket | undefined, error?: unknown): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      for (const socket of open) if (socket !== winner) socket.destroy();
      if (winner === undefined) reject(error);
      else resolve(winner);
    };
    const abort = (): void => settle(undefined, signal.reason);
    const attempt = (): void => {
      clearTimeout(timer);
      const address = addresses[next++];
      if (address === undefined) return;
      const socket = begin({ host: address, port });
      // Not as options: a TLS socket does not look at them.
      socket.setNoDelay(true).setKeepAlive(true, 60_000);
      open.add(socket);
      const fail = (error: Error): void => {
        open.delete(socket);
        if (next < addresses.length) attempt();
        else if (open.size === 0) settle(undefined, error);
      };
      socket.once("error", fail);
      socket.once("connect", () => {
        socket.off("error", fail);
        settle(socket);
      });
      if (next < addresses.length) timer = setTimeout(attempt, nextAttemptMs);
    };

    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    signal.addEventListener("abort", abort, { once: true });
    attempt();
  });
}
