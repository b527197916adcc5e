// Sends one ICMP echo request without privileges (ping sockets, icmp(7)), which Node cannot.
import { readFileSync } from "node:fs";
import { isIPv6 } from "node:net";

import { bytesOfIPv4, bytesOfIPv6 } from "../dns/answer.ts";
import { packetCounts } from "./kernel-counters.ts";
import { openLibc } from "./libc.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
/** Type and code of an echo request; the kernel fills in checksum and identifier. */
const echo = [8, 0, 0, 0, 0, 0, 0, 1] as const;
const echo6 = [128, 0, 0, 0, 0, 0, 0, 1] as const;

/** `refused`: where it was sent, or already the socket was. */
export function sendPing(address: string): "sent" | "refused" {
  const libc = openLibc();
  const isV6 = isIPv6(address);
  const socket = libc.call("int socket(int domain, int type, int protocol)");
  const fd = socket(isV6 ? AF_INET6 : AF_INET, SOCK_DGRAM, isV6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
  if (fd < 0) return "refused";
  const sendto = libc.call(
    "int sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t size)",
  );
  const message = Buffer.from(isV6 ? echo6 : echo);
  const to = sockaddrOf(address);
  const before = discarded();
  const sent = sendto(fd, message, message.length, 0, to, to.length);
  libc.call("int close(int fd)")(fd);
  // Over IPv6 the kernel says that it sent what it discarded; between the two readings nothing else was sent from here.
  return sent < 0 || discarded() > before ? "refused" : "sent";
}

function discarded(): number {
  return packetCounts(readOrNothing("/proc/net/snmp"), readOrNothing("/proc/net/snmp6")).refused;
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // a kernel without IPv6
  }
}

/** sockaddr_in or sockaddr_in6 (netinet/in.h), port 0. */
function sockaddrOf(address: string): Buffer {
  const isV6 = isIPv6(address);
  const bytes = isV6 ? bytesOfIPv6(address) : bytesOfIPv4(address);
  const result = Buffer.alloc(isV6 ? 28 : 16);
  result.writeUInt16LE(isV6 ? AF_INET6 : AF_INET, 0);
  result.set(bytes, isV6 ? 8 : 4);
  return result;
}
