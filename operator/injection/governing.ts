// Admission of Connection, AccessPolicy and Quarantine: the one validation, and whether the author may read the Secrets a Connection names.
import { isDeepStrictEqual } from "node:util";
import type { CrdKind } from "../../crds/schema.ts";
import { formatProblem } from "../../crds/problem.ts";
import type { Validator } from "../../crds/validate.ts";
import type { AccessReviewer } from "../kube/access.ts";
import { fieldAt, textAt } from "../kube/objects.ts";
import type { AdmissionAnswer, AdmissionRequest } from "./review.ts";

const kinds: Readonly<Record<string, CrdKind>> = {
  connections: "Connection",
  accesspolicies: "AccessPolicy",
  clusteraccesspolicies: "ClusterAccessPolicy",
  quarantines: "Quarantine",
};

export function isGoverning({ resource, subresource, operation }: AdmissionRequest): boolean {
  return (
    Object.hasOwn(kinds, resource) &&
    subresource === "" &&
    (operation === "CREATE" || operation === "UPDATE")
  );
}

export async function admitGoverning(
  request: AdmissionRequest,
  validator: Validator,
  access: AccessReviewer,
  signal: AbortSignal,
): Promise<AdmissionAnswer> {
  const { object, oldObject, resource } = request;
  const kind = kinds[resource];
  if (kind === undefined) return { allowed: true };
  const old = request.operation === "UPDATE" ? oldObject : undefined;
  // A label, a finalizer: what was admitted once is not held against rules that came later.
  if (old !== undefined && isDeepStrictEqual(fieldAt(object, "spec"), fieldAt(old, "spec")))
    return { allowed: true };
  const problems = validator.validate(kind, object, old).map(formatProblem);
  if (problems.length > 0) return { allowed: false, code: 422, message: listed(problems) };
  const refused = kind === "Connection" ? await refuseSecrets(request, access, signal) : undefined;
  return refused ?? { allowed: true };
}

/** Every place in a Connection that names a Secret. */
export const secretReferences: readonly string[] = [
  "spec.credential.static.secretRef",
  "spec.credential.postgresRole.adminSecretRef",
  "spec.credential.oauth2.secretRef",
  "spec.credential.oauth2.caSecretRef",
  "spec.credential.awsSigV4.secretRef",
  "spec.endpoint.tls.caSecretRef",
  "spec.endpoint.tls.clientCertificateSecretRef",
];

function listed(problems: readonly string[]): string {
  return problems.length === 1
    ? problems.join("")
    : `${problems.length} problems:\n${problems.map((problem) => `- ${problem}`).join("\n")}`;
}

/**
 * Whoever writes a Connection decides where the credential is sent, so any change asks again: else a Connection would be a way
 * to read Secrets.
 */
async function refuseSecrets(
  { user, namespace, object }: AdmissionRequest,
  access: AccessReviewer,
  signal: AbortSignal,
): Promise<AdmissionAnswer | undefined> {
  const refused: string[] = [];
  for (const path of secretReferences) {
    const name = textAt(object, ...path.split("."), "name");
    if (name === undefined) continue;
    const question = { verb: "get", group: "", resource: "secrets", namespace, name };
    if (!(await access.may(user, question, signal)))
      refused.push(
        `${path}: ${user.username} may not get Secret ${name} in namespace ${namespace}, so may not hand it to a Connection; ask for that right, or let someone who has it write the Connection`,
      );
  }
  return refused.length === 0 ? undefined : { allowed: false, code: 403, message: listed(refused) };
}
