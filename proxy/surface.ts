// What would open the proxy to whoever is beside it: settings of its runtime that show memory, traffic or keys, or that run or trust what others bring.
import { writeFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { BlockList, isIPv6 } from "node:net";

import { proxyNodeFlags } from "../contract/node-flags.ts";

/** A flag but for its number, which another release may have chosen otherwise. */
const withoutNumber = (flag: string): string => flag.replace(/=\d+$/, "=");

/** The flags that injection and the image start us with; any other may be an inspector, a preload or a log of TLS keys. */
const knownFlags: ReadonlySet<string> = new Set(proxyNodeFlags.map(withoutNumber));

/** Without it anybody under our user id starts an inspector with a signal. */
const noInspector = "--disable-sigusr1";

/** Read by Node, OpenSSL or the dynamic linker before or beside our own code. */
const foreignVariables = [
  "NODE_OPTIONS",
  "NODE_EXTRA_CA_CERTS",
  "NODE_TLS_REJECT_UNAUTHORIZED",
  "NODE_USE_ENV_PROXY",
  "NODE_PATH",
  "NODE_COMPILE_CACHE",
  "NODE_V8_COVERAGE",
  "NODE_DEBUG",
  "NODE_DEBUG_NATIVE",
  "OPENSSL_CONF",
  "OPENSSL_MODULES",
  "OPENSSL_ENGINES",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "SSLKEYLOGFILE",
  "LD_PRELOAD",
  "LD_AUDIT",
  "LD_LIBRARY_PATH",
] as const;

/** Why the proxy must not start as it was started; empty when nothing is wrong. Values are never said. */
export function openings(env: NodeJS.ProcessEnv, flags: readonly string[]): readonly string[] {
  const foreign = foreignVariables.filter((name) => (env[name] ?? "") !== "");
  const unknown = flags.filter((flag) => !knownFlags.has(withoutNumber(flag)));
  return [
    ...foreign.map((name) => `${name} is set, which has no place in the proxy: remove it`),
    ...unknown.map((flag) => `the flag ${flag.replace(/=.*/s, "")} has no place in the proxy`),
    ...(flags.includes(noInspector)
      ? []
      : [`the flag ${noInspector} is missing: a signal could start an inspector`]),
  ];
}

/** core(5): which mappings a dump holds. None leaves registers and names. */
const coreFilter = "/proc/self/coredump_filter";

/** Keeps memory out of core dumps, also where somebody raises the limit. False where the kernel does not offer it. */
export function keepOutOfCoreDumps(): boolean {
  try {
    writeFileSync(coreFilter, "0x0");
    return true;
  } catch {
    return false;
  }
}

/**
 * Whether an address is the pod's own. An upstream there would be the agent, which must not be handed a credential, or the
 * proxy itself. Asked for each dial: a pod may get addresses while it lives.
 */
export function isOwnAddress(address: string): boolean {
  const own = new BlockList();
  for (const entries of Object.values(networkInterfaces()))
    for (const { address: one, family } of entries ?? [])
      own.addAddress(one, family === "IPv6" ? "ipv6" : "ipv4");
  return own.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}
