// The cluster's resources as the rest of the operator reads them (ResourceView): watched, typed, and told when they change.
import type {
  AccessPolicy,
  ClusterAccessPolicy,
  Connection,
  Quarantine,
} from "../../crds/types.gen.ts";
import { PriceTableReader } from "../budgets/price-table-reader.ts";
import type { PriceTable } from "../../policy/budget/price.ts";
import { priceTableName } from "../../policy/budget/price-table.ts";
import type { ResourceChange, ResourceKind, ResourceView } from "../resources.ts";
import { Collection, type WatchParts } from "./collection.ts";
import { textAt, type KubeObject } from "./objects.ts";
import { injectSelector, resourceTypes } from "./resource-types.ts";
import { SecretReader } from "./secrets.ts";
import type { ObjectStore, StoreChange } from "./store.ts";
import { typedReader, type Stored } from "./typed.ts";

export class KubeView implements ResourceView {
  readonly connections: Collection<Stored<"Connection">>;
  readonly policies: Collection<Stored<"AccessPolicy">>;
  readonly restrictions: Collection<Stored<"ClusterAccessPolicy">>;
  readonly quarantineOrders: Collection<Stored<"Quarantine">>;
  /** Those that opted in by label; no others are ever read. */
  readonly pods: Collection<KubeObject>;
  /** Of the operator's own namespace: one of them may be the price table. */
  readonly configMaps: Collection<KubeObject>;
  readonly #priceTable: PriceTableReader;
  readonly #secrets: SecretReader;
  readonly #listeners = new Set<(change: ResourceChange) => void>();
  readonly #podListeners = new Set<(podUid: string) => void>();
  #generation = 0;
  #sortedQuarantines: readonly Quarantine[] | undefined;

  /** @param namespace the operator's own */
  constructor(parts: WatchParts, namespace: string) {
    this.connections = new Collection(parts, {
      type: resourceTypes.Connection,
      read: typedReader("Connection"),
    });
    this.policies = new Collection(parts, {
      type: resourceTypes.AccessPolicy,
      read: typedReader("AccessPolicy"),
    });
    this.restrictions = new Collection(parts, {
      type: resourceTypes.ClusterAccessPolicy,
      read: typedReader("ClusterAccessPolicy"),
    });
    this.quarantineOrders = new Collection(parts, {
      type: resourceTypes.Quarantine,
      read: typedReader("Quarantine"),
    });
    this.pods = new Collection(parts, {
      type: resourceTypes.Pod,
      read: (pod) => pod,
      labelSelector: injectSelector,
    });
    this.configMaps = new Collection(parts, {
      type: resourceTypes.ConfigMap,
      read: (configMap) => configMap,
      namespace,
    });
    this.#priceTable = new PriceTableReader(namespace, (problem) =>
      parts.log.error({ problem }, "price-table-not-read"),
    );
    this.configMaps.store.onChange((change) => {
      if (this.#priceTable.take(change)) this.#tell("ConfigMap", namespace, priceTableName);
    });
    this.#secrets = new SecretReader(parts.client, parts.now, (namespace, name) =>
      this.#tell("Secret", namespace, name),
    );
    // Before anybody else listens: whoever hears of a change must find it here.
    this.quarantineOrders.store.onChange(() => (this.#sortedQuarantines = undefined));
    this.#follow("Connection", this.connections.store);
    this.#follow("AccessPolicy", this.policies.store);
    this.#follow("ClusterAccessPolicy", this.restrictions.store);
    this.#follow("Quarantine", this.quarantineOrders.store);
    this.pods.store.onChange((change) => this.#onPod(change));
  }

  connection(namespace: string, name: string): Connection | undefined {
    return this.connections.store.get(`${namespace}/${name}`);
  }

  allConnections(): Iterable<Connection> {
    return this.connections.store.values();
  }

  connectionsIn(namespace: string): readonly Connection[] {
    return this.connections.store.by("namespace", namespace);
  }

  policiesIn(namespace: string): readonly AccessPolicy[] {
    return this.policies.store.by("namespace", namespace);
  }

  clusterPolicies(): readonly ClusterAccessPolicy[] {
    return this.restrictions.store.by("namespace", "");
  }

  quarantines(): readonly Quarantine[] {
    this.#sortedQuarantines ??= [...this.quarantineOrders.store.values()].toSorted((a, b) =>
      orderOf(a) < orderOf(b) ? -1 : 1,
    );
    return this.#sortedQuarantines;
  }

  prices(): PriceTable | undefined {
    return this.#priceTable.table;
  }

  async secret(
    namespace: string,
    name: string,
    signal: AbortSignal,
  ): Promise<Readonly<Record<string, string>> | undefined> {
    return await this.#secrets.read(namespace, name, signal);
  }

  onChange(listener: (change: ResourceChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Called when a pod is deleted, loses its label, or has ended for good. */
  onPodGone(listener: (podUid: string) => void): () => void {
    this.#podListeners.add(listener);
    return () => this.#podListeners.delete(listener);
  }

  /** Whether a pod that opted in has this uid, and has not ended. */
  hasPod(podUid: string): boolean {
    for (const pod of this.pods.store.values())
      if (pod.metadata.uid === podUid) return !hasEnded(pod);
    return false;
  }

  generation(): number {
    return this.#generation;
  }

  start(): void {
    for (const collection of this.#collections()) collection.start();
  }

  /** Resolves when every kind has been listed once; before that, absence means nothing. */
  async synced(): Promise<void> {
    await Promise.all(this.#collections().map((collection) => collection.synced));
  }

  /** Age of the oldest of our knowledge, by kind, in ms. */
  ages(now: number): Readonly<Record<string, number | undefined>> {
    return Object.fromEntries(
      this.#collections().map((collection) => [collection.type.kind, collection.ageMs(now)]),
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.#collections().map((collection) => collection.close()));
  }

  #collections(): readonly Pick<
    Collection<KubeObject>,
    "type" | "start" | "synced" | "ageMs" | "close"
  >[] {
    return [
      this.connections,
      this.policies,
      this.restrictions,
      this.quarantineOrders,
      this.pods,
      this.configMaps,
    ];
  }

  #follow<T extends KubeObject & { readonly spec: unknown }>(
    kind: ResourceKind,
    store: ObjectStore<T>,
  ): void {
    store.onChange(({ before, after }) => {
      const { namespace = "", name } = (after ?? before)?.metadata ?? { name: "" };
      // Our own status writes come back as changes; they govern nothing.
      if (before === undefined || after === undefined || governs(before) !== governs(after))
        this.#tell(kind, namespace, name);
    });
  }

  #onPod({ before, after }: StoreChange<KubeObject>): void {
    const gone =
      after === undefined
        ? before
        : hasEnded(after) && (before === undefined || !hasEnded(before))
          ? after
          : undefined;
    if (gone === undefined) return;
    for (const listener of this.#podListeners) listener(gone.metadata.uid);
    this.#tell("Pod", gone.metadata.namespace ?? "", gone.metadata.name);
  }

  #tell(kind: ResourceKind, namespace: string, name: string): void {
    this.#generation += 1;
    const change: ResourceChange = { kind, namespace, name, generation: this.#generation };
    for (const listener of this.#listeners) listener(change);
  }
}

/** What makes a difference to those it governs. */
function governs({ spec, metadata }: KubeObject & { readonly spec: unknown }): string {
  return JSON.stringify([spec, metadata.deletionTimestamp !== undefined]);
}

/** Its containers will not run again. */
export function hasEnded(pod: KubeObject): boolean {
  const phase = textAt(pod, "status", "phase");
  return phase === "Succeeded" || phase === "Failed";
}

function orderOf({ metadata }: Quarantine): string {
  return `${metadata.namespace}/${metadata.name}`;
}
