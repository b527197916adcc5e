// Reads what the operator answers: turns JSON into the types of contract/control.ts, and its errors into ours.
import type {
  EventAck,
  RequestState,
  SpendAnswer,
  StreamMessage,
  TokenAnswer,
  ToolPin,
} from "../../contract/control.ts";
import { IngestRefused, type IngestRefusal } from "../../contract/chain.ts";
import type { BudgetAnswer } from "../../contract/budget.ts";
import { ProxyError } from "../errors.ts";

/** The operator answered, and the answer is no. */
export class OperatorRefused extends Error {
  /** Standard code: `invalid_target`, `invalid_dpop_proof` … */
  readonly error: string;
  /** Ours: `Quarantined`, `NoPolicy` … */
  readonly reason: string;
  readonly status: number;
  /** The whole answer. */
  readonly body: Readonly<Record<string, unknown>>;

  constructor(
    status: number,
    error: string,
    reason: string,
    message: string,
    body: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
    this.body = body;
    this.name = "OperatorRefused";
    this.status = status;
    this.error = error;
    this.reason = reason;
  }
}

/** No answer, or one that says to come back later. */
export class OperatorUnavailable extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "OperatorUnavailable";
  }
}

/** What an agent is told when the operator would not, or could not, give what an operation needs. */
export function asProxyError(cause: unknown, what: string): ProxyError {
  if (cause instanceof ProxyError) return cause;
  if (cause instanceof OperatorRefused) {
    if (cause.reason === "Quarantined")
      return new ProxyError("Quarantined", cause.message, { cause });
    if (cause.reason === "TooManyRequests")
      return new ProxyError("TooManyRequests", cause.message, { cause });
    return new ProxyError("GrantRefused", `${what}: ${cause.message}`, { cause });
  }
  const why = cause instanceof Error ? cause.message : "no answer";
  return new ProxyError("ControlPlaneUnavailable", `${what}: ${why}; try again in a moment`, {
    cause,
  });
}

export function parseTokenAnswer(value: unknown): TokenAnswer {
  const answer = record(value, "token answer");
  if (
    typeof answer["access_token"] !== "string" ||
    answer["token_type"] !== "DPoP" ||
    !(Number(answer["expires_in"]) > 0)
  ) {
    throw new OperatorUnavailable(
      "the operator's token answer lacks access_token, token_type DPoP or expires_in",
    );
  }
  const grant = answer["grant"];
  if (grant !== undefined) {
    const { id, connection, endpoint, bundle, lease } = record(grant, "grant");
    if (typeof id !== "string") throw new OperatorUnavailable("the operator's grant has no id");
    for (const [name, part] of Object.entries({ connection, endpoint, bundle, lease }))
      record(part, `grant.${name}`);
  }
  return value as TokenAnswer;
}

const phases = ["Pending", "Approved", "Denied", "Expired", "Spent"];

export function parseRequestState(value: unknown): RequestState {
  const state = record(value, "request state");
  if (
    typeof state["name"] !== "string" ||
    !phases.includes(String(state["phase"])) ||
    typeof state["digest"] !== "string"
  ) {
    throw new OperatorUnavailable("the operator's request state lacks name, phase or digest");
  }
  return value as RequestState;
}

export function parseSpendAnswer(value: unknown): SpendAnswer {
  const { spent, reason } = record(value, "spend answer");
  // Anything but a clear yes is a no.
  return { spent: spent === true, ...(typeof reason === "string" ? { reason } : {}) };
}

export function parsePinnedTools(value: unknown): readonly ToolPin[] {
  const { tools } = record(value, "list of pinned tools");
  if (!Array.isArray(tools)) throw new OperatorUnavailable("the operator lists no pinned tools");
  return tools.map((tool: unknown) => {
    const { name, digest } = record(tool, "pinned tool");
    if (typeof name !== "string" || typeof digest !== "string")
      throw new OperatorUnavailable("a pinned tool of the operator lacks name or digest");
    return { name, digest };
  });
}

export function parseBudgetAnswer(value: unknown): BudgetAnswer {
  const { shares } = record(value, "budget answer");
  if (!Array.isArray(shares))
    throw new OperatorUnavailable("the operator's budget answer has no shares");
  for (const share of shares) {
    const { budget, period, ...numbers } = record(share, "budget share");
    const { endsInMs, limit, granted, left } = numbers;
    if (
      typeof budget !== "string" ||
      typeof period !== "string" ||
      [endsInMs, limit, granted, left].some((number) => typeof number !== "number")
    )
      throw new OperatorUnavailable("a share of the operator's budget answer lacks a field");
  }
  return value as BudgetAnswer;
}

export function parseEventAck(value: unknown): EventAck {
  const { acknowledged } = record(value, "event acknowledgement");
  if (typeof acknowledged !== "number")
    throw new OperatorUnavailable("the operator's event acknowledgement has no number");
  return { acknowledged };
}

const messageTypes = [
  "hello",
  "ping",
  "changed",
  "revoked",
  "quarantined",
  "lifted",
  "request-decided",
];

/** Undefined for a type this version does not know: a newer operator lists in `hello.requires` what may not be ignored. */
export function parseStreamMessage(line: string): StreamMessage | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new OperatorUnavailable("the operator's stream holds a line that is not JSON", { cause });
  }
  const message = record(value, "stream message");
  if (!messageTypes.includes(String(message["type"]))) return undefined;
  if (typeof message["generation"] !== "number")
    throw new OperatorUnavailable("a message of the operator's stream has no generation");
  if (message["type"] === "request-decided") parseRequestState(message["request"]);
  return value as StreamMessage;
}

/** The error an answer carries, whichever of the operator's two shapes it has. */
export function refusal(status: number, text: string): OperatorRefused | OperatorUnavailable {
  let body: Record<string, unknown> = {};
  try {
    body = record(JSON.parse(text), "error");
  } catch {
    // Not ours: a load balancer's page. The status says enough.
  }
  const error = typeof body["error"] === "string" ? body["error"] : "";
  const message =
    typeof body["error_description"] === "string"
      ? body["error_description"]
      : `the operator answered with status ${status}`;
  if (status >= 500 || error === "temporarily_unavailable") return new OperatorUnavailable(message);
  return new OperatorRefused(
    status,
    error,
    typeof body["reason"] === "string" ? body["reason"] : error,
    message,
    body,
  );
}

const ingestCodes = [
  "SequenceGap",
  "StreamConflict",
  "AlteredEvent",
  "AlteredContent",
  "MalformedBatch",
];

/** A 409 of POST /v1/events: the store does not take this batch, and says how the stream must go on. Anything else stays as it is. */
export function asIngestRefusal(error: unknown): unknown {
  if (!(error instanceof OperatorRefused) || error.status !== 409) return error;
  const { code, stream, expected, message } = error.body;
  if (
    !ingestCodes.includes(String(code)) ||
    typeof stream !== "string" ||
    typeof expected !== "number"
  )
    return error;
  return new IngestRefused({
    ...(error.body as unknown as IngestRefusal),
    message: String(message),
  });
}

export function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new OperatorUnavailable(`the operator's ${what} is not an object`);
  return value as Record<string, unknown>;
}
