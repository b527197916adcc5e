// What an injected proxy is told by its pod: the only file of the proxy that reads the environment. Injection writes what is read here.
import { readFileSync } from "node:fs";
import { parseAddressMap, type AddressMap } from "../contract/addresses.ts";
import type { Subject } from "../policy/operation.ts";

export interface ProxyConfig {
  readonly operator: { readonly url: string; readonly ca: string };
  readonly subject: Subject;
  readonly addresses: AddressMap;
  readonly tokenFile: string;
  readonly spoolDirectory: string;
  readonly authorityDirectory: string;
  readonly trustFile: string;
  /** PEM of CAs that the installation trusts besides the public ones; empty for none. */
  readonly extraCa: string;
  readonly resolvConf: string;
  readonly adminPort: number;
  readonly logLevel: string;
}

export const defaultPaths = {
  addresses: "/etc/chaperone/pod/addresses",
  token: "/var/run/secrets/chaperone/token",
  spool: "/var/lib/chaperone/spool",
  authority: "/var/run/chaperone/ca",
  trust: "/etc/chaperone/trust/ca.crt",
} as const;

export const adminPort = 15_020;

/** @throws Error naming the variable or file that is missing */
export function readConfig(env: NodeJS.ProcessEnv): ProxyConfig {
  const addressesFile = env.CHAPERONE_ADDRESSES_FILE ?? defaultPaths.addresses;
  const chain = env.CHAPERONE_CHAIN;
  return {
    operator: {
      url: required(env, "CHAPERONE_OPERATOR_URL"),
      ca: required(env, "CHAPERONE_OPERATOR_CA"),
    },
    subject: {
      namespace: required(env, "CHAPERONE_NAMESPACE"),
      serviceAccount: required(env, "CHAPERONE_SERVICE_ACCOUNT"),
      pod: required(env, "CHAPERONE_POD"),
      podUid: required(env, "CHAPERONE_POD_UID"),
      ...(chain === undefined || chain === "" ? {} : { chain }),
    },
    addresses: parseAddressMap(readFileSync(addressesFile, "utf8")),
    tokenFile: env.CHAPERONE_TOKEN_FILE ?? defaultPaths.token,
    spoolDirectory: env.CHAPERONE_SPOOL ?? defaultPaths.spool,
    authorityDirectory: env.CHAPERONE_AUTHORITY ?? defaultPaths.authority,
    trustFile: env.CHAPERONE_TRUST_FILE ?? defaultPaths.trust,
    extraCa: env.CHAPERONE_EXTRA_CA ?? "",
    resolvConf: env.CHAPERONE_RESOLV_CONF ?? "/etc/resolv.conf",
    adminPort: Number(env.CHAPERONE_ADMIN_PORT ?? adminPort),
    logLevel: env.CHAPERONE_LOG_LEVEL ?? "info",
  };
}

function required(env: NodeJS.ProcessEnv, name: string): string {
  const value = env[name];
  if (value === undefined || value === "")
    throw new Error(
      `${name} is not set; it is written by injection, so this container was not injected by the operator`,
    );
  return value;
}
