// Our own kinds, from raw JSON to their generated types: admission has checked them, so this fills in defaults and looks at the outline only.
import { applyDefaults } from "../../crds/validate.ts";
import type { CrdKind } from "../../crds/schema.ts";
import type {
  AccessPolicy,
  AccessRequest,
  AccessSession,
  ClusterAccessPolicy,
  Connection,
  Quarantine,
} from "../../crds/types.gen.ts";
import { isJsonObject, type KubeObject } from "./objects.ts";

interface Kinds {
  readonly Connection: Connection;
  readonly AccessPolicy: AccessPolicy;
  readonly ClusterAccessPolicy: ClusterAccessPolicy;
  readonly AccessRequest: AccessRequest;
  readonly AccessSession: AccessSession;
  readonly Quarantine: Quarantine;
}

/** An object of ours as the store keeps it: typed, and still an object of the API. */
export type Stored<K extends CrdKind> = Kinds[K] & KubeObject;

/**
 * Objects that only the checks of our webhook would refuse are kept: leaving out a policy that cannot be understood could
 * leave out a Deny. Whoever compiles it says that it is unusable, which closes the connection.
 */
export function typedReader<K extends CrdKind>(kind: K): (object: KubeObject) => Stored<K> {
  return (object) => {
    const value = applyDefaults(kind, object);
    if (!isJsonObject(value) || !isJsonObject(value["spec"]))
      throw new TypeError(`${kind} ${object.metadata.name} has no spec`);
    return value as unknown as Stored<K>; // the CRD's schema, held by the API server
  };
}
