/** The addresses, routes, firewall table and kernel settings the node needs, and taking all of them back. */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { NETWORK, OWN_NAME } from "./config.ts";
import { command, NotInstalled } from "./command.ts";

/** Tables of nftables that exist only because of this cluster; kube-proxy makes the latter two. */
const TABLES = [`inet ${OWN_NAME}`, "ip kube-proxy", "ip6 kube-proxy"];

/** What the kubelet, kube-proxy and the pod network change; put back by `down`. */
const KERNEL_SETTINGS = [
  "kernel/keys/root_maxbytes",
  "kernel/keys/root_maxkeys",
  "kernel/panic",
  "kernel/panic_on_oops",
  "net/ipv4/ip_forward",
  "vm/overcommit_memory",
  "vm/panic_on_oom",
];

const POD_GATEWAY = NETWORK.podRange.replace(/0\/\d+$/, "1");
const OWN_ADDRESSES: ReadonlySet<string> = new Set([
  NETWORK.nodeAddress,
  NETWORK.dnsAddress,
  POD_GATEWAY,
]);
const OWN_PREFIXES = [NETWORK.podRange, NETWORK.serviceRange].map((range) =>
  range.replace(/(\.0)+\/\d+$/, "."),
);

/**
 * Pods reach pods, Services and this machine, never beyond it: a test cannot depend on, or trouble, anything outside.
 */
const FIREWALL = `table inet ${OWN_NAME} {
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip saddr ${NETWORK.podRange} ip daddr != { ${NETWORK.podRange}, ${NETWORK.nodeRange}, ${NETWORK.serviceRange} } reject with icmpx type admin-prohibited
  }
}
`;

export async function setUpNetwork(run: string): Promise<void> {
  const before: Record<string, string> = {};
  for (const name of KERNEL_SETTINGS) {
    if (existsSync(`/proc/sys/${name}`)) before[name] = await readFile(`/proc/sys/${name}`, "utf8");
  }
  await writeFile(settingsFile(run), JSON.stringify(before));
  await writeFile("/proc/sys/net/ipv4/ip_forward", "1");
  for (const address of [NETWORK.nodeAddress, NETWORK.dnsAddress])
    await ip("address", "add", `${address}/32`, "dev", "lo");
  // Until kube-proxy knows a Service, its address must lead nowhere instead of out of the machine.
  await ip("route", "add", NETWORK.serviceRange, "dev", "lo", "src", NETWORK.nodeAddress);
  await command("nft", ["-f", "-"], { input: FIREWALL });
}

export async function restoreKernelSettings(run: string): Promise<void> {
  let text: string;
  try {
    text = await readFile(settingsFile(run), "utf8");
  } catch {
    return; // the network was never set up
  }
  const before: unknown = JSON.parse(text);
  if (typeof before !== "object" || before === null) return;
  for (const [name, value] of Object.entries(before))
    await writeFile(`/proc/sys/${name}`, String(value));
}

/** One thing on this machine that exists because of the cluster, and how to take it back. */
export interface Leftover {
  readonly what: string;
  readonly remove: () => Promise<unknown>;
}

export async function networkLeftovers(): Promise<Leftover[]> {
  return [...(await tables()), ...(await addresses()), ...(await routes())];
}

async function tables(): Promise<Leftover[]> {
  const present = (await linesOf("nft", ["list", "tables"])).map((line) =>
    line.replace(/^table /, "").trim(),
  );
  return TABLES.filter((table) => present.includes(table)).map((table) => ({
    what: `nftables table ${table}`,
    remove: () => command("nft", ["delete", "table", ...table.split(" ")]),
  }));
}

/** An address of ours on `lo` is taken off; on any other link, which is a pod's, the link goes with it. */
async function addresses(): Promise<Leftover[]> {
  const lines = await linesOf("ip", ["-o", "-4", "address", "show"]);
  const found: Leftover[] = [];
  for (const line of lines) {
    const [, link, address] = /^\d+: (\S+)\s+inet (\d+\.\d+\.\d+\.\d+)/.exec(line) ?? [];
    if (link === undefined || address === undefined || !OWN_ADDRESSES.has(address)) continue;
    const remove =
      link === "lo"
        ? () => ip("address", "del", `${address}/32`, "dev", "lo")
        : () => ip("link", "del", link);
    found.push({ what: `address ${address} on ${link}`, remove });
  }
  return found;
}

async function routes(): Promise<Leftover[]> {
  const lines = await linesOf("ip", ["-o", "-4", "route", "show"]);
  return lines
    .map((line) => line.trim().split(" ")[0] ?? "")
    .filter((target) => OWN_PREFIXES.some((prefix) => target.startsWith(prefix)))
    .map((target) => ({ what: `route to ${target}`, remove: () => ip("route", "del", target) }));
}

/** Where the program was never installed, nothing was ever made with it. */
async function linesOf(program: string, args: readonly string[]): Promise<string[]> {
  try {
    return (await command(program, args)).split("\n");
  } catch (error) {
    if (error instanceof NotInstalled) return [];
    throw error;
  }
}

function ip(...args: string[]): Promise<string> {
  return command("ip", args);
}

function settingsFile(run: string): string {
  return path.join(run, "kernel-settings.json");
}
