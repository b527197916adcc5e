// Writes a status by server-side apply, as its one owner, and only when it says something new.
import { isDeepStrictEqual } from "node:util";
import type { KubeClient } from "./client.ts";
import { KubeError } from "./kube-error.ts";
import {
  apiVersionOf,
  isJsonObject,
  objectPath,
  type JsonObject,
  type ResourceType,
} from "./objects.ts";

const applyType = "application/apply-patch+yaml";

export interface StatusTarget {
  readonly metadata: { readonly namespace?: string; readonly name: string; readonly uid?: string };
  readonly status?: unknown;
}

/**
 * True when something was written. `wanted` is the whole status as this manager sees it: fields it leaves out and applied
 * before are removed. The uid makes sure that the status of one object never lands on another of the same name.
 */
export async function applyStatus(
  client: KubeClient,
  type: ResourceType,
  target: StatusTarget,
  wanted: JsonObject,
  fieldManager: string,
  signal: AbortSignal,
): Promise<boolean> {
  if (covers(target.status, wanted)) return false;
  const { namespace, name, uid } = target.metadata;
  try {
    await client.call(
      {
        method: "PATCH",
        path: objectPath(type, namespace, name, "status"),
        query: { fieldManager, force: true },
        contentType: applyType,
        body: {
          apiVersion: apiVersionOf(type),
          kind: type.kind,
          metadata: {
            name,
            ...(namespace === undefined ? {} : { namespace }),
            ...(uid === undefined ? {} : { uid }),
          },
          status: wanted,
        },
      },
      signal,
    );
  } catch (error) {
    // Deleted meanwhile (or replaced: another uid is a conflict); the watch says so in a moment.
    if (error instanceof KubeError && (error.isNotFound || error.isConflict)) return false;
    throw error;
  }
  return true;
}

/** Whether the stored status says all that is wanted and nothing that is not. */
function covers(stored: unknown, wanted: JsonObject): boolean {
  return (
    isJsonObject(stored) &&
    isDeepStrictEqual(JSON.parse(JSON.stringify(stored)), JSON.parse(JSON.stringify(wanted)))
  );
}
