// Makes the AccessRequest of a held operation: what it binds to, what it is called, and which rules it answers to.
import { createHash } from "node:crypto";
import type { OpenRequest } from "../../contract/control.ts";
import type {
  AccessPolicy,
  AccessRequest,
  ClusterAccessPolicy,
  RequestedApproval,
} from "../../crds/types.gen.ts";
import { clusterScope } from "../../policy/cluster.ts";
import { parseDuration } from "../../policy/duration.ts";
import type { PodIdentity, ResourceView } from "../resources.ts";
import { connectionOf, phaseAt, relative, splitReference } from "./state.ts";

/** More would bury approvers, and an agent that has five unanswered questions should wait for answers. */
export const maxOpenRequestsPerSubject = 5;

/** A person should get round to it within this; after that the agent has to ask again, so that nobody approves what nobody waits for. */
export const pendingLifeMs = 60 * 60 * 1000;

/** Bound of `spec.summary` in the schema. */
const maxSummaryLength = 4_096;

/** No vowels and none of 0 o 1 l i: no words by accident, nothing to confuse when it is typed. */
const nameAlphabet = "23456789bcdfghjkmnpqrstvwxyz";
const nameSuffixLength = 6;

/** Leaves room for the suffix in a DNS label, so that the name also fits where labels are wanted. */
const maxNameStem = 56;

/** Who asks: the proven pod, and the chain it names. */
export type Requester = Pick<PodIdentity, "namespace" | "serviceAccount" | "pod" | "podUid">;

export class RequestRefused extends Error {
  readonly reason: "TooManyRequests" | "ConnectionNotFound" | "RuleNotFound" | "NotInForce";

  constructor(reason: RequestRefused["reason"], message: string) {
    super(message);
    this.name = "RequestRefused";
    this.reason = reason;
  }
}

/** The request that already stands for exactly this operation and can still be used. */
export function findSame(
  requests: readonly AccessRequest[],
  requester: Requester,
  open: OpenRequest,
  now: number,
): AccessRequest | undefined {
  return requests.find(
    (request) =>
      isSameOperation(request, requester, open) &&
      ["Pending", "Approved"].includes(phaseAt(request, now)),
  );
}

function isSameOperation(
  request: AccessRequest,
  requester: Requester,
  open: Pick<OpenRequest, "connection" | "digest">,
): boolean {
  return (
    request.spec.requester.podUid === requester.podUid &&
    request.spec.digest === open.digest &&
    connectionOf(request) === open.connection
  );
}

/** Throws when the subject already waits for as many answers as it may. */
export function checkOpenCount(
  requests: readonly AccessRequest[],
  requester: Requester,
  now: number,
): void {
  const open = requests.filter(
    (request) =>
      request.spec.requester.podUid === requester.podUid && phaseAt(request, now) === "Pending",
  );
  if (open.length < maxOpenRequestsPerSubject) return;
  const names = open.map(({ metadata }) => metadata.name).join(", ");
  throw new RequestRefused(
    "TooManyRequests",
    `${requester.namespace}/${requester.pod} already waits for ${open.length} approvals (${names}); wait for an answer to one of them`,
  );
}

/** The object to create. `earlier` counts the finished requests for the same operation, so that its name is new. */
export function buildRequest(
  view: ResourceView,
  requester: Requester,
  open: OpenRequest,
  earlier: number,
  now: number,
): AccessRequest {
  const { namespace, name } = splitReference(open.connection, requester.namespace);
  if (view.connection(namespace, name) === undefined) {
    throw new RequestRefused(
      "ConnectionNotFound",
      `connection ${namespace}/${name} does not exist`,
    );
  }
  const { policies, validFor } = requestedApprovals(view, namespace, open);
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessRequest",
    metadata: { name: requestName(name, requester.podUid, open, earlier), namespace },
    spec: {
      requester: {
        namespace: requester.namespace,
        serviceAccount: requester.serviceAccount,
        pod: requester.pod,
        podUid: requester.podUid,
        ...(open.chain === undefined ? {} : { chain: open.chain }),
      },
      connection: name,
      policies,
      digest: open.digest,
      kind: open.kind,
      summary: printable(open.summary).slice(0, maxSummaryLength),
      session: open.session,
      openedAt: new Date(now).toISOString(),
      expiresAt: new Date(now + pendingLifeMs).toISOString(),
      validFor,
    },
  };
}

/** Of a namespace, or of the whole cluster (policy/cluster.ts). */
function policyAt(
  view: ResourceView,
  { namespace, name }: { readonly namespace: string; readonly name: string },
): AccessPolicy | ClusterAccessPolicy | undefined {
  const all: readonly (AccessPolicy | ClusterAccessPolicy)[] =
    namespace === clusterScope ? view.clusterPolicies() : view.policiesIn(namespace);
  return all.find(({ metadata }) => metadata.name === name);
}

/** Approvers, counts and validity as the policies say them, not as the proxy repeats them. */
function requestedApprovals(
  view: ResourceView,
  namespace: string,
  open: OpenRequest,
): { readonly policies: RequestedApproval[]; readonly validFor: string } {
  let validFor: string | undefined;
  const policies = open.approvals.map(({ policy, rule }) => {
    const reference = splitReference(policy, namespace);
    const found = policyAt(view, reference)?.spec.rules?.find(
      (candidate) => candidate.name === rule && candidate.action === "RequireApproval",
    );
    if (found?.approval === undefined) {
      throw new RequestRefused(
        "RuleNotFound",
        `policy ${policy} has no rule ${rule} that asks for approval; it may have changed a moment ago, send the operation again`,
      );
    }
    if (validFor === undefined || parseDuration(found.approval.validFor) < parseDuration(validFor))
      validFor = found.approval.validFor;
    return {
      name: relative(reference.namespace, reference.name, namespace),
      rule,
      approvers: found.approval.approvers,
      count: found.approval.count,
    };
  });
  if (validFor === undefined)
    throw new RequestRefused(
      "RuleNotFound",
      "a held operation names the rules that held it; this one names none",
    );
  return { policies, validFor };
}

/**
 * Short and typeable, `orders-db-7k3f9q`. Derived from what the request is bound to, so that two replicas that open the same
 * one at the same time collide on the name instead of making two.
 */
export function requestName(
  connection: string,
  podUid: string,
  open: Pick<OpenRequest, "connection" | "digest">,
  earlier: number,
): string {
  const hash = createHash("sha256")
    .update(JSON.stringify([podUid, open.connection, open.digest, earlier]))
    .digest();
  const suffix = [...hash.subarray(0, nameSuffixLength)]
    .map((byte) => nameAlphabet[byte % nameAlphabet.length])
    .join("");
  return `${connection.slice(0, maxNameStem).replace(/[^a-z0-9]+$/, "")}-${suffix}`;
}

/** Without controls, line separators and the marks that turn text around: what an approver reads is what is there. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, " ").trim();
}
