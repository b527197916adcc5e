// A held operation: open its access request, wait for a person, spend the approval once.
import { createHash } from "node:crypto";
import type { OpenRequest, RequestState } from "../contract/control.ts";
import type { HoldTerms } from "../policy/decision.ts";
import type { Subject } from "../policy/operation.ts";
import { ProxyError, type ProxyErrorCode } from "./errors.ts";
import type { Grants } from "./pipeline.ts";

export interface Hold {
  readonly grants: Pick<Grants, "openRequest" | "awaitDecision" | "spend">;
  readonly request: Omit<OpenRequest, "approvals">;
  readonly terms: readonly HoldTerms[];
  readonly onWait?: ((request: string) => void) | undefined;
  /** Aborts when the client goes away or the session ends. */
  readonly signal: AbortSignal;
  /** Asked again before the approval is spent: policies may have changed while a person was thinking. */
  readonly stillHeld: () => ProxyError | undefined;
}

export type HoldResult =
  | { readonly go: true; readonly request: RequestState }
  | { readonly go: false; readonly error: ProxyError; readonly request?: RequestState };

/**
 * Waits at most the shortest `hold` of the terms. The same operation sent again meets the same request: approved in the
 * meantime, it passes, once.
 */
export async function holdForApproval({
  grants,
  request,
  terms,
  onWait,
  signal,
  stillHeld,
}: Hold): Promise<HoldResult> {
  const holdMs = Math.min(...terms.map((term) => term.holdSeconds)) * 1000;
  const approvals = terms.map(({ policy, rule, approvers, count, validForSeconds }) => ({
    policy,
    rule,
    approvers,
    count,
    validForSeconds,
  }));
  let state: RequestState | undefined;
  try {
    state = await grants.openRequest({ ...request, approvals }, signal);
    if (state.phase === "Pending") {
      onWait?.(state.name);
      state = await waitFor(state, holdMs, grants, signal);
    }
  } catch (error) {
    return {
      go: false,
      error: holdError(error, request.connection),
      ...(state === undefined ? {} : { request: state }),
    };
  }
  if (state.phase !== "Approved")
    return { go: false, error: refusal(state, holdMs), request: state };
  const changed = signal.aborted ? holdError(signal.reason, request.connection) : stillHeld();
  if (changed !== undefined) return { go: false, error: changed, request: state };
  try {
    const answer = await grants.spend(state.name, request.digest, signal);
    if (answer.spent) return { go: true, request: state };
    return {
      go: false,
      request: state,
      error: new ProxyError(
        "ApprovalDenied",
        `the approval of request ${state.name} is used up or over${answer.reason === undefined ? "" : ` (${answer.reason})`}; send the operation again to ask anew`,
      ),
    };
  } catch (error) {
    return { go: false, error: holdError(error, request.connection), request: state };
  }
}

async function waitFor(
  state: RequestState,
  holdMs: number,
  grants: Hold["grants"],
  signal: AbortSignal,
): Promise<RequestState> {
  const timeout = AbortSignal.timeout(holdMs);
  try {
    return await grants.awaitDecision(state.name, AbortSignal.any([signal, timeout]));
  } catch (error) {
    if (timeout.aborted && !signal.aborted) return state;
    throw error;
  }
}

function refusal(state: RequestState, holdMs: number): ProxyError {
  const { code, message } = saying(state, holdMs);
  return new ProxyError(code, message, { request: state.name });
}

function saying(
  { name, phase, by, reason }: RequestState,
  holdMs: number,
): { readonly code: ProxyErrorCode; readonly message: string } {
  const anew = "send the operation again to ask anew";
  switch (phase) {
    case "Pending":
      return {
        code: "Pending",
        message: `held for a person as request ${name}; nobody decided within ${holdMs / 1000} s. It stays open: send exactly the same operation again after approval and it passes once`,
      };
    case "Denied": {
      const who = by === undefined ? "" : ` by ${by}`;
      const why = reason === undefined ? "" : `: ${reason}`;
      return { code: "ApprovalDenied", message: `request ${name} was denied${who}${why}` };
    }
    case "Expired":
      return {
        code: "ApprovalTimeout",
        message: `request ${name} expired before anybody decided; ${anew}`,
      };
    case "Spent":
      return {
        code: "ApprovalDenied",
        message: `the approval of request ${name} was used already; ${anew}`,
      };
    case "Approved":
      return {
        code: "ApprovalDenied",
        message: `request ${name} was approved but could not be used`,
      };
    default:
      return phase satisfies never;
  }
}

function holdError(error: unknown, connection: string): ProxyError {
  if (error instanceof ProxyError) return error;
  if (error instanceof Error && error.name === "AbortError") {
    return new ProxyError(
      "Pending",
      `the caller left while its operation on connection ${connection} was held for a person`,
      { cause: error },
    );
  }
  return new ProxyError(
    "ControlPlaneUnavailable",
    `the operation on connection ${connection} needs a person's approval, and the operator cannot be asked now`,
    { cause: error },
  );
}

/** What an approval binds to: this pod, this connection, this exact content. */
export function operationDigest(subject: Subject, connection: string, exact: string): string {
  return `sha256-${createHash("sha256")
    .update(JSON.stringify([subject.podUid, connection, exact]))
    .digest("base64url")}`;
}
