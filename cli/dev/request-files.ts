// Access requests of local mode: one JSON file each, written whole or not at all, compare-and-swap on resourceVersion.
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AccessRequest } from "../../crds/types.gen.ts";
import { RequestConflict, type RequestStore } from "../../operator/resources.ts";

/** Finished requests beyond this many are forgotten, oldest first; their events stay in the store. */
const maxKept = 1000;

/** One process works in a state directory (its lock), so memory is the truth and the files are for the next start. */
export function createRequestFiles(directory: string): RequestStore {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const requests = new Map<string, AccessRequest>();
  for (const file of readdirSync(directory)) {
    if (!file.endsWith(".json")) continue;
    const request = JSON.parse(readFileSync(join(directory, file), "utf8")) as AccessRequest;
    requests.set(keyOf(request.metadata.namespace, request.metadata.name), request);
  }
  const listeners = new Set<(request: AccessRequest) => void>();

  const keep = (request: AccessRequest): AccessRequest => {
    const { namespace, name, resourceVersion } = request.metadata;
    const kept: AccessRequest = {
      ...request,
      metadata: {
        ...request.metadata,
        resourceVersion: String(Number(resourceVersion ?? "0") + 1),
      },
    };
    const file = join(directory, `${namespace}.${name}.json`);
    writeFileSync(`${file}.new`, JSON.stringify(kept, null, 2), { mode: 0o600, flush: true });
    renameSync(`${file}.new`, file);
    requests.set(keyOf(namespace, name), kept);
    for (const listener of listeners) listener(kept);
    return kept;
  };

  return {
    async create(request) {
      const { namespace, name } = request.metadata;
      if (requests.has(keyOf(namespace, name))) throw new RequestConflict(name);
      if (requests.size >= maxKept)
        throw new Error(`${directory} holds ${maxKept} access requests; remove old ones`);
      return keep(request);
    },
    get: async (namespace, name) => requests.get(keyOf(namespace, name)),
    list: async (namespace) =>
      [...requests.values()].filter(
        (request) => namespace === undefined || request.metadata.namespace === namespace,
      ),
    async updateStatus(request) {
      const { namespace, name, resourceVersion } = request.metadata;
      const stored = requests.get(keyOf(namespace, name));
      if (stored === undefined || stored.metadata.resourceVersion !== resourceVersion)
        throw new RequestConflict(name);
      return keep({
        ...stored,
        ...(request.status === undefined ? {} : { status: request.status }),
      });
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function keyOf(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}
