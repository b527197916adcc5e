// What an installation decides about the pods it injects; the same for every pod.

import type { RulesBy } from "../../contract/redirect.ts";

export interface InjectionSettings {
  /** Stamped on the pod. */
  readonly version: string;
  /** Of the injected proxy, by digest where the installation pins one. */
  readonly image: string;
  /** Images of releases that may still run in pods made before an upgrade. */
  readonly earlierImages: readonly string[];
  readonly imagePullPolicy: "Always" | "IfNotPresent" | "Never";
  /** Names of pull secrets that every namespace with agents has. */
  readonly imagePullSecrets: readonly string[];
  /** `https://chaperone.<namespace>.svc:8443`. */
  readonly operatorUrl: string;
  /** PEM of the CA that signs the operator's certificate; public. */
  readonly operatorCa: string;
  /** PEM of CAs that the installation trusts besides the public ones; empty for none. */
  readonly extraCa: string;
  /** User and group of the proxy. No container of an agent may run as it. */
  readonly uid: number;
  /** Who loads the rules of redirected pods that do not say it themselves. */
  readonly redirectBy: RulesBy;
  /** The installation has an agent and a plugin on its nodes, which load rules. */
  readonly hasNodeRules: boolean;
  /** Without an IPv4 address, names cannot be sent to loopback addresses. */
  readonly isIPv6Only: boolean;
}

/** 65532 is distroless' nonroot, which agents may well use. */
export const defaultProxyUid = 64_535;
