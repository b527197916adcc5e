// Who a person is, and what they may see: one interface for the cluster (AccessSession and DPoP) and for a laptop (the operating system's user).
import type { ProofVerifier } from "../grants/dpop.ts";
import type { ReplayCache } from "../grants/replay.ts";
import type { Approver } from "../approvals/decide.ts";
import type { PresentedRequest } from "./proxies.ts";

/** An authenticated person, as approvals need them too. */
export type Person = Approver;

export interface PeopleRequest extends PresentedRequest {
  readonly peerAddress: string;
}

/** What is asked for, in the words of Kubernetes RBAC. `namespace` undefined means every namespace. */
export interface PeopleAction {
  readonly verb: "get" | "list" | "approve";
  readonly resource:
    | "events"
    | "sessions"
    | "accessrequests"
    | "proxies"
    | "accesspolicies"
    | "clusteraccesspolicies";
  readonly namespace: string | undefined;
  readonly name?: string;
}

export interface PeopleContext {
  readonly proofs: ProofVerifier;
  readonly replay: ReplayCache;
  readonly signal: AbortSignal;
}

export interface PeopleAuthenticator {
  /** Throws ApiError 401. */
  authenticate(request: PeopleRequest, context: PeopleContext): Promise<Person>;
  authorize(person: Person, action: PeopleAction, signal: AbortSignal): Promise<boolean>;
}

/** Local mode: whoever can open the socket, which only its owner can, is the operating system's user and may do everything. */
export function localPeople(username: string): PeopleAuthenticator {
  const person: Person = {
    username: `local:${username}`,
    groups: [],
    isServiceAccount: false,
    local: true,
  };
  return { authenticate: async () => person, authorize: async () => true };
}
