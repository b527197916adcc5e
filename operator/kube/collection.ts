// One kind of objects, watched: a store and the reflector that keeps it true.
import type { KubeClient } from "./client.ts";
import type { KubeObject, ResourceType } from "./objects.ts";
import { Reflector, type ReflectorLog } from "./reflector.ts";
import { ObjectStore, type IndexFunction } from "./store.ts";

export interface WatchParts {
  readonly client: KubeClient;
  readonly now: () => number;
  readonly random: () => number;
  readonly log: CollectionLog;
}

export interface CollectionLog extends ReflectorLog {
  error(details: Readonly<Record<string, unknown>>, event: string): void;
}

export interface CollectionOptions<T extends KubeObject> {
  readonly type: ResourceType;
  readonly read: (object: KubeObject) => T;
  readonly indexes?: Readonly<Record<string, IndexFunction<T>>>;
  /** Undefined: every namespace. */
  readonly namespace?: string;
  readonly labelSelector?: string;
}

export class Collection<T extends KubeObject> {
  readonly type: ResourceType;
  readonly store: ObjectStore<T>;
  readonly #reflector: Reflector<T>;

  constructor(
    parts: WatchParts,
    { type, read, indexes = {}, namespace, labelSelector }: CollectionOptions<T>,
  ) {
    this.type = type;
    this.store = new ObjectStore<T>(
      { namespace: ({ metadata }) => [metadata.namespace ?? ""], ...indexes },
      (error) => parts.log.error({ kind: type.kind, err: error }, "listener-failed"),
    );
    this.#reflector = new Reflector<T>({
      ...parts,
      type,
      store: this.store,
      read,
      ...(namespace === undefined ? {} : { namespace }),
      ...(labelSelector === undefined ? {} : { labelSelector }),
    });
  }

  get synced(): Promise<void> {
    return this.#reflector.synced;
  }

  /** How old our knowledge may be, in ms; undefined before the first list. */
  ageMs(now: number): number | undefined {
    const { confirmedAt } = this.#reflector;
    return confirmedAt === undefined ? undefined : now - confirmedAt;
  }

  start(): void {
    this.#reflector.start();
  }

  async close(): Promise<void> {
    await this.#reflector.close();
  }
}
