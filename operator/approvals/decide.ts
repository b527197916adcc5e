// Who may decide an access request, and what the decisions so far amount to: pure, the same in admission, in the operator and in local mode.
import type {
  AccessRequest,
  AccessRequestDecision,
  RequestApprover,
} from "../../crds/types.gen.ts";
import { parseDuration } from "../../policy/duration.ts";
import type { RequestPhase } from "../../contract/control.ts";

interface Person {
  readonly username: string;
  readonly uid?: string;
}

/** The authenticated person who decides; never taken from a request body. */
export interface Approver extends Person {
  readonly groups: readonly string[];
  readonly isServiceAccount: boolean;
  /** The operating system's user in local mode: neither groups nor duties are checked. */
  readonly local: boolean;
}

/** Someone whom the segregation of duties keeps from deciding this request. */
export interface Barred extends Person {
  /** As in "you deployed this agent". */
  readonly because: string;
}

export interface DecisionCase {
  readonly request: AccessRequest;
  readonly approver: Approver;
  /** Who deployed the agent, who wrote the policy last. */
  readonly barred?: readonly Barred[];
  readonly now: number;
}

export type DecisionRefusal =
  | "NotPending"
  | "RequestExpired"
  | "ServiceAccount"
  | "OwnRequest"
  | "SegregationOfDuties"
  | "NotAnApprover"
  | "AlreadyDecided";

export type MayDecide =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly refused: DecisionRefusal; readonly message: string };

const serviceAccountPrefix = "system:serviceaccount:";

type Check = (
  c: DecisionCase,
) => { readonly refused: DecisionRefusal; readonly message: string } | undefined;

const checks: readonly Check[] = [
  stillPending, // there is something left to decide
  notPastItsTime, // and it is not too late
  noServiceAccount, // a person
  notTheRequester, // but not the one who asked
  notBarred, // nor one who made what asked, or the rule
  listedApprover, // one the policy names
  notTwice, // and who has not spoken yet
];

export function mayDecide(decision: DecisionCase): MayDecide {
  for (const check of checks) {
    const refusal = check(decision);
    if (refusal !== undefined) return { allowed: false, ...refusal };
  }
  return { allowed: true };
}

function stillPending({ request }: DecisionCase): ReturnType<Check> {
  const phase = phaseOf(request);
  if (phase === "Pending") return undefined;
  return {
    refused: "NotPending",
    message: `access request ${request.metadata.name} is ${phase} already`,
  };
}

function notPastItsTime({ request, now }: DecisionCase): ReturnType<Check> {
  if (Date.parse(request.spec.expiresAt) > now) return undefined;
  return {
    refused: "RequestExpired",
    message: `access request ${request.metadata.name} expired at ${request.spec.expiresAt}; the agent has to ask again`,
  };
}

function noServiceAccount({ approver }: DecisionCase): ReturnType<Check> {
  if (!approver.isServiceAccount && !approver.username.startsWith(serviceAccountPrefix))
    return undefined;
  return {
    refused: "ServiceAccount",
    message: `${approver.username} is a service account; only people decide access requests`,
  };
}

function notTheRequester({ request, approver }: DecisionCase): ReturnType<Check> {
  const { namespace, serviceAccount } = request.spec.requester;
  if (
    approver.local ||
    approver.username !== `${serviceAccountPrefix}${namespace}:${serviceAccount}`
  )
    return undefined;
  return { refused: "OwnRequest", message: "whoever asked does not decide" };
}

function notBarred({ approver, barred = [] }: DecisionCase): ReturnType<Check> {
  if (approver.local) return undefined;
  const match = barred.find((other) => isSamePerson(approver, other));
  if (match === undefined) return undefined;
  return {
    refused: "SegregationOfDuties",
    message: `${approver.username} may not decide this request, because ${match.because}; ask another approver`,
  };
}

function listedApprover({ request, approver }: DecisionCase): ReturnType<Check> {
  if (
    approver.local ||
    request.spec.policies.some(({ approvers }) => isListed(approver, approvers))
  )
    return undefined;
  const wanted = [
    ...new Set(request.spec.policies.flatMap(({ approvers }) => approvers.map(describeApprover))),
  ].join(", ");
  return {
    refused: "NotAnApprover",
    message: `${approver.username} is not among the approvers of access request ${request.metadata.name}: ${wanted}`,
  };
}

function notTwice({ request, approver }: DecisionCase): ReturnType<Check> {
  const earlier = request.status?.decisions?.find((made) => isSamePerson(approver, personOf(made)));
  if (earlier === undefined) return undefined;
  return {
    refused: "AlreadyDecided",
    message: `${approver.username} already said ${earlier.verdict} at ${earlier.at}; another person has to decide too`,
  };
}

/** The decision as it is stored: who, as authenticated, and when. */
export function stampDecision(
  approver: Approver,
  verdict: "Approved" | "Denied",
  reason: string | undefined,
  now: number,
): AccessRequestDecision {
  return {
    verdict,
    by: approver.username,
    ...(approver.uid === undefined ? {} : { byUid: approver.uid }),
    ...(approver.groups.length === 0 ? {} : { groups: approver.groups.slice(0, maxStoredGroups) }),
    ...(reason === undefined ? {} : { reason }),
    at: new Date(now).toISOString(),
  };
}

/** The schema's bound on `status.decisions[].groups`; groups that make the person an approver come first, see `orderGroups`. */
export const maxStoredGroups = 64;

/** The approver with the groups the request asks for in front, so that the bound never cuts off what counts. */
export function orderGroups(approver: Approver, request: AccessRequest): Approver {
  const asked = new Set(
    request.spec.policies.flatMap(({ approvers }) => approvers.flatMap(({ group }) => group ?? [])),
  );
  return {
    ...approver,
    groups: [
      ...approver.groups.filter((group) => asked.has(group)),
      ...approver.groups.filter((group) => !asked.has(group)),
    ],
  };
}

export type Outcome =
  | { readonly phase: "Pending" }
  | { readonly phase: "Denied" }
  | { readonly phase: "Approved"; readonly validUntil: string };

/** What the decisions amount to: one Denied denies, every rule's count of distinct listed people approves. */
export function outcome(request: AccessRequest, isLocal: boolean): Outcome {
  const decisions = request.status?.decisions ?? [];
  if (decisions.some(({ verdict }) => verdict === "Denied")) return { phase: "Denied" };
  const approvals = distinctPeople(decisions);
  const last = approvals.at(-1);
  const satisfied = request.spec.policies.every(
    ({ approvers, count }) =>
      isLocal || approvals.filter((made) => isListedDecision(made, approvers)).length >= count,
  );
  if (last === undefined || !satisfied) return { phase: "Pending" };
  const at = Math.max(...approvals.map((made) => Date.parse(made.at)));
  return {
    phase: "Approved",
    validUntil: new Date(at + parseDuration(request.spec.validFor) * 1000).toISOString(),
  };
}

/** Absent means Pending. */
export function phaseOf(request: AccessRequest): RequestPhase {
  return request.status?.phase ?? "Pending";
}

function distinctPeople(decisions: readonly AccessRequestDecision[]): AccessRequestDecision[] {
  const people: AccessRequestDecision[] = [];
  for (const made of decisions)
    if (!people.some((other) => isSamePerson(personOf(other), personOf(made)))) people.push(made);
  return people;
}

function personOf(made: AccessRequestDecision): Person {
  return { username: made.by, ...(made.byUid === undefined ? {} : { uid: made.byUid }) };
}

/** Either name or uid suffices: a recreated account keeps its name, a renamed one its uid. */
function isSamePerson(a: Person, b: Person): boolean {
  return a.username === b.username || (a.uid !== undefined && a.uid !== "" && a.uid === b.uid);
}

function isListed(approver: Approver, approvers: readonly RequestApprover[]): boolean {
  return approvers.some(
    ({ user, group }) =>
      (user !== undefined && user === approver.username) ||
      (group !== undefined && approver.groups.includes(group)),
  );
}

function isListedDecision(
  made: AccessRequestDecision,
  approvers: readonly RequestApprover[],
): boolean {
  return approvers.some(
    ({ user, group }) =>
      (user !== undefined && user === made.by) ||
      (group !== undefined && made.groups?.includes(group) === true),
  );
}

function describeApprover({ user, group }: RequestApprover): string {
  return user === undefined ? `group ${group ?? ""}` : `user ${user}`;
}
