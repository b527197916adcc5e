// Reads what the kernel counts and lists for one network namespace (proc(5)). Pure; what it does not find counts as nothing.

export interface PacketCounts {
  /** Dropped on their way out: by the rules, since nothing else drops there. */
  readonly refused: number;
  /** Echo requests that programs sent or tried to. */
  readonly pings: number;
}

/** @param snmp /proc/net/snmp: a line of names and one of numbers for each protocol @param snmp6 /proc/net/snmp6: a name and a number a line */
export function packetCounts(snmp: string, snmp6: string): PacketCounts {
  const v4 = pairs(snmp);
  const v6 = new Map(
    snmp6.split("\n").map((line) => {
      const [name = "", value = "0"] = line.trim().split(/\s+/);
      return [name, Number(value)] as const;
    }),
  );
  return {
    refused: (v4.get("Ip.OutDiscards") ?? 0) + (v6.get("Ip6OutDiscards") ?? 0),
    pings: (v4.get("IcmpMsg.OutType8") ?? 0) + (v6.get("Icmp6OutType128") ?? 0),
  };
}

function pairs(snmp: string): Map<string, number> {
  const found = new Map<string, number>();
  const names = new Map<string, string[]>();
  for (const line of snmp.split("\n")) {
    const [protocol = "", rest = ""] = line.split(/:\s*/, 2);
    const fields = rest.trim().split(/\s+/);
    const known = names.get(protocol);
    if (known === undefined) names.set(protocol, fields);
    else known.forEach((name, at) => found.set(`${protocol}.${name}`, Number(fields[at] ?? 0)));
  }
  return found;
}

/**
 * Where sockets of other users say that they send to, outside the pod's loopback: `udp 203.0.113.9:123`.
 *
 * @param tables /proc/net/udp and its kin: columns local, remote, ..., uid
 */
export function foreignPeers(
  tables: readonly { readonly protocol: string; readonly text: string }[],
  ownUid: number,
): readonly string[] {
  const found = new Set<string>();
  for (const { protocol, text } of tables)
    for (const line of text.split("\n").slice(1)) {
      const columns = line.trim().split(/\s+/);
      const remote = columns[2] ?? "";
      const uid = Number(columns[7]);
      if (!Number.isInteger(uid) || uid === ownUid) continue;
      const peer = readPeer(remote);
      if (peer !== undefined) found.add(`${protocol.replace("6", "")} ${peer}`);
    }
  return [...found];
}

/** Each 32 bits in the machine's order, which is little-endian on every machine that Node's images are built for. */
function readPeer(remote: string): string | undefined {
  const [hex = "", port = ""] = remote.split(":");
  if (!/^([0-9A-F]{8}|[0-9A-F]{32})$/.test(hex) || /^0+$/.test(hex)) return undefined;
  const bytes = Buffer.from(hex, "hex");
  for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
  const number = Number.parseInt(port, 16);
  if (bytes.length === 4) return bytes[0] === 127 ? undefined : `${bytes.join(".")}:${number}`;
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16));
  const { hostname } = new URL(`http://[${groups.join(":")}]`);
  return hostname === "[::1]" ? undefined : `${hostname}:${number}`;
}
