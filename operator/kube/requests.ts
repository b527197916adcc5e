// Access requests as resources of the cluster: watched for reading, written by compare-and-swap on resourceVersion.
import type { AccessRequest } from "../../crds/types.gen.ts";
import { RequestConflict, type RequestStore } from "../resources.ts";
import { Collection, type WatchParts } from "./collection.ts";
import { KubeError } from "./kube-error.ts";
import { collectionPath, objectPath, readObject } from "./objects.ts";
import { resourceTypes } from "./resource-types.ts";
import { abortable } from "./secrets.ts";
import { typedReader, type Stored } from "./typed.ts";

const type = resourceTypes.AccessRequest;
const read = typedReader("AccessRequest");

export class KubeRequests implements RequestStore {
  readonly collection: Collection<Stored<"AccessRequest">>;
  readonly #parts: WatchParts;

  constructor(parts: WatchParts) {
    this.#parts = parts;
    this.collection = new Collection(parts, { type, read });
  }

  async create(request: AccessRequest, signal: AbortSignal): Promise<AccessRequest> {
    const created = await this.#parts.client.call(
      { method: "POST", path: collectionPath(type, request.metadata.namespace), body: request },
      signal,
    );
    return this.#keep(created);
  }

  /** From the API server itself: whether an approval still stands is not asked of a cache. */
  async get(
    namespace: string,
    name: string,
    signal: AbortSignal,
  ): Promise<AccessRequest | undefined> {
    try {
      return read(
        readObject(
          await this.#parts.client.call(
            { method: "GET", path: objectPath(type, namespace, name) },
            signal,
          ),
          type,
        ),
      );
    } catch (error) {
      if (error instanceof KubeError && error.isNotFound) return undefined;
      throw error;
    }
  }

  async list(
    namespace: string | undefined,
    signal: AbortSignal,
  ): Promise<readonly AccessRequest[]> {
    await abortable(this.collection.synced, signal);
    const { store } = this.collection;
    return namespace === undefined ? [...store.values()] : store.by("namespace", namespace);
  }

  async updateStatus(request: AccessRequest, signal: AbortSignal): Promise<AccessRequest> {
    const { namespace, name, resourceVersion } = request.metadata;
    // Without one the API server would overwrite whatever is there.
    if (resourceVersion === undefined)
      throw new Error(`access request ${namespace}/${name} was never stored`);
    try {
      return this.#keep(
        await this.#parts.client.call(
          { method: "PUT", path: objectPath(type, namespace, name, "status"), body: request },
          signal,
        ),
      );
    } catch (error) {
      if (error instanceof KubeError && (error.isConflict || error.isNotFound))
        throw new RequestConflict(name);
      throw error;
    }
  }

  onChange(listener: (request: AccessRequest) => void): () => void {
    return this.collection.store.onChange(({ after }) => {
      if (after !== undefined) listener(after);
    });
  }

  start(): void {
    this.collection.start();
  }

  async close(): Promise<void> {
    await this.collection.close();
  }

  /** What we wrote counts from now on, not only when the watch says it. */
  #keep(answer: unknown): AccessRequest {
    const request = read(readObject(answer, type));
    this.collection.store.put(request);
    return request;
  }
}
