// What a redirected pod's proxy listens on besides: the port that every connection comes to, and DNS.
import { readFileSync } from "node:fs";
import { networkInterfaces, type NetworkInterfaceInfo } from "node:os";
import type { Socket } from "node:net";
import type { Logger } from "pino";

import type { AddressMap } from "../../contract/addresses.ts";
import { answerTo } from "../dns/answer.ts";
import { openDns } from "../dns/listener.ts";
import { ProxyError } from "../errors.ts";
import { neededConnection } from "../needed-connection.ts";
import { listen, type Listener } from "../net/listen.ts";
import { acceptRedirected } from "./accept.ts";
import type { OriginalDestination } from "./original-destination.ts";
import { namedAddresses, namesByAddress } from "./places.ts";

export interface RedirectListenersOptions {
  readonly addresses: AddressMap;
  readonly destinationOf: OriginalDestination;
  readonly ports: { readonly tcp: number; readonly dns: number };
  /** Of the pod's resolv.conf. */
  readonly search: readonly string[];
  /** What the pod can dial. */
  readonly families: readonly (4 | 6)[];
  /** Loopback addresses to listen on. */
  readonly hosts: readonly string[];
  readonly onRefused: (error: ProxyError) => void;
  readonly logger: Logger;
}

/** All of a pod's connections come to one port, where elsewhere each Connection has its own. */
const maxConnections = 4_096;
const dnsQueriesAtPort = 53;
/** ::1 as the kernel lists it. */
const loopbackIPv6 = `${"0".repeat(31)}1 `;

export async function openRedirectListeners(
  options: RedirectListenersOptions,
  meet: (name: string, port: number) => ((socket: Socket) => void) | undefined,
): Promise<{ close(): Promise<void> }> {
  const { addresses, destinationOf, onRefused, logger, hosts, ports, search, families } = options;
  const names = namedAddresses(addresses);
  const redirected = {
    destinationOf,
    nameOf: namesByAddress(names),
    meet,
    onRefused,
    onFailure: (error: Error) =>
      logger.error({ event: "destination-unreadable", error: error.message }),
  };
  const opened: Pick<Listener, "close">[] = [];
  try {
    for (const host of hosts)
      opened.push(
        await listen({
          host,
          port: ports.tcp,
          maxConnections,
          onConnection: (socket) => acceptRedirected(socket, redirected),
        }),
      );
    opened.push(
      await openDns({
        hosts,
        port: ports.dns,
        answer: (message) => answerTo(message, { names, families, search }),
        onUnknown(name) {
          const target = { host: name, port: dnsQueriesAtPort, scheme: "dns" } as const;
          onRefused(new ProxyError("HostUnknown", neededConnection(target), { target }));
        },
      }),
    );
  } catch (error) {
    await Promise.all(opened.map((listener) => listener.close(0)));
    throw error;
  }
  return {
    async close() {
      await Promise.all(opened.map((listener) => listener.close()));
    },
  };
}

/** A pod has an address of each family that it can dial; IPv4 where nothing is known, for then nothing else is either. */
export function dialledFamilies(
  interfaces: NodeJS.Dict<NetworkInterfaceInfo[]> = networkInterfaces(),
): readonly (4 | 6)[] {
  const global = Object.values(interfaces).flatMap((addresses) =>
    (addresses ?? []).filter(
      ({ internal, address }) => !internal && !address.toLowerCase().startsWith("fe80:"),
    ),
  );
  const families = ([4, 6] as const).filter((family) =>
    global.some((address) => address.family === `IPv${family}`),
  );
  return families.length === 0 ? [4] : families;
}

/** Where the kernel redirects to (nf_nat_redirect), as far as the pod has it. */
export function redirectHosts(): readonly string[] {
  return hasLoopbackIPv6() ? ["127.0.0.1", "::1"] : ["127.0.0.1"];
}

function hasLoopbackIPv6(): boolean {
  try {
    return readFileSync("/proc/net/if_inet6", "utf8").includes(loopbackIPv6);
  } catch {
    return false; // a kernel without IPv6
  }
}
