// How a refusal is said over HTTP: problem+json (RFC 9457), and on LLM connections the provider's own error object. Pure.
import type { Decision } from "../../policy/decision.ts";
import type { LlmProvider } from "../../policy/llm/provider.ts";
import { providerOf } from "../../policy/llm/providers.ts";
import type { Protocol } from "../../policy/operation.ts";
import { proxyErrors } from "../errors.ts";
import type { ProxyError, ProxyErrorCode } from "../errors.ts";
import type { Unreadable } from "./request-parser.ts";

export interface Refusal {
  readonly status: number;
  readonly headers: string[];
  readonly body: Buffer;
}

/** When a pending request is worth sending again: a person needs that long at least. */
const pendingRetrySeconds = 15;
/** What may be held together is freed by others. */
const limitRetrySeconds = 30;

export function refusalOf(
  error: ProxyError,
  decision: Decision | undefined,
  protocol: Protocol | undefined,
  target = "",
): Refusal {
  if (protocol === "mcp") return mcpRefusal(error, decision);
  const provider = providerOf(protocol);
  if (provider === undefined) return problem(error, decision);
  return providerRefusal(provider, error, decision, target.split("?", 1)[0] ?? "");
}

/** What could not be read has no connection yet, and so no protocol; its status can say more than its code. */
export function unreadableOf(error: Unreadable): Refusal {
  return problem(error, undefined, error.answerStatus);
}

function problem(
  error: ProxyError,
  decision: Decision | undefined,
  status: number = error.status,
): Refusal {
  const body = {
    type: `https://chaperone.dev/errors/${error.code}`,
    title: titles[error.code],
    status,
    detail: error.message,
    code: error.code,
    ...asked(error),
    ...explained(decision),
  };
  const headers = ["content-type", "application/problem+json"];
  const seconds = retrySeconds(error);
  if (seconds !== undefined) headers.push("retry-after", String(seconds));
  return finish(status, headers, body);
}

/**
 * The provider's own error object, so that its SDKs raise their own exception with our sentence in it. What a policy or a person
 * decided is never answered in a way that an SDK sends again by itself; failures of the way to the upstream are, because there the
 * repetition helps, and a limit of which is known when it is over, because SDKs wait for its `retry-after`.
 */
function providerRefusal(
  provider: LlmProvider,
  error: ProxyError,
  decision: Decision | undefined,
  path: string,
): Refusal {
  const said = provider.error({
    path,
    code: error.code,
    message: error.message,
    status: error.status,
    isTransient: isWaitedFor(error) || (error.status >= 500 && proxyErrors[error.code].retry),
    more: { ...asked(error), ...explained(decision) },
  });
  const headers = ["content-type", "application/json", ...said.headers.flat()];
  const seconds = retrySeconds(error);
  if (seconds !== undefined) headers.push("retry-after", String(seconds));
  return finish(said.status, headers, said.body);
}

/** Of a message of MCP that was not read yet: a JSON-RPC error without an id (2026-07-28, streamable HTTP, sending messages). */
function mcpRefusal(error: ProxyError, decision: Decision | undefined): Refusal {
  const { message } = error;
  const data = { code: error.code, ...asked(error), ...explained(decision) };
  const body = { jsonrpc: "2.0", error: { code: error.status, message, data } };
  return finish(error.status, ["content-type", "application/json"], body);
}

/** SDKs wait for `retry-after` up to a minute; for longer ones they try at once. */
const sdkPatienceSeconds = 60;

function isWaitedFor({ status, retryAfterSeconds = Infinity }: ProxyError): boolean {
  return status === 429 && retryAfterSeconds <= sdkPatienceSeconds;
}

/** The handle of a held operation. */
export function asked({ request }: ProxyError): { readonly request?: string } {
  return request === undefined ? {} : { request };
}

export function explained(decision: Decision | undefined): {
  policy?: string;
  rule?: string;
  reason?: string;
} {
  return decision === undefined
    ? {}
    : { policy: decision.policy, rule: decision.rule, reason: decision.reason };
}

function retrySeconds(error: ProxyError): number | undefined {
  if (error.code === "Pending" || error.code === "ApprovalTimeout") return pendingRetrySeconds;
  if (error.retryAfterSeconds !== undefined) return error.retryAfterSeconds;
  return error.status === 429 ? limitRetrySeconds : undefined;
}

export function finish(status: number, headers: string[], body: unknown): Refusal {
  const bytes = Buffer.from(JSON.stringify(body));
  headers.push("content-length", String(bytes.length), "cache-control", "no-store");
  return { status, headers, body: bytes };
}

const titles: Readonly<Record<ProxyErrorCode, string>> = {
  Denied: "Denied by policy",
  Pending: "Waiting for a person's approval",
  ApprovalDenied: "Approval denied",
  ApprovalTimeout: "Nobody approved in time",
  TooManyRequests: "Too many open requests",
  MaskNotProvable: "The answer cannot be masked",
  LimitExceeded: "Limit exceeded",
  BudgetExceeded: "Budget exceeded",
  RepeatedOperation: "The same operation too often",
  Quarantined: "Quarantined",
  GrantRefused: "Grant refused",
  GrantEnded: "Grant ended",
  ControlPlaneUnavailable: "Control plane unavailable",
  ProxyTooOld: "Proxy too old for the policy",
  ConnectionUnknown: "No such connection",
  HostUnknown: "No Connection names this host",
  PacketsRefused: "Neither TCP nor DNS",
  UpstreamUnreachable: "Upstream unreachable",
  UpstreamTls: "Upstream TLS not trusted",
  UpstreamAuthentication: "Upstream refused the credential",
  UpstreamProtocol: "Upstream broke the protocol",
  RecordingUnavailable: "Recording unavailable",
  MalformedRequest: "Malformed request",
  TooLarge: "Too large",
  NotSupported: "Not supported",
  ShuttingDown: "Shutting down",
};
