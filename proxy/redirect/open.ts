// What only redirected pods need, loaded only there: the way to libc, DNS, and the watch over what the rules refuse.
import { readFile } from "node:fs/promises";
import type { Logger } from "pino";

import type { AddressMap } from "../../contract/addresses.ts";
import { dnsPort, redirectPort } from "../../contract/redirect.ts";
import type { ProxyError } from "../errors.ts";
import { parseResolvConf } from "../net/resolv-conf.ts";
import { dialledFamilies, redirectHosts, type RedirectListenersOptions } from "./listeners.ts";
import { openOriginalDestination } from "./original-destination.ts";
import { watchRefusedPackets } from "./refused-packets.ts";

export interface OpenRedirectOptions {
  readonly addresses: AddressMap;
  readonly resolvConf: string;
  readonly logger: Logger;
  readonly onRefused: (error: ProxyError) => void;
}

/** Throws an Error where destinations cannot be told: such a proxy must not become ready. */
export async function openRedirect(
  options: OpenRedirectOptions,
): Promise<{ readonly listeners: RedirectListenersOptions; close(): void }> {
  const { addresses, logger, onRefused } = options;
  const conf = parseResolvConf(await readFile(options.resolvConf, "utf8").catch(() => ""));
  const destinationOf = openOriginalDestination();
  const packets = watchRefusedPackets({ onRefused });
  return {
    listeners: {
      addresses,
      destinationOf,
      ports: { tcp: redirectPort, dns: dnsPort },
      search: conf.search,
      families: dialledFamilies(),
      hosts: redirectHosts(),
      onRefused,
      logger,
    },
    close: () => packets.close(),
  };
}
