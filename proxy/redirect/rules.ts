// The rules of a redirected pod's network, as nftables reads them: everything that is not the proxy's own is redirected to it or refused. Pure.
import { dnsPort, redirectPort } from "../../contract/redirect.ts";

/** A port of the pod that may be reached from outside. */
export interface InboundPort {
  readonly protocol: "tcp" | "udp";
  readonly port: number;
}

export interface RulesOptions {
  readonly proxyUid: number;
  readonly inbound: readonly InboundPort[];
}

export const table = "chaperone";

/** Marks the flows that the proxy began; no other program of the pod may speak in one. */
const proxyMark = "0x63680001";

/** What the kernel itself sends so that IPv6 works: neighbours, routers, group membership (RFC 4890 section 4.4). */
const kernelsIcmpv6 =
  "{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-report, mld-listener-done, mld2-listener-report }";
const othersIcmpv6 =
  "{ nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query }";

/**
 * One transaction for `nft -f`: whatever stood in the table before is replaced, or nothing changes.
 *
 * | who sends | to | over | what happens |
 * | --- | --- | --- | --- |
 * | the proxy | anywhere | anything | goes, and marks its flow |
 * | anybody | the pod itself | anything | goes |
 * | another | anywhere, port 53 | TCP, UDP | to the proxy's DNS |
 * | another | anywhere | TCP | to the proxy |
 * | another | anywhere | anything else | refused |
 * | the kernel, for a socket that is gone | where its flow goes | | goes: its last bytes have no owner any more |
 * | from outside | a declared port | | comes in, and is answered |
 * | from outside | another port | | dropped |
 */
export function rulesText({ proxyUid, inbound }: RulesOptions): string {
  const chains = chainsOf(proxyUid, inbound).map(
    ({ name, hook, statements }) =>
      `  chain ${name} {\n${[hook, ...statements].map((line) => `    ${line}\n`).join("")}  }\n`,
  );
  return `table inet ${table}\ndelete table inet ${table}\ntable inet ${table} {\n${chains.join("")}}\n`;
}

/** How many rules each chain has: what a table that was read back is compared with. */
export function rulesCounted({ proxyUid, inbound }: RulesOptions): ReadonlyMap<string, number> {
  return new Map(
    chainsOf(proxyUid, inbound).map(({ name, statements }) => [name, statements.length]),
  );
}

interface Chain {
  readonly name: string;
  readonly hook: string;
  readonly statements: readonly string[];
}

function chainsOf(uid: number, inbound: readonly InboundPort[]): readonly Chain[] {
  return [
    {
      name: "out_nat",
      hook: "type nat hook output priority -100; policy accept;",
      statements: [
        `meta skuid ${uid} return`,
        `oifname "lo" return`,
        `udp dport 53 redirect to :${dnsPort}`,
        `tcp dport 53 redirect to :${dnsPort}`,
        `meta l4proto tcp redirect to :${redirectPort}`,
      ],
    },
    {
      name: "out_filter",
      hook: "type filter hook output priority 0; policy drop;",
      statements: [
        // Its answers in a flow that another began leave that flow alone.
        `meta skuid ${uid} ct direction original ct mark set ${proxyMark} accept`,
        `meta skuid ${uid} accept`,
        // Or a program could take over the ports of a flow that the proxy has left, a DNS query's for one.
        `ct mark ${proxyMark} meta skuid 0-4294967294 counter reject with icmpx admin-prohibited`,
        // Before anything by owner: the last bytes of a socket that is closed have none.
        "ct state established,related accept",
        "ct state invalid counter drop",
        `oifname "lo" accept`,
        "ct status dnat ip daddr 127.0.0.1 accept",
        "ct status dnat ip6 daddr ::1 accept",
        // The kernel's own sockets have no owner either: what has one is not neighbour discovery.
        "meta skuid 0-4294967294 counter reject with icmpx admin-prohibited",
        `icmpv6 type ${kernelsIcmpv6} accept`,
        "counter reject with icmpx admin-prohibited",
      ],
    },
    {
      name: "in_filter",
      hook: "type filter hook input priority 0; policy drop;",
      statements: [
        "ct state established,related accept",
        `iifname "lo" accept`,
        `icmpv6 type ${othersIcmpv6} accept`,
        ...portsOf("tcp", inbound),
        ...portsOf("udp", inbound),
      ],
    },
  ];
}

function portsOf(protocol: InboundPort["protocol"], inbound: readonly InboundPort[]): string[] {
  const ports = [
    ...new Set(inbound.filter((entry) => entry.protocol === protocol).map(({ port }) => port)),
  ].toSorted((a, b) => a - b);
  return ports.length === 0 ? [] : [`${protocol} dport { ${ports.join(", ")} } accept`];
}
