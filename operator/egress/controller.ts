// Keeps one NetworkPolicy in every namespace that has Connections or injected pods, where the installation asks for it. Each belongs to
// the ClusterRole that gives the right to write them: whoever takes the right away, by the chart's value or by uninstalling, has
// Kubernetes clear them away.
import { isDeepStrictEqual } from "node:util";
import { isIP } from "node:net";
import { parseAddressMap } from "../../contract/addresses.ts";
import type { Connection } from "../../crds/types.gen.ts";
import { connectionTarget } from "../connections/endpoint.ts";
import type { KubeClient } from "../kube/client.ts";
import { spread } from "../kube/backoff.ts";
import { Controller, type ControllerLog } from "../kube/controller.ts";
import { objectPath, textAt, type JsonObject, type KubeObject } from "../kube/objects.ts";
import { addressesAnnotation } from "../kube/pod-standing.ts";
import { resourceTypes } from "../kube/resource-types.ts";
import { abortable } from "../kube/secrets.ts";
import type { ObjectStore } from "../kube/store.ts";
import type { Stored } from "../kube/typed.ts";
import { egressSpec, networkPolicyName, type Endpoint } from "./network-policy.ts";

/** How old the addresses of a name may get. */
export const resolveAgainMs = 60_000;

/** Somebody may have edited or deleted it, which nobody tells us: policies are not watched. */
export const writeAgainMs = 10 * 60_000;

/** They wait for resolvers and the API server. */
const workers = 4;

const fieldManager = "chaperone-egress";

export interface EgressControllerOptions {
  readonly client: KubeClient;
  readonly view: {
    readonly connections: { readonly store: ObjectStore<Stored<"Connection">> };
    readonly pods: { readonly store: ObjectStore };
  };
  readonly resolve: (host: string) => Promise<readonly string[]>;
  /** Name of the ClusterRole that the policies belong to. */
  readonly owner: string;
  readonly operatorNamespace: string;
  readonly operatorPort: number;
  readonly resolvers: readonly string[];
  readonly now: () => number;
  readonly random: () => number;
  readonly log: ControllerLog;
}

interface Written {
  readonly spec: JsonObject;
  readonly at: number;
}

export function egressController(options: EgressControllerOptions): Controller {
  const { client, view, owner, now, random } = options;
  const connections = view.connections.store;
  const pods = view.pods.store;
  /** By namespace; entries go when nothing is left in it. */
  const written = new Map<string, Written>();
  /** Of names that did not resolve this time: where they led last. Of each namespace its own, and gone with it. */
  const known = new Map<string, ReadonlyMap<string, readonly string[]>>();

  const addressesOf = async (
    namespace: string,
    endpoints: readonly Endpoint[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, readonly string[]>> => {
    const names = [...new Set(endpoints.map(({ host }) => host))].filter(
      (host) => isIP(host) === 0,
    );
    const before = known.get(namespace);
    const found = new Map<string, readonly string[]>();
    for (const name of names) {
      const addresses = await abortable(options.resolve(name), signal).catch(() => undefined);
      signal.throwIfAborted();
      found.set(name, addresses?.toSorted() ?? before?.get(name) ?? []);
    }
    known.set(namespace, found);
    return found;
  };

  const controller = new Controller({
    name: "egress",
    workers,
    log: options.log,
    async reconcile(namespace, signal) {
      const own = connections.by("namespace", namespace);
      const inside = pods.by("namespace", namespace);
      if (own.length === 0 && inside.length === 0) {
        written.delete(namespace);
        known.delete(namespace);
        return {};
      }
      const foreign = foreignOf(namespace, inside).flatMap((key) => connections.get(key) ?? []);
      const endpoints = [...own, ...foreign].flatMap(endpointsOf);
      const addresses = await addressesOf(namespace, endpoints, signal);
      const spec = egressSpec({
        namespace,
        endpoints,
        addressesOf: (host) => addresses.get(host) ?? [],
        operatorNamespace: options.operatorNamespace,
        operatorPort: options.operatorPort,
        resolvers: options.resolvers,
      });
      const before = written.get(namespace);
      const isFresh = before !== undefined && now() - before.at < writeAgainMs;
      if (!isFresh || !isDeepStrictEqual(before.spec, spec)) {
        await write(client, namespace, owner, spec, signal);
        written.set(namespace, { spec, at: now() });
      }
      return { requeueAfterMs: spread(resolveAgainMs, random) };
    },
  });

  const look = ({ metadata }: KubeObject): void => controller.queue.add(metadata.namespace ?? "");
  // What was listed before we began to listen.
  for (const connection of connections.values()) look(connection);
  for (const pod of pods.values()) look(pod);
  // Namespaces whose pods use it from elsewhere find out when they look again.
  connections.onChange(({ before, after }) => {
    const isStatus =
      before !== undefined && before.metadata.generation === after?.metadata.generation;
    const changed = after ?? before;
    if (changed !== undefined && !isStatus) look(changed);
  });
  pods.onChange(({ before, after }) => {
    if (before === undefined && after !== undefined) look(after);
  });
  return controller;
}

function endpointsOf(connection: Connection): readonly Endpoint[] {
  const { host, port, fallbacks } = connectionTarget(connection);
  return [{ host, port }, ...fallbacks];
}

/** Connections of other namespaces that pods of this one were injected with. */
function foreignOf(namespace: string, inside: readonly KubeObject[]): readonly string[] {
  const found = new Set(
    inside.flatMap((pod) => namesIn(pod.metadata.annotations?.[addressesAnnotation] ?? "")),
  );
  return [...found].filter((name) => !name.startsWith(`${namespace}/`)).toSorted();
}

/** A map that cannot be read grants nothing, and lets nothing out. */
function namesIn(addresses: string): readonly string[] {
  try {
    return parseAddressMap(addresses).connections.map(({ connection }) => connection);
  } catch {
    return [];
  }
}

async function write(
  client: KubeClient,
  namespace: string,
  owner: string,
  spec: JsonObject,
  signal: AbortSignal,
): Promise<void> {
  const role = await client.call(
    { method: "GET", path: objectPath(resourceTypes.ClusterRole, undefined, owner) },
    signal,
  );
  const uid = textAt(role, "metadata", "uid");
  if (uid === undefined) throw new Error(`ClusterRole ${owner} has no uid`);
  await client.call(
    {
      method: "PATCH",
      path: objectPath(resourceTypes.NetworkPolicy, namespace, networkPolicyName),
      query: { fieldManager, force: true },
      contentType: "application/apply-patch+yaml",
      body: {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: {
          name: networkPolicyName,
          namespace,
          labels: { "app.kubernetes.io/managed-by": "chaperone" },
          ownerReferences: [
            { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", name: owner, uid },
          ],
        },
        spec,
      },
    },
    signal,
  );
}
