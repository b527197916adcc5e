// The objects of one kind as last seen, by `namespace/name` and by whatever else they are looked up by; reads are synchronous.
import { keyOf, type KubeObject } from "./objects.ts";

export interface StoreChange<T> {
  readonly key: string;
  /** What was there before; absent when it is new. */
  readonly before?: T;
  /** What is there now; absent when it is gone. */
  readonly after?: T;
}

export type IndexFunction<T> = (object: T) => readonly string[];

export class ObjectStore<T extends KubeObject = KubeObject> {
  readonly #objects = new Map<string, T>();
  readonly #functions: Readonly<Record<string, IndexFunction<T>>>;
  readonly #indexes = new Map<string, Map<string, Set<string>>>();
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

  /** An object of the same name but another uid is another object: the old one is gone first. */
  put(object: T): void {
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

  remove(key: string): void {
    const before = this.#objects.get(key);
    if (before === undefined) return;
    this.#unindex(key, before);
    this.#objects.delete(key);
    this.#tell({ key, before });
  }

  /** A whole new list: what is not in it is gone. Changes are told one by one, removals first. */
  replace(objects: readonly T[]): void {
    const listed = new Set(objects.map(keyOf));
    for (const key of this.#objects.keys()) if (!listed.has(key)) this.remove(key);
    for (const object of objects) this.put(object);
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
