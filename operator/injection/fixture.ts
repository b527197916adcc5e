// What the tests of injection share: an installation, a view of resources, and a pod to start from.
import type { AccessPolicy, Connection } from "../../crds/types.gen.ts";
import { applyDefaults } from "../../crds/validate.ts";
import { isJsonObject, type JsonObject } from "../kube/objects.ts";
import type { InjectionContext } from "./inject.ts";
import type { InjectionSettings } from "./settings.ts";

export const settings: InjectionSettings = {
  version: "0.1.0",
  image: "registry.example/chaperone/proxy@sha256:1111",
  earlierImages: ["registry.example/chaperone/proxy@sha256:0000"],
  imagePullPolicy: "IfNotPresent",
  imagePullSecrets: [],
  operatorUrl: "https://chaperone.chaperone-system.svc:8443",
  operatorCa: "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n",
  extraCa: "",
  uid: 64_535,
  redirectBy: "init",
  hasNodeRules: true,
  isIPv6Only: false,
};

export function connection(name: string, spec: JsonObject, namespace = "agents"): Connection {
  const object = {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "Connection",
    metadata: { name, namespace },
    spec,
  };
  return applyDefaults("Connection", object) as Connection; // a literal of the tests
}

export const ordersDb = connection("orders-db", {
  protocol: "postgres",
  endpoint: { host: "postgres.data.svc.cluster.local", port: 5432 },
  hosts: ["orders-db", "postgres.data.svc.cluster.local"],
  postgres: { database: "orders" },
  credential: {
    static: {
      secretRef: { name: "orders-db" },
      usernameKey: "username",
      passwordKey: "password",
    },
  },
  inject: { env: { DATABASE_URL: "postgresql://agent@${address}/orders" } },
});

/** The same, under roles made for each grant. */
export const rolesDb = connection("roles-db", {
  protocol: "postgres",
  endpoint: { host: "roles.data.svc.cluster.local", port: 5432 },
  postgres: { database: "orders" },
  credential: {
    postgresRole: {
      adminSecretRef: { name: "roles-admin" },
      usernameKey: "username",
      passwordKey: "password",
    },
  },
});

export const openai = connection("openai", {
  protocol: "openai",
  endpoint: { url: "https://api.openai.com/v1" },
  credential: {
    static: {
      secretRef: { name: "openai" },
      header: { name: "Authorization", value: "Bearer ${apiKey}" },
    },
  },
  inject: { env: { OPENAI_BASE_URL: "${url}", OPENAI_API_KEY: "held-by-chaperone" } },
});

export function policyFor(...names: readonly string[]): AccessPolicy {
  const object = {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessPolicy",
    metadata: { name: "all", namespace: "agents" },
    spec: { targetRefs: names.map((name) => ({ name })) },
  };
  return applyDefaults("AccessPolicy", object) as AccessPolicy; // a literal of the tests
}

export function contextOf(
  connections: readonly Connection[] = [ordersDb, openai],
  changes: Partial<InjectionSettings> = {},
): InjectionContext {
  return {
    namespace: "agents",
    settings: { ...settings, ...changes },
    view: {
      connection: (namespace, name) =>
        connections.find(
          ({ metadata }) => metadata.namespace === namespace && metadata.name === name,
        ),
      connectionsIn: (namespace) =>
        connections.filter(({ metadata }) => metadata.namespace === namespace),
      policiesIn: (namespace) =>
        namespace === "agents"
          ? [policyFor(...connections.map(({ metadata }) => metadata.name))]
          : [],
    },
  };
}

/** A labelled pod; `spec` and `metadata` are laid over it. */
export function podOf(spec: JsonObject = {}, metadata: JsonObject = {}): JsonObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "agent", labels: { "chaperone.dev/inject": "true" }, ...metadata },
    spec: { containers: [{ name: "agent", image: "agent:1" }], ...spec },
  };
}

export function annotated(annotations: Readonly<Record<string, string>>): JsonObject {
  return podOf({}, { annotations });
}

export function asPod(value: unknown): JsonObject {
  if (!isJsonObject(value)) throw new TypeError("not a pod");
  return value;
}
