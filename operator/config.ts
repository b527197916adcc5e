// What an installation tells the operator: the only file of the operator that reads the environment. The chart writes what is read here.
import { isIPv6 } from "node:net";
import type { RulesBy } from "../contract/redirect.ts";
import { defaultProxyUid } from "./injection/settings.ts";

export interface OperatorConfig {
  /** Where the operator lives: its Secrets, its Service, and where a quarantine reaches every namespace. */
  readonly namespace: string;
  readonly pod: string;
  /** Undefined when it does not run in a pod. */
  readonly podAddress: string | undefined;
  /** Name of the Service; proxies and the API server call `<service>.<namespace>.svc`. */
  readonly service: string;
  /** A kubeconfig file; undefined means the service account of the pod. */
  readonly kubeconfig: string | undefined;
  readonly proxy: {
    readonly image: string;
    readonly earlierImages: readonly string[];
    readonly imagePullPolicy: "Always" | "IfNotPresent" | "Never";
    readonly imagePullSecrets: readonly string[];
    readonly uid: number;
  };
  /** PEM of CAs that the installation trusts besides the public ones; empty for none. */
  readonly extraCa: string;
  readonly auditStore: string;
  /** Of the MutatingWebhookConfiguration and of the ValidatingWebhookConfiguration. */
  readonly webhookConfiguration: string;
  readonly authoritySecret: string;
  readonly keysSecret: string;
  readonly checksPeerAddress: boolean;
  /** Who loads the rules of redirected pods that do not say it themselves, and whether nodes can. */
  readonly redirectBy: RulesBy;
  readonly hasNodeRules: boolean;
  readonly isIPv6Only: boolean;
  /** Undefined: no NetworkPolicy is made for agents. */
  readonly agentEgress:
    | {
        /** Name of the ClusterRole that gives the right, to which the policies belong. */
        readonly owner: string;
        /** Addresses of resolvers that are no pods of kube-system. */
        readonly resolvers: readonly string[];
      }
    | undefined;
  readonly logLevel: string;
  readonly listen: {
    readonly host: string;
    readonly apiPort: number;
    readonly webhookPort: number;
    readonly healthPort: number;
  };
}

/** The Service's port for proxies and people, wherever the container listens behind it. */
export const servicePort = 8_443;

export const defaultPorts = { api: 8_443, webhook: 9_443, health: 8_080 } as const;

/**
 * | variable | default |
 * | --- | --- |
 * | `CHAPERONE_NAMESPACE`, `CHAPERONE_POD` | required (downward API) |
 * | `CHAPERONE_POD_IP` | none (downward API) |
 * | `CHAPERONE_PROXY_IMAGE` | required |
 * | `CHAPERONE_PROXY_EARLIER_IMAGES`, `CHAPERONE_PROXY_PULL_SECRETS` | none; separated by commas |
 * | `CHAPERONE_PROXY_PULL_POLICY` | `IfNotPresent` |
 * | `CHAPERONE_PROXY_UID` | 64535 |
 * | `CHAPERONE_SERVICE`, `CHAPERONE_WEBHOOK_CONFIGURATION` | `chaperone` |
 * | `CHAPERONE_CA_SECRET`, `CHAPERONE_KEYS_SECRET` | `chaperone-ca`, `chaperone-keys` |
 * | `CHAPERONE_AUDIT_STORE` | `/var/lib/chaperone/audit.db` |
 * | `CHAPERONE_EXTRA_CA` | none; PEM |
 * | `CHAPERONE_CHECK_PEER_ADDRESS` | `true` |
 * | `CHAPERONE_REDIRECT_BY` | `init`; or `node` |
 * | `CHAPERONE_NODE_RULES` | `false` |
 * | `CHAPERONE_IPV6_ONLY` | `false` |
 * | `CHAPERONE_AGENT_EGRESS_OWNER` | none: no NetworkPolicies for agents |
 * | `CHAPERONE_AGENT_RESOLVERS` | none; separated by commas |
 * | `CHAPERONE_LISTEN_HOST` | every address of the pod's family |
 * | `CHAPERONE_API_PORT`, `CHAPERONE_WEBHOOK_PORT`, `CHAPERONE_HEALTH_PORT` | 8443, 9443, 8080 |
 * | `CHAPERONE_LOG_LEVEL` | `info` |
 * | `KUBECONFIG` | none: inside a pod |
 *
 * @throws Error naming every variable that is missing or wrong
 */
export function readConfig(env: NodeJS.ProcessEnv): OperatorConfig {
  const problems: string[] = [];
  const reader = readerOf(env, problems);
  const podAddress = reader.optional("CHAPERONE_POD_IP");
  const owner = reader.optional("CHAPERONE_AGENT_EGRESS_OWNER");
  const config: OperatorConfig = {
    namespace: reader.required("CHAPERONE_NAMESPACE"),
    pod: reader.required("CHAPERONE_POD"),
    podAddress,
    service: reader.optional("CHAPERONE_SERVICE") ?? "chaperone",
    kubeconfig: reader.optional("KUBECONFIG"),
    proxy: {
      image: reader.required("CHAPERONE_PROXY_IMAGE"),
      earlierImages: reader.list("CHAPERONE_PROXY_EARLIER_IMAGES"),
      imagePullPolicy: reader.oneOf("CHAPERONE_PROXY_PULL_POLICY", [
        "IfNotPresent",
        "Always",
        "Never",
      ]),
      imagePullSecrets: reader.list("CHAPERONE_PROXY_PULL_SECRETS"),
      uid: reader.whole("CHAPERONE_PROXY_UID", defaultProxyUid, 4_294_967_294),
    },
    extraCa: reader.optional("CHAPERONE_EXTRA_CA") ?? "",
    auditStore: reader.optional("CHAPERONE_AUDIT_STORE") ?? "/var/lib/chaperone/audit.db",
    webhookConfiguration: reader.optional("CHAPERONE_WEBHOOK_CONFIGURATION") ?? "chaperone",
    authoritySecret: reader.optional("CHAPERONE_CA_SECRET") ?? "chaperone-ca",
    keysSecret: reader.optional("CHAPERONE_KEYS_SECRET") ?? "chaperone-keys",
    checksPeerAddress: reader.oneOf("CHAPERONE_CHECK_PEER_ADDRESS", ["true", "false"]) === "true",
    redirectBy: reader.oneOf("CHAPERONE_REDIRECT_BY", ["init", "node"]),
    hasNodeRules: reader.oneOf("CHAPERONE_NODE_RULES", ["false", "true"]) === "true",
    isIPv6Only: reader.oneOf("CHAPERONE_IPV6_ONLY", ["false", "true"]) === "true",
    agentEgress:
      owner === undefined
        ? undefined
        : { owner, resolvers: reader.list("CHAPERONE_AGENT_RESOLVERS") },
    logLevel: reader.oneOf("CHAPERONE_LOG_LEVEL", [
      "info",
      "fatal",
      "error",
      "warn",
      "debug",
      "trace",
    ]),
    listen: {
      host:
        reader.optional("CHAPERONE_LISTEN_HOST") ?? (isIPv6(podAddress ?? "") ? "::" : "0.0.0.0"),
      apiPort: reader.whole("CHAPERONE_API_PORT", defaultPorts.api, 65_535),
      webhookPort: reader.whole("CHAPERONE_WEBHOOK_PORT", defaultPorts.webhook, 65_535),
      healthPort: reader.whole("CHAPERONE_HEALTH_PORT", defaultPorts.health, 65_535),
    },
  };
  if (problems.length > 0)
    throw new Error(
      `the operator's environment is not complete: ${problems.join("; ")} (the chart sets these)`,
    );
  return config;
}

/** DNS names under which the operator is called, the first of which is the one that proxies are told. */
export function serviceNames({
  service,
  namespace,
}: Pick<OperatorConfig, "service" | "namespace">): readonly string[] {
  const name = `${service}.${namespace}.svc`;
  return [name, `${name}.cluster.local`];
}

interface Reader {
  required(name: string): string;
  optional(name: string): string | undefined;
  list(name: string): readonly string[];
  /** The first one is the default. */
  oneOf<T extends string>(name: string, values: readonly [T, ...T[]]): T;
  whole(name: string, otherwise: number, max: number): number;
}

function readerOf(env: NodeJS.ProcessEnv, problems: string[]): Reader {
  const optional = (name: string): string | undefined => (env[name] === "" ? undefined : env[name]);
  return {
    optional,
    required(name) {
      const value = optional(name);
      if (value === undefined) problems.push(`${name} is not set`);
      return value ?? "";
    },
    list: (name) =>
      (optional(name) ?? "")
        .split(",")
        .flatMap((part) => (part.trim() === "" ? [] : [part.trim()])),
    oneOf(name, values) {
      const value = optional(name) ?? values[0];
      const known = values.find((one) => one === value);
      if (known === undefined)
        problems.push(
          `${name} is ${JSON.stringify(value)}; it must be one of ${values.join(", ")}`,
        );
      return known ?? values[0];
    },
    whole(name, otherwise, max) {
      const value = optional(name);
      const number =
        value === undefined ? otherwise : /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
      if (number >= 1 && number <= max) return number;
      problems.push(
        `${name} is ${JSON.stringify(value)}; it must be a whole number from 1 to ${max}`,
      );
      return otherwise;
    },
  };
}
