// What injection, the rules of a pod's network, its proxy and its verifier agree on under interception `redirect`.

/** Where the rules send every TCP connection that is not the proxy's own, on 127.0.0.1 and ::1. */
export const redirectPort = 15_001;

/** Where they send what goes to port 53, over UDP and TCP. */
export const dnsPort = 15_053;

/**
 * Who puts the rules into a pod's network: `init`, a container of its own with NET_ADMIN, or `node`, a CNI plugin of the node, where a namespace allows no
 * such container.
 */
export type RulesBy = "init" | "node";

/** The pod annotation by which a node's plugin knows the pods that it has to load rules for. Injection writes it. */
export const rulesAnnotation = "chaperone.dev/rules";

/** The annotation's value. @param inbound `tcp:8080,udp:53` */
export function rulesAsked(proxyUid: number, inbound: string): string {
  return JSON.stringify({ proxyUid, inbound });
}

/**
 * The first address of those that the proxy's DNS answers with, one for each name: 198.18.64.0/18, of the range for benchmarks
 * (RFC 2544), which no network routes. A connection that gets past the rules leads nowhere. The first is kept for the verifier.
 */
export const firstVirtualAddress = "198.18.64.0";

/** Only the proxy's DNS knows it, and answers with `firstVirtualAddress`: a resolver that does is the proxy (RFC 6761 section 6.4: nobody else has it). */
export const proofName = "redirect.chaperone.invalid";

/** What the proxy says to whoever dials `redirectPort` of any address, with the address that was dialled. */
export function proofLine(address: string, port: number): string {
  return `chaperone-redirect ${address} ${port}\n`;
}

const virtualPattern =
  /^198\.18\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])$/;

export function isVirtualAddress(address: string): boolean {
  return virtualPattern.test(address);
}

/** The same name's address in IPv6: in 2001:2::/48, the range for benchmarks there (RFC 5180), its last 32 bits those of IPv4. */
export function virtualIPv6(address: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = address.split(".").map(Number);
  return `2001:2::${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}
