// The ways out that the verifier tries, and what each has to come to. Pure: I/O is attempt.ts.

export type Attempt =
  /** A connection to the port that answers for itself: it has to end at the proxy, which says which address was dialled. */
  | { readonly kind: "tcp-proof"; readonly address: string }
  /** A port that somebody may listen on: not one byte may come back. */
  | { readonly kind: "tcp"; readonly address: string; readonly port: number }
  /** Has to be refused by the kernel, not lost on its way. */
  | { readonly kind: "udp"; readonly address: string; readonly port: number }
  | { readonly kind: "icmp"; readonly address: string }
  /** The proxy alone knows the name that is asked for. */
  | { readonly kind: "dns"; readonly address: string; readonly over: "udp" | "tcp" };

export interface Surroundings {
  /** The API server's cluster address and port. */
  readonly apiServer?: { readonly address: string; readonly port: number };
  readonly nodeAddresses: readonly string[];
  readonly podAddresses: readonly string[];
  /** Of the pod's resolv.conf. */
  readonly nameServers: readonly string[];
}

/** Known everywhere; that they cannot be reached from a cluster is as good. */
const publicAddresses = ["1.1.1.1", "2606:4700:4700::1111"] as const;
/** Of every cloud, and of AWS over IPv6. */
const metadataAddresses = ["169.254.169.254", "fd00:ec2::254"] as const;
const kubeletPort = 10_250;
/** Discard (RFC 863): nobody listens, and a firewall's answer would not be ours. */
const discardPort = 9;

export function attemptsFor(around: Surroundings): readonly Attempt[] {
  const { apiServer, nodeAddresses, podAddresses } = around;
  const nameServers = around.nameServers.filter((address) => !isLoopback(address));
  const places = [
    ...new Set([
      ...(apiServer === undefined ? [] : [apiServer.address]),
      ...nodeAddresses,
      ...podAddresses.map(neighbourOf),
      ...nameServers,
      ...publicAddresses,
      ...metadataAddresses,
    ]),
    // An address with a zone is of a link that no packet of a pod leaves.
  ].filter((address) => !address.includes("%"));
  return [
    ...places.map((address): Attempt => ({ kind: "tcp-proof", address })),
    ...(apiServer === undefined ? [] : [{ kind: "tcp", ...apiServer } as const]),
    ...nodeAddresses.map((address): Attempt => ({ kind: "tcp", address, port: kubeletPort })),
    ...metadataAddresses.map((address): Attempt => ({ kind: "tcp", address, port: 80 })),
    ...places.map((address): Attempt => ({ kind: "udp", address, port: discardPort })),
    ...places.map((address): Attempt => ({ kind: "icmp", address })),
    ...[...new Set([...nameServers, ...publicAddresses])].flatMap((address): Attempt[] => [
      { kind: "dns", address, over: "udp" },
      { kind: "dns", address, over: "tcp" },
    ]),
  ];
}

/** Another address of the pod's network: its last number, one up or down. */
function neighbourOf(address: string): string {
  const [, head = "", separator = "", last = ""] = /^(.*)([.:])([^.:]*)$/.exec(address) ?? [];
  const radix = separator === "." ? 10 : 16;
  return `${head}${separator}${(Number.parseInt(last === "" ? "0" : last, radix) ^ 1).toString(radix)}`;
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}

/** As a person reads it. */
export function describe(attempt: Attempt): string {
  switch (attempt.kind) {
    case "tcp-proof":
      return `TCP to ${attempt.address}`;
    case "tcp":
      return `TCP to ${attempt.address} port ${attempt.port}`;
    case "udp":
      return `UDP to ${attempt.address}`;
    case "icmp":
      return `ICMP to ${attempt.address}`;
    case "dns":
      return `DNS over ${attempt.over.toUpperCase()} to ${attempt.address}`;
    default:
      return attempt satisfies never;
  }
}
