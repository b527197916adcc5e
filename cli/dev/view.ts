// The resources of local mode: manifests from files, quarantines from the state directory. A broken file keeps the last good state.
import type { CheckResult } from "../../crds/check.ts";
import type {
  AccessPolicy,
  ClusterAccessPolicy,
  Connection,
  Quarantine,
} from "../../crds/types.gen.ts";
import type { PriceTable } from "../../policy/budget/price.ts";
import { priceTableName } from "../../policy/budget/price-table.ts";
import type { ResourceChange, ResourceKind, ResourceView } from "../../operator/resources.ts";

interface Named {
  readonly namespace: string;
  readonly name: string;
}

export class FileView implements ResourceView {
  #loaded: CheckResult;
  #quarantines: readonly Quarantine[] = [];
  #generation = 1;
  readonly #listeners = new Set<(change: ResourceChange) => void>();

  constructor(loaded: CheckResult) {
    this.#loaded = loaded;
  }

  /** Takes a new good state and tells what changed. */
  replace(loaded: CheckResult): void {
    const before = this.#loaded;
    this.#loaded = loaded;
    this.#announce(
      "Connection",
      before.connections.map(byMetadata),
      loaded.connections.map(byMetadata),
    );
    this.#announce(
      "AccessPolicy",
      before.policies.map(byMetadata),
      loaded.policies.map(byMetadata),
    );
    this.#announce(
      "ClusterAccessPolicy",
      before.clusterPolicies.map(withoutNamespace),
      loaded.clusterPolicies.map(withoutNamespace),
    );
    this.#announce("Secret", before.secrets, loaded.secrets);
    this.#announce("ConfigMap", [pricesNamed(before)], [pricesNamed(loaded)]);
  }

  replaceQuarantines(quarantines: readonly Quarantine[]): void {
    const before = this.#quarantines;
    this.#quarantines = quarantines;
    this.#announce("Quarantine", before.map(byMetadata), quarantines.map(byMetadata));
  }

  connection(namespace: string, name: string): Connection | undefined {
    return this.#loaded.connections.find(
      ({ metadata }) => metadata.namespace === namespace && metadata.name === name,
    );
  }

  connectionsIn(namespace: string): readonly Connection[] {
    return this.#loaded.connections
      .filter((connection) => connection.metadata.namespace === namespace)
      .toSorted(byName);
  }

  allConnections(): readonly Connection[] {
    return this.#loaded.connections;
  }

  policiesIn(namespace: string): readonly AccessPolicy[] {
    return this.#loaded.policies
      .filter((policy) => policy.metadata.namespace === namespace)
      .toSorted(byName);
  }

  clusterPolicies(): readonly ClusterAccessPolicy[] {
    return this.#loaded.clusterPolicies.toSorted(byName);
  }

  quarantines(): readonly Quarantine[] {
    return [...this.#loaded.quarantines, ...this.#quarantines];
  }

  prices(): PriceTable | undefined {
    return this.#loaded.prices;
  }

  async secret(
    namespace: string,
    name: string,
  ): Promise<Readonly<Record<string, string>> | undefined> {
    return this.#loaded.secrets.find(
      (secret) => secret.namespace === namespace && secret.name === name,
    )?.values;
  }

  onChange(listener: (change: ResourceChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  generation(): number {
    return this.#generation;
  }

  #announce(kind: ResourceKind, before: readonly Named[], after: readonly Named[]): void {
    const old = new Map(before.map((object) => [keyOf(object), JSON.stringify(object)]));
    const changed: Named[] = after.filter(
      (object) => old.get(keyOf(object)) !== JSON.stringify(object),
    );
    const kept = new Set(after.map(keyOf));
    for (const object of [
      ...changed,
      ...before.filter((candidate) => !kept.has(keyOf(candidate))),
    ]) {
      this.#generation += 1;
      const { namespace, name } = object;
      for (const listener of this.#listeners)
        listener({ kind, namespace, name, generation: this.#generation });
    }
  }
}

/** Any change of the object counts, so it goes along whole. */
function byMetadata<T extends { readonly metadata: Named }>(
  object: T,
): Named & { readonly object: T } {
  return { namespace: object.metadata.namespace, name: object.metadata.name, object };
}

function pricesNamed({ prices }: CheckResult): Named & { readonly prices: unknown } {
  return { namespace: "", name: priceTableName, prices };
}

function withoutNamespace(
  object: ClusterAccessPolicy,
): Named & { readonly object: ClusterAccessPolicy } {
  return { namespace: "", name: object.metadata.name, object };
}

function keyOf({ namespace, name }: Named): string {
  return `${namespace}/${name}`;
}

type WithName = { readonly metadata: Pick<Named, "name"> };

function byName(a: WithName, b: WithName): number {
  return a.metadata.name < b.metadata.name ? -1 : 1;
}
