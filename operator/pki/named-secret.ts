// One Secret of our own namespace, read and replaced by compare-and-swap; what others wrote into its metadata stays.
import type { KubeClient } from "../kube/client.ts";
import { KubeError } from "../kube/kube-error.ts";
import {
  collectionPath,
  fieldAt,
  isJsonObject,
  objectPath,
  textAt,
  type JsonObject,
} from "../kube/objects.ts";
import { resourceTypes } from "../kube/resource-types.ts";
import { decodeSecret, type SecretValues } from "../kube/secrets.ts";

export interface SecretState {
  /** Empty when the Secret is not there yet, or holds nothing. */
  readonly values: SecretValues;
  /** Of what was read; empty when the Secret is not there. Nobody but `save` looks inside. */
  readonly revision: string;
}

export class NamedSecret {
  readonly namespace: string;
  readonly name: string;
  readonly #client: KubeClient;

  constructor(client: KubeClient, namespace: string, name: string) {
    this.#client = client;
    this.namespace = namespace;
    this.name = name;
  }

  async load(signal: AbortSignal): Promise<SecretState> {
    const secret = await this.#read(signal);
    return secret === undefined
      ? { values: {}, revision: "" }
      : {
          values: decodeSecret(secret),
          revision: textAt(secret, "metadata", "resourceVersion") ?? "",
        };
  }

  /** False when the Secret is no longer the one of that revision. */
  async save(values: SecretValues, revision: string, signal: AbortSignal): Promise<boolean> {
    const data = Object.fromEntries(
      Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString("base64")]),
    );
    try {
      if (revision === "") await this.#create(data, signal);
      else if (!(await this.#replace(data, revision, signal))) return false;
      return true;
    } catch (error) {
      if (error instanceof KubeError && (error.isConflict || error.isNotFound)) return false;
      throw error;
    }
  }

  async #create(data: JsonObject, signal: AbortSignal): Promise<void> {
    const metadata = {
      name: this.name,
      namespace: this.namespace,
      labels: { "app.kubernetes.io/part-of": "chaperone" },
    };
    await this.#client.call(
      {
        method: "POST",
        path: collectionPath(resourceTypes.Secret, this.namespace),
        body: { apiVersion: "v1", kind: "Secret", metadata, type: "Opaque", data },
      },
      signal,
    );
  }

  async #replace(data: JsonObject, revision: string, signal: AbortSignal): Promise<boolean> {
    const stored = await this.#read(signal);
    if (!isJsonObject(stored) || fieldAt(stored, "metadata", "resourceVersion") !== revision)
      return false;
    // The revision travels in the metadata: the API server compares it once more.
    await this.#client.call(
      {
        method: "PUT",
        path: objectPath(resourceTypes.Secret, this.namespace, this.name),
        body: { ...stored, data },
      },
      signal,
    );
    return true;
  }

  async #read(signal: AbortSignal): Promise<unknown> {
    try {
      return await this.#client.call(
        { method: "GET", path: objectPath(resourceTypes.Secret, this.namespace, this.name) },
        signal,
      );
    } catch (error) {
      if (error instanceof KubeError && error.isNotFound) return undefined;
      throw error;
    }
  }
}
