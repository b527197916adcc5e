// Which Secrets a pod's containers and volumes name, those of ephemeral containers included.
import { fieldAt, isJsonObject, textAt, type JsonObject } from "./objects.ts";

export interface SecretReference {
  /** Path in the pod. */
  readonly where: string;
  readonly secret: string;
}

/** In the order of the pod; a Secret that is named twice comes twice. Pull secrets are the kubelet's and left out. */
export function secretsNamed(pod: JsonObject): Iterable<SecretReference> {
  return secretReferences(fieldAt(pod, "spec"), "spec");
}

/** Members that hold the name of a Secret, in env, envFrom, volumes of every kind and projected sources. */
const referenceMembers = new Set(["secretRef", "secretKeyRef", "secret", "nodePublishSecretRef"]);

function* secretReferences(value: unknown, where: string): Generator<SecretReference> {
  if (Array.isArray(value)) {
    for (const [index, entry] of value.entries())
      yield* secretReferences(entry, `${where}[${index}]`);
  } else if (isJsonObject(value)) {
    for (const [member, entry] of Object.entries(value)) {
      const at = `${where}.${member}`;
      if (member === "secretName" && typeof entry === "string") yield { where: at, secret: entry };
      const named = referenceMembers.has(member) ? textAt(entry, "name") : undefined;
      if (named !== undefined) yield { where: at, secret: named };
      yield* secretReferences(entry, at);
    }
  }
}
