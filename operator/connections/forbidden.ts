// Addresses that no probe may dial: whoever writes a Connection must not make the operator knock where only the operator can.
import { BlockList, isIPv4, isIPv6 } from "node:net";

export interface ForbiddenAddresses {
  /** Why the address is not dialled; undefined when it may be. */
  reason(address: string): string | undefined;
}

const ranges: readonly {
  readonly why: string;
  readonly subnets: readonly (readonly [string, number])[];
}[] = [
  {
    why: "a loopback address",
    subnets: [
      ["127.0.0.0", 8],
      ["::1", 128],
    ],
  },
  {
    // Cloud metadata services live here, and hand out the node's own credentials.
    why: "a link-local address",
    subnets: [
      ["169.254.0.0", 16],
      ["fe80::", 10],
    ],
  },
  {
    // On Linux these reach the machine itself.
    why: "no address of a host",
    subnets: [
      ["0.0.0.0", 8],
      ["::", 128],
      ["224.0.0.0", 4],
      ["255.255.255.255", 32],
      ["ff00::", 8],
    ],
  },
];

/** @param own addresses of the API server and of the operator, with the name for each */
export function forbiddenAddresses(own: ReadonlyMap<string, string>): ForbiddenAddresses {
  const lists = ranges.map(({ why, subnets }) => {
    const list = new BlockList();
    for (const [network, prefix] of subnets)
      list.addSubnet(network, prefix, isIPv4(network) ? "ipv4" : "ipv6");
    return { why, list };
  });
  const named = [...own].map(([address, why]) => {
    const list = new BlockList();
    if (isIPv4(address) || isIPv6(address))
      list.addAddress(address, isIPv4(address) ? "ipv4" : "ipv6");
    return { why, list };
  });
  return {
    reason(address) {
      const family = isIPv4(address) ? "ipv4" : isIPv6(address) ? "ipv6" : undefined;
      if (family === undefined) return "no address";
      // BlockList also looks into IPv4 addresses in IPv6 dress (::ffff:127.0.0.1).
      return [...named, ...lists].find(({ list }) => list.check(address, family))?.why;
    },
  };
}
