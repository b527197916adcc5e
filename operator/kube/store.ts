// The objects of one kind as last seen, by `namespace/name` and by whatever else they are looked up by; reads are synchronous.
import { keyOf, type KubeObject } from "./objects.ts";
import { compareVersions } from "./resource-version.ts";

export interface StoreChange<T> {
  readonly key: string;
  /** What was there before; absent when it is new. */
  readonly before?: T;
  /** What is there now; absent when it is gone. */
  readonly after?: T;
}

export type IndexFunction<T> = (object: T) => readonly string[];

/** Answers to our own writes are seconds late at most; so many objects do not go away meanwhile. */
const maxRemembered = 1_000;

export class ObjectStore<T extends KubeObject = KubeObject> {
  readonly #objects = new Map<string, T>();
  readonly #functions: Readonly<Record<string, IndexFunction<T>>>;
  readonly #indexes = new Map<string, Map<string, Set<string>>>();
  /** Resource version at which objects went away, so that a late answer to a write does not bring one back. */
  readonly #removed = new Map<string, string>();
  readonly #listeners = new Set<(change: StoreChange<T>) => void>();
  readonly #onListenerError: (error: unknown) => void;

  /** A listener that throws is reported and the others still hear. */
  constructor(
    functions: Readonly<Record<string, IndexFunction<T>>>,
    onListenerError: (error: unknown) => void,
  ) {
    this.#functions = functions;
    this.#onListenerError = onListenerError;
    for (const name of Object.keys(functions)) this.#indexes.set(name, new Map());
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  get size(): number {
    return this.#objects.size;
  }

  values(): IterableIterator<T> {
    return this.#objects.values();
  }

  /** Sorted by key, so that what follows from several objects never depends on the order of arrival. */
  by(index: string, value: string): readonly T[] {
    const keys = this.#indexes.get(index)?.get(value);
    if (keys === undefined) return [];
    return [...keys].toSorted().flatMap((key) => this.#objects.get(key) ?? []);
  }

  /** Called after the store holds the change. Returns the unsubscribe function. */
  onChange(listener: (change: StoreChange<T>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Keeps the newer one: what we wrote ourselves is put here at once, and the watch says it again later, older states first. */
  put(object: T): void {
    const before = this.#objects.get(keyOf(object));
    const { uid, resourceVersion } = object.metadata;
    const reached =
      this.#removed.get(uid) ??
      (before?.metadata.uid === uid ? before.metadata.resourceVersion : undefined);
    if (reached !== undefined && (compareVersions(resourceVersion, reached) ?? 1) < 0) return;
    this.#removed.delete(uid);
    this.#set(object);
  }

  /** An object of the same name but another uid is another object: the old one is gone first. */
  #set(object: T): void {
    const key = keyOf(object);
    const before = this.#objects.get(key);
    if (before?.metadata.resourceVersion === object.metadata.resourceVersion) return;
    if (before !== undefined && before.metadata.uid !== object.metadata.uid) this.remove(key);
    const same = this.#objects.get(key);
    if (same !== undefined) this.#unindex(key, same);
    this.#objects.set(key, object);
    this.#index(key, object);
    this.#tell(same === undefined ? { key, after: object } : { key, before: same, after: object });
  }

  /** `version`: at which it went away, where that is known. */
  remove(key: string, version?: string): void {
    const before = this.#objects.get(key);
    if (before === undefined) return;
    if (version !== undefined) this.#remember(before.metadata.uid, version);
    this.#unindex(key, before);
    this.#objects.delete(key);
    this.#tell({ key, before });
  }

  /** A whole new list: what is not in it is gone, what is in it is true (also after a restored backup). Removals are told first. */
  replace(objects: readonly T[], version: string): void {
    const listed = new Set(objects.map(keyOf));
    for (const key of this.#objects.keys()) if (!listed.has(key)) this.remove(key, version);
    for (const object of objects) this.#set(object);
  }

  #remember(uid: string, version: string): void {
    const oldest =
      this.#removed.size >= maxRemembered ? this.#removed.keys().next().value : undefined;
    if (oldest !== undefined) this.#removed.delete(oldest);
    this.#removed.set(uid, version);
  }

  #index(key: string, object: T): void {
    for (const [name, values] of this.#indexes) {
      for (const value of this.#functions[name]?.(object) ?? []) {
        const keys = values.get(value) ?? new Set();
        keys.add(key);
        values.set(value, keys);
      }
    }
  }

  #unindex(key: string, object: T): void {
    for (const [name, values] of this.#indexes) {
      for (const value of this.#functions[name]?.(object) ?? []) {
        const keys = values.get(value);
        keys?.delete(key);
        if (keys?.size === 0) values.delete(value);
      }
    }
  }

  #tell(change: StoreChange<T>): void {
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        this.#onListenerError(error);
      }
    }
  }
}
