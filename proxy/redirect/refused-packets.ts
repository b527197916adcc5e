// Tells of packets that the pod's rules refused: neither TCP nor DNS, so that they never come to the proxy. The kernel counts them for
// the pod's network (/proc/net/snmp, snmp6), which anybody in it may read.
import { readFileSync } from "node:fs";

import { ProxyError } from "../errors.ts";
import { foreignPeers, packetCounts, type PacketCounts } from "./kernel-counters.ts";

export interface RefusedPacketsOptions {
  readonly onRefused: (error: ProxyError) => void;
  readonly everyMs?: number;
  readonly read?: (path: string) => string;
  /** Sockets of this user are the proxy's own. */
  readonly ownUid?: number;
}

/** Soon enough for who watches; reading costs 0.1 ms. */
const watchEveryMs = 2_000;
/** Of one event. */
const maxPeersNamed = 5;

export function watchRefusedPackets(options: RefusedPacketsOptions): { close(): void } {
  const read = options.read ?? readOrNothing;
  const count = (): PacketCounts => packetCounts(read("/proc/net/snmp"), read("/proc/net/snmp6"));
  let last = count();
  const look = (): void => {
    const now = count();
    const refused = now.refused - last.refused;
    const pings = now.pings - last.pings;
    last = now;
    if (refused <= 0) return;
    const peers = foreignPeers(
      ["udp", "udp6", "icmp", "icmp6", "raw", "raw6"].map((table) => ({
        protocol: table,
        text: read(`/proc/net/${table}`),
      })),
      options.ownUid ?? process.getuid?.() ?? -1,
    );
    options.onRefused(new ProxyError("PacketsRefused", sentence(refused, pings, peers)));
  };
  const timer = setInterval(look, options.everyMs ?? watchEveryMs).unref();
  return {
    close() {
      clearInterval(timer);
      look();
    },
  };
}

function sentence(refused: number, pings: number, peers: readonly string[]): string {
  const packets = refused === 1 ? "1 packet was" : `${refused} packets were`;
  const echo = pings > 0 ? ` (${Math.min(pings, refused)} of them pings)` : "";
  const named = peers.slice(0, maxPeersNamed);
  const more = peers.length > named.length ? ` and ${peers.length - named.length} more` : "";
  const open = named.length === 0 ? "" : `; sockets open now: ${named.join(", ")}${more}`;
  return `${packets} refused${echo}: only TCP and DNS leave this pod, through the proxy; UDP and ICMP reach nobody${open}`;
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // a kernel without IPv6 or without ping sockets
  }
}
