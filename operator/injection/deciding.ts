// Admission of decisions on access requests: an approver adds one verdict to the status, and who they are is stamped from the API
// server's own knowledge. The operator alone writes the rest.
import { isDeepStrictEqual } from "node:util";
import type { AccessRequest, AccessRequestDecision } from "../../crds/types.gen.ts";
import { mayDecide, orderGroups, stampDecision, type Approver } from "../approvals/decide.ts";
import { splitReference } from "../approvals/state.ts";
import type { AccessReviewer } from "../kube/access.ts";
import { fieldAt, isJsonObject, listAt, textAt } from "../kube/objects.ts";
import type { AdmissionAnswer, AdmissionRequest } from "./review.ts";

/** Between our stamp and our check of it lie the other webhooks of the cluster, 30 s each at most. */
const maxStampAgeMs = 5 * 60_000;

export interface Deciding {
  readonly access: AccessReviewer;
  /** `system:serviceaccount:NAMESPACE:NAME` of the operator. */
  readonly operatorUser: string;
  readonly now: () => number;
}

export function isAccessRequest({ resource }: AdmissionRequest): boolean {
  return resource === "accessrequests";
}

/** Mutating: the decision as it is stored, whatever the body said about who made it. */
export async function stampAccessRequest(
  request: AdmissionRequest,
  deciding: Deciding,
  signal: AbortSignal,
): Promise<AdmissionAnswer> {
  if (!isDecision(request, deciding)) return { allowed: true };
  const checked = await checkDecision(request, deciding, signal);
  if ("refused" in checked) return checked.refused;
  const { decision, index } = checked;
  return {
    allowed: true,
    patch: [{ op: "replace", path: `/status/decisions/${index}`, value: decision }],
  };
}

/** Validating: only the operator makes requests, and a decision says what we stamped. */
export async function admitAccessRequest(
  request: AdmissionRequest,
  deciding: Deciding,
  signal: AbortSignal,
): Promise<AdmissionAnswer> {
  const { operation, subresource, user } = request;
  if (operation === "CREATE" && user.username !== deciding.operatorUser)
    return forbidden(
      "an access request is opened by the operator when an agent's operation is held; nobody else creates one",
    );
  if (subresource !== "status" || !isDecision(request, deciding)) return { allowed: true };
  const checked = await checkDecision(request, deciding, signal);
  if ("refused" in checked) return checked.refused;
  const made = listAt(request.object, "status", "decisions")[checked.index];
  const at = Date.parse(textAt(made, "at") ?? "");
  const isFresh = Math.abs(deciding.now() - at) < maxStampAgeMs;
  const isStamped = isDeepStrictEqual(
    { ...asRecord(made), at: "" },
    { ...checked.decision, at: "" },
  );
  return isFresh && isStamped
    ? { allowed: true }
    : forbidden("something changed the decision after it was stamped with the approver's identity");
}

/** A status write by anybody but the operator that changes something. */
function isDecision(
  { operation, subresource, user, object, oldObject }: AdmissionRequest,
  { operatorUser }: Deciding,
): boolean {
  return (
    operation === "UPDATE" &&
    subresource === "status" &&
    user.username !== operatorUser &&
    !isDeepStrictEqual(fieldAt(object, "status"), fieldAt(oldObject, "status"))
  );
}

type Checked =
  | { readonly refused: AdmissionAnswer }
  | { readonly decision: AccessRequestDecision; readonly index: number };

async function checkDecision(
  { user, object, oldObject }: AdmissionRequest,
  { access, now }: Deciding,
  signal: AbortSignal,
): Promise<Checked> {
  const request = oldObject as AccessRequest; // stored, so as its schema admits
  const made = addedDecision(object, oldObject);
  if (made === undefined)
    return {
      refused: forbidden(
        "status of an access request is the operator's; an approver adds one entry with verdict and reason to status.decisions, nothing else",
      ),
    };
  const { namespace } = request.metadata;
  for (const policy of request.spec.policies) {
    const { namespace: within, name } = splitReference(policy.name, namespace);
    const question = {
      verb: "approve",
      group: "chaperone.dev",
      resource: "accesspolicies",
      namespace: within,
      name,
    };
    if (!(await access.may(user, question, signal)))
      return {
        refused: forbidden(
          `${user.username} may not approve on AccessPolicy ${within}/${name}; ask for a role with the verb approve on accesspolicies.chaperone.dev`,
        ),
      };
  }
  const approver: Approver = {
    username: user.username,
    groups: user.groups,
    isServiceAccount: user.username.startsWith("system:serviceaccount:"),
    local: false,
    ...(user.uid === undefined ? {} : { uid: user.uid }),
  };
  const answer = mayDecide({ request, approver, now: now() });
  if (!answer.allowed) {
    const isLate = answer.refused === "NotPending" || answer.refused === "AlreadyDecided";
    return {
      refused: { allowed: false, code: isLate ? 409 : 403, message: answer.message },
    };
  }
  return {
    decision: stampDecision(orderGroups(approver, request), made.verdict, made.reason, now()),
    index: request.status?.decisions?.length ?? 0,
  };
}

interface AddedDecision {
  readonly verdict: "Approved" | "Denied";
  readonly reason: string | undefined;
}

/** The one decision more, when that is all that changed. */
function addedDecision(object: unknown, oldObject: unknown): AddedDecision | undefined {
  const before = listAt(oldObject, "status", "decisions");
  const after = listAt(object, "status", "decisions");
  const isOnlyAddition =
    after.length === before.length + 1 &&
    isDeepStrictEqual(after.slice(0, -1), before) &&
    isDeepStrictEqual(
      { ...asRecord(fieldAt(object, "status")), decisions: [] },
      { ...asRecord(fieldAt(oldObject, "status")), decisions: [] },
    );
  const verdict = textAt(after.at(-1), "verdict");
  if (!isOnlyAddition || (verdict !== "Approved" && verdict !== "Denied")) return undefined;
  return { verdict, reason: textAt(after.at(-1), "reason") };
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return isJsonObject(value) ? value : {};
}

function forbidden(message: string): AdmissionAnswer {
  return { allowed: false, code: 403, message };
}
