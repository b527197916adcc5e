// Keeps an ObjectStore equal to a collection of the API server: list in pages, then watch, for ever, whatever the server does.
import { backoffMs, pause, type BackoffLimits } from "./backoff.ts";
import { AnswerTooLarge, type KubeClient } from "./client.ts";
import { KubeError, streamedError } from "./kube-error.ts";
import {
  collectionPath,
  fieldAt,
  keyOf,
  listAt,
  readObject,
  textAt,
  type KubeObject,
  type ResourceType,
} from "./objects.ts";
import { compareVersions } from "./resource-version.ts";
import type { ObjectStore } from "./store.ts";
import { readWatch, WatchBroken, type WatchEvent } from "./watch-stream.ts";

/** What kubectl and client-go ask for: a page is parsed in one piece, and 500 objects do not stall the event loop. */
export const pageLimit = 500;

/** The server ends a watch after a random time of this range, so that those of many clients do not end together. */
export const watchSeconds = { min: 300, max: 600 } as const;

/**
 * A busy collection gets a bookmark about once a minute (60 to 75 s). Longer silence means that nothing happens or that nobody is
 * there any more, which only a new connection tells apart.
 */
export const idleTimeoutMs = 90_000;

/** A watch that ends without an event sooner than this did not work, whatever it says; going on at once would be a hot loop. */
const shortestWatchMs = 1_000;

const defaultBackoff: BackoffLimits = { firstMs: 500, maxMs: 30_000 };

export interface ReflectorOptions<T extends KubeObject> {
  readonly client: KubeClient;
  readonly type: ResourceType;
  readonly store: ObjectStore<T>;
  /** Raw JSON to what the store keeps. Throws for an object that cannot be understood, which is then left out. */
  readonly read: (object: KubeObject) => T;
  /** Undefined: every namespace. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly now: () => number;
  readonly random: () => number;
  readonly log: ReflectorLog;
  readonly idleTimeoutMs?: number;
  readonly backoff?: BackoffLimits;
}

export interface ReflectorLog {
  /** Something failed and is tried again. */
  warn(details: Readonly<Record<string, unknown>>, event: string): void;
  debug(details: Readonly<Record<string, unknown>>, event: string): void;
}

/** Events arrived in an order that cannot be right; only a new list tells the truth. */
class WatchDisordered extends Error {
  constructor(key: string) {
    super(`an older event for ${key} came after newer ones`);
    this.name = "WatchDisordered";
  }
}

export class Reflector<T extends KubeObject> {
  readonly #options: ReflectorOptions<T>;
  readonly #synced = Promise.withResolvers<void>();
  readonly #stop = new AbortController();
  #version: string | undefined;
  #limit = pageLimit;
  #confirmedAt: number | undefined;
  /** Whether the watch under way did any good, so that one reset after hours is not taken for the last of a row. */
  #worked = false;
  #running: Promise<void> | undefined;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
  }

  /** Resolves when the first list is in the store. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  /** When the store was last known to be current: a list, a watch taken up, an event or a bookmark. */
  get confirmedAt(): number | undefined {
    return this.#confirmedAt;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    let failures = 0;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        this.#worked = false;
        if (this.#version === undefined) await this.#list(signal);
        await this.#watch(signal);
        failures = this.#worked ? 0 : failures + 1;
        if (!this.#worked) await pause(this.#delay(failures), signal);
      } catch (error) {
        if (signal.aborted) return;
        failures = this.#worked ? 1 : failures + 1;
        const delay = Math.max(this.#delay(failures), this.#prepareFor(error));
        const { kind } = this.#options.type;
        this.#options.log.warn(
          {
            kind,
            failures,
            retryInMs: delay,
            relist: this.#version === undefined,
            cause: describe(error),
          },
          "watch-failed",
        );
        await pause(delay, signal);
      }
    }
  }

  /** What the error asks for: a new list when the position is worth nothing any more. Returns the least wait in ms. */
  #prepareFor(error: unknown): number {
    if (error instanceof AnswerTooLarge) this.#limit = Math.max(1, Math.floor(this.#limit / 2));
    if (error instanceof WatchDisordered) this.#version = undefined;
    if (!(error instanceof KubeError)) return 0;
    if (error.isExpired || !error.isTemporary) this.#version = undefined;
    // With jitter on top: the server told everybody the same number.
    return error.retryAfterMs === undefined
      ? 0
      : Math.ceil(error.retryAfterMs * (1 + 0.2 * this.#options.random()));
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { client, type, store, labelSelector } = this.#options;
    const found: T[] = [];
    let version: string | undefined;
    let from: string | undefined;
    do {
      const page = await client.call(
        {
          method: "GET",
          path: collectionPath(type, this.#options.namespace),
          query: {
            limit: this.#limit,
            ...(labelSelector === undefined ? {} : { labelSelector }),
            ...(from === undefined ? {} : { continue: from }),
          },
        },
        signal,
      );
      for (const item of listAt(page, "items")) {
        const object = this.#read(item);
        if (object !== undefined) found.push(object);
      }
      version = textAt(page, "metadata", "resourceVersion");
      from = textAt(page, "metadata", "continue") || undefined;
    } while (from !== undefined);
    if (version === undefined) throw new WatchBroken("a list came without a resourceVersion");
    store.replace(found, version);
    this.#version = version;
    this.#confirmedAt = this.#options.now();
    this.#synced.resolve();
    this.#options.log.debug({ kind: type.kind, objects: found.length }, "listed");
  }

  /** One watch, from first to last event. Returns when the server ended it, or when it fell silent. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { client, type, labelSelector, now, random } = this.#options;
    const idle = new AbortController();
    const limitMs = this.#options.idleTimeoutMs ?? idleTimeoutMs;
    const timer = setTimeout(() => idle.abort(), limitMs);
    const startedAt = now();
    try {
      const stream = await client.stream(
        {
          method: "GET",
          path: collectionPath(type, this.#options.namespace),
          query: {
            watch: true,
            allowWatchBookmarks: true,
            resourceVersion: this.#version ?? "",
            timeoutSeconds: Math.round(
              watchSeconds.min + random() * (watchSeconds.max - watchSeconds.min),
            ),
            ...(labelSelector === undefined ? {} : { labelSelector }),
          },
        },
        AbortSignal.any([signal, idle.signal]),
      );
      // The server took our position: a quiet collection may send nothing for minutes, not even a bookmark.
      this.#confirmedAt = now();
      for await (const event of readWatch(stream)) {
        timer.refresh();
        this.#apply(event);
        this.#worked = true;
        this.#confirmedAt = now();
      }
      this.#worked ||= now() - startedAt >= shortestWatchMs;
    } catch (error) {
      if (idle.signal.aborted && !signal.aborted) {
        this.#options.log.debug({ kind: type.kind, idleMs: limitMs }, "watch-idle");
        this.#worked = true; // silence is no failure: a new connection goes on from the last event
        return;
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #apply(event: WatchEvent): void {
    const { type, store } = this.#options;
    if (event.type === "ERROR") throw streamedError(`watch ${type.plural}`, event.object);
    if (event.type === "BOOKMARK") {
      const version = textAt(event.object, "metadata", "resourceVersion");
      if (version !== undefined && isNewer(version, this.#version)) this.#version = version;
      return;
    }
    const raw = readObject(event.object, type);
    const key = keyOf(raw);
    const { resourceVersion } = raw.metadata;
    if (
      compareVersions(resourceVersion, this.#version ?? "") !== undefined &&
      !isNewer(resourceVersion, this.#version)
    ) {
      const stored = store.get(key);
      // Said before: the store is there or further already.
      if (stored !== undefined && !isNewer(resourceVersion, stored.metadata.resourceVersion))
        return;
      if (stored === undefined && event.type === "DELETED") return;
      throw new WatchDisordered(key);
    }
    const object = event.type === "DELETED" ? undefined : this.#read(raw);
    if (object === undefined) store.remove(key, resourceVersion);
    else store.put(object);
    this.#version = resourceVersion;
  }

  #read(item: unknown): T | undefined {
    const { type, read, log } = this.#options;
    try {
      return read(readObject(item, type));
    } catch (error) {
      const name = fieldAt(item, "metadata", "name");
      log.warn({ kind: type.kind, name, cause: describe(error) }, "object-unreadable");
      return undefined;
    }
  }

  #delay(failures: number): number {
    return backoffMs(failures, this.#options.backoff ?? defaultBackoff, this.#options.random);
  }
}

function isNewer(version: string, than: string | undefined): boolean {
  return (compareVersions(version, than ?? "") ?? 1) > 0;
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
