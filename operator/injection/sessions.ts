// Admission of access sessions: the key is the author's word, the person is the API server's.
import { isDeepStrictEqual } from "node:util";
import type { AuthenticatedUser } from "../../crds/types.gen.ts";
import type { AccessUser } from "../kube/access.ts";
import { fieldAt } from "../kube/objects.ts";
import { sessionLifeMs } from "../kube/people.ts";
import type { AdmissionAnswer, AdmissionRequest } from "./review.ts";

/** Everybody may create sessions: what else stands in one must not fill the cluster's store. */
const maxExtraBytes = 2_048;
/** The schema's bound on spec.user.groups. */
const maxGroups = 512;

export function isNewSession({ resource, operation }: AdmissionRequest): boolean {
  return resource === "accesssessions" && operation === "CREATE";
}

/** Mutating. */
export function stampSession({ user }: AdmissionRequest, now: number): AdmissionAnswer {
  return {
    allowed: true,
    patch: [
      { op: "add", path: "/spec/user", value: stamped(user) },
      {
        op: "add",
        path: "/spec/expiresAt",
        value: new Date(now + sessionLifeMs).toISOString(),
      },
    ],
  };
}

/** Validating: nothing between our stamp and here wrote another person. */
export function admitSession({ user, object }: AdmissionRequest, now: number): AdmissionAnswer {
  const expiresAt = Date.parse(String(fieldAt(object, "spec", "expiresAt")));
  const isOurs = isDeepStrictEqual(fieldAt(object, "spec", "user"), stamped(user));
  const extra =
    sizeOf(fieldAt(object, "metadata", "annotations")) +
    sizeOf(fieldAt(object, "metadata", "labels"));
  if (extra > maxExtraBytes)
    return {
      allowed: false,
      code: 422,
      message: `annotations and labels of an access session take ${extra} bytes and may take ${maxExtraBytes}: leave them out`,
    };
  return isOurs && expiresAt <= now + sessionLifeMs
    ? { allowed: true }
    : {
        allowed: false,
        code: 403,
        message: "something changed the access session after it was stamped with its author",
      };
}

function sizeOf(value: unknown): number {
  return value === undefined ? 0 : JSON.stringify(value).length;
}

function stamped({ username, uid, groups }: AccessUser): AuthenticatedUser {
  return {
    username,
    ...(uid === undefined ? {} : { uid }),
    ...(groups.length === 0 ? {} : { groups: groups.slice(0, maxGroups) }),
  };
}
