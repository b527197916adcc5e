// The NetworkPolicy that keeps agents from going where no Connection leads, as far as a NetworkPolicy can say it: it knows addresses and
// pods and no names, and what it lets out for the proxy it lets out for the agent. Pure.
import { BlockList, isIP, isIPv4 } from "node:net";
import type { JsonObject } from "../kube/objects.ts";
import { injectLabel } from "../kube/resource-types.ts";

export const networkPolicyName = "chaperone-agents";

/** What one policy holds in etcd with room to spare; a namespace with more says so and keeps the policy it has. */
const maxPlaces = 2_000;

export interface Endpoint {
  /** Lower case, without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface EgressPlan {
  readonly namespace: string;
  readonly endpoints: readonly Endpoint[];
  /** Every address of a host that is a name. */
  readonly addressesOf: (host: string) => readonly string[];
  readonly operatorNamespace: string;
  readonly operatorPort: number;
  /** Addresses of resolvers that are no pods of kube-system, such as NodeLocal DNSCache's. */
  readonly resolvers: readonly string[];
}

/** `spec` of the policy. @throws Error when there is more than a policy should hold */
export function egressSpec(plan: EgressPlan): JsonObject {
  const places = placesOf(plan);
  if (places.length > maxPlaces)
    throw new Error(
      `the Connections of namespace ${plan.namespace} lead to ${places.length} places, more than the ${maxPlaces} of one NetworkPolicy: move some to another namespace`,
    );
  return {
    podSelector: { matchLabels: { [injectLabel]: "true" } },
    policyTypes: ["Egress"],
    egress: [
      {
        to: [
          {
            namespaceSelector: named("kube-system"),
            podSelector: { matchLabels: { "k8s-app": "kube-dns" } },
          },
          ...plan.resolvers.map(block),
        ],
        ports: [
          { port: 53, protocol: "UDP" },
          { port: 53, protocol: "TCP" },
        ],
      },
      {
        to: [
          {
            namespaceSelector: named(plan.operatorNamespace),
            podSelector: {
              matchLabels: {
                "app.kubernetes.io/name": "chaperone",
                "app.kubernetes.io/component": "operator",
              },
            },
          },
        ],
        ports: [{ port: plan.operatorPort, protocol: "TCP" }],
      },
      ...places.map(rule),
    ],
  };
}

/** Somewhere that a Connection leads: pods of a namespace on whatever port (a Service's is not its pods'), or addresses on one port. */
type Place =
  | { readonly pods: string }
  | { readonly address: string; readonly port: number }
  | { readonly family: "IPv4" | "IPv6"; readonly port: number };

function rule(place: Place): JsonObject {
  if ("pods" in place) return { to: [{ namespaceSelector: named(place.pods) }] };
  const ports = [{ port: place.port, protocol: "TCP" }];
  return { to: ["address" in place ? block(place.address) : publicBlock(place.family)], ports };
}

function placesOf({ namespace, endpoints, addressesOf }: EgressPlan): readonly Place[] {
  const found = new Map<string, Place>();
  for (const endpoint of endpoints)
    for (const place of placesOfEndpoint(endpoint, namespace, addressesOf))
      found.set(JSON.stringify(place), place);
  return [...found].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, place]) => place);
}

function placesOfEndpoint(
  { host, port }: Endpoint,
  namespace: string,
  addressesOf: EgressPlan["addressesOf"],
): readonly Place[] {
  // An address that somebody wrote down stays; those of a public name change sooner than policies reach nodes.
  if (isIP(host) !== 0) return leadsNowhere(host) ? [] : [{ address: host, port }];
  const pods = namespaceIn(host, namespace);
  const byPods = pods === undefined ? [] : [{ pods }];
  if (pods !== undefined && isClusterName(host)) return byPods;
  return [...byPods, ...addressesOf(host).flatMap((address) => placeOfAddress(address, port))];
}

function placeOfAddress(address: string, port: number): readonly Place[] {
  if (leadsNowhere(address)) return [];
  return isPrivate(address)
    ? [{ address, port }]
    : [{ family: isIPv4(address) ? "IPv4" : "IPv6", port }];
}

function isClusterName(host: string): boolean {
  const labels = host.split(".");
  return labels.length === 1 || labels.lastIndexOf("svc") >= 2;
}

/**
 * The namespace that a name of a Service means, as the search list of a pod completes it: `db`, `db.data`, `db.data.svc...`. A public name
 * of two labels looks like the second, and there is no namespace `com`.
 */
function namespaceIn(host: string, own: string): string | undefined {
  const labels = host.split(".");
  const at = labels.lastIndexOf("svc");
  if (at >= 2) return labels[at - 1];
  if (labels.length === 1) return own;
  return labels.length === 2 ? labels[1] : undefined;
}

function named(namespace: string): JsonObject {
  return { matchLabels: { "kubernetes.io/metadata.name": namespace } };
}

function block(address: string): JsonObject {
  return { ipBlock: { cidr: `${address}/${isIPv4(address) ? 32 : 128}` } };
}

/** Where pods, Services, nodes and metadata services are: never part of what is public. */
const privateSubnets = {
  IPv4: ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"],
  IPv6: ["fc00::/7", "fe80::/10"],
} as const;

function publicBlock(family: "IPv4" | "IPv6"): JsonObject {
  return {
    ipBlock: { cidr: family === "IPv4" ? "0.0.0.0/0" : "::/0", except: privateSubnets[family] },
  };
}

function isPrivate(address: string): boolean {
  return contains(Object.values(privateSubnets).flat(), address);
}

/** Loopback and link-local: the proxy dials neither. */
function leadsNowhere(address: string): boolean {
  return contains(["127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10"], address);
}

function contains(subnets: readonly string[], address: string): boolean {
  const list = new BlockList();
  for (const subnet of subnets) {
    const [network = "", bits] = subnet.split("/");
    list.addSubnet(network, Number(bits), isIPv4(network) ? "ipv4" : "ipv6");
  }
  return list.check(address, isIPv4(address) ? "ipv4" : "ipv6");
}
