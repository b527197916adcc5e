// Reads Secrets one by one when they are needed: never watched, never listed, forgotten after seconds.
import type { KubeClient } from "./client.ts";
import { KubeError } from "./kube-error.ts";
import { fieldAt, isJsonObject, objectPath, textAt } from "./objects.ts";
import { resourceTypes } from "./resource-types.ts";

/** A storm of grants reads each Secret once in this time; a rotated credential reaches the next grant after it. */
export const secretTtlMs = 10_000;

/** A Secret that is not there is looked for again soon: somebody is about to create it. */
const missingTtlMs = 1_000;

/** Secrets that Connections name at one time; the oldest reads go first. */
const maxCached = 2_000;

/** As long as one grant can wait for it. */
const readTimeoutMs = 5_000;

export type SecretValues = Readonly<Record<string, string>>;

interface Read {
  readonly at: number;
  readonly values: SecretValues | undefined;
  readonly version: string;
}

export class SecretReader {
  readonly #client: KubeClient;
  readonly #now: () => number;
  readonly #onChanged: (namespace: string, name: string) => void;
  readonly #reads = new Map<string, Read>();
  readonly #reading = new Map<string, Promise<Read>>();

  /** `onChanged`: a read found another version than the one before it. */
  constructor(
    client: KubeClient,
    now: () => number,
    onChanged: (namespace: string, name: string) => void,
  ) {
    this.#client = client;
    this.#now = now;
    this.#onChanged = onChanged;
  }

  async read(
    namespace: string,
    name: string,
    signal: AbortSignal,
  ): Promise<SecretValues | undefined> {
    const key = `${namespace}/${name}`;
    const known = this.#reads.get(key);
    const ttlMs = known?.values === undefined ? missingTtlMs : secretTtlMs;
    if (known !== undefined && this.#now() - known.at < ttlMs) return known.values;
    // Shared by all who ask now, so it may not end with the first of them who gives up.
    const reading = this.#reading.get(key) ?? this.#start(key, namespace, name);
    return (await abortable(reading, signal)).values;
  }

  #start(key: string, namespace: string, name: string): Promise<Read> {
    const reading = this.#fetch(namespace, name).then((read) =>
      this.#keep(key, namespace, name, read),
    );
    this.#reading.set(key, reading);
    reading.finally(() => this.#reading.delete(key)).catch(() => undefined);
    return reading;
  }

  #keep(key: string, namespace: string, name: string, read: Read): Read {
    const before = this.#reads.get(key);
    this.#reads.delete(key);
    const oldest = this.#reads.size >= maxCached ? this.#reads.keys().next().value : undefined;
    if (oldest !== undefined) this.#reads.delete(oldest);
    this.#reads.set(key, read);
    if (before !== undefined && before.version !== read.version) this.#onChanged(namespace, name);
    return read;
  }

  async #fetch(namespace: string, name: string): Promise<Read> {
    try {
      const secret = await this.#client.call(
        { method: "GET", path: objectPath(resourceTypes.Secret, namespace, name) },
        AbortSignal.timeout(readTimeoutMs),
      );
      return {
        at: this.#now(),
        values: decodeSecret(secret),
        version: `${textAt(secret, "metadata", "uid") ?? ""} ${textAt(secret, "metadata", "resourceVersion") ?? ""}`,
      };
    } catch (error) {
      if (error instanceof KubeError && error.isNotFound)
        return { at: this.#now(), values: undefined, version: "" };
      throw error;
    }
  }
}

/** `data` is base64 in the API; our credentials are text. */
export function decodeSecret(secret: unknown): SecretValues {
  const data = fieldAt(secret, "data");
  if (!isJsonObject(data)) return {};
  return Object.fromEntries(
    Object.entries(data).flatMap(([key, value]) =>
      typeof value === "string" ? [[key, Buffer.from(value, "base64").toString("utf8")]] : [],
    ),
  );
}

/** The promise's outcome, or the signal's reason, whichever comes first. */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void =>
    reject(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
