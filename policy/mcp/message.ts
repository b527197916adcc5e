// One JSON-RPC 2.0 message, read as strictly as every reader on the way can be expected to: no batches, no members that some
// readers would take for others, no ids that some compare differently.
import { isObject, parseStrict } from "../llm/json.ts";
import type { JsonObject } from "../operation.ts";
import { lookalike } from "./names.ts";

export type MessageId = string | number;

export type Message =
  | {
      readonly kind: "request";
      readonly id: MessageId;
      readonly method: string;
      readonly params: JsonObject;
    }
  | { readonly kind: "notification"; readonly method: string; readonly params: JsonObject }
  | { readonly kind: "result"; readonly id: MessageId; readonly result: JsonObject }
  | { readonly kind: "error"; readonly id: MessageId | undefined; readonly error: JsonObject };

/** JSON-RPC 2.0 section 5.1, and those that MCP 2026-07-28 defines. */
export const rpcCodes = {
  parse: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internal: -32603,
  headerMismatch: -32020,
  unsupportedVersion: -32022,
} as const;

export interface MessageProblem {
  readonly code: number;
  /** One sentence, without the text that it is about. */
  readonly problem: string;
  /** Of the message, where that much could be read. */
  readonly id?: MessageId;
  /** The answer lists the versions that are known: the client can pick one. */
  readonly versions?: true;
}

const envelope = ["jsonrpc", "id", "method", "params", "result", "error"];
/** Names of methods are short; JSON-RPC ids are counters or UUIDs. */
const maxMethod = 128;
const maxId = 256;
const methodPattern = /^[A-Za-z0-9_$][\w$./-]*$/;

/** @param body the whole message, without encoding */
export function readMessage(body: Uint8Array | string): Message | MessageProblem {
  const parsed = parseStrict(body);
  if ("problem" in parsed) return { code: rpcCodes.parse, problem: parsed.problem };
  return messageOf(parsed.value);
}

export function messageOf(value: unknown): Message | MessageProblem {
  if (Array.isArray(value))
    return invalid(
      "it is a batch, which no current revision of the protocol has; send one message at a time",
    );
  if (!isObject(value)) return invalid("it is no JSON object");
  const id = idOf(value["id"]);
  const known = id === undefined ? {} : { id };
  const stray = lookalike(value, envelope);
  if (stray !== undefined)
    return {
      ...invalid(`some readers take its member ${JSON.stringify(stray.slice(0, 64))} for another`),
      ...known,
    };
  if (value["jsonrpc"] !== "2.0")
    return { ...invalid('its member jsonrpc is not "2.0"'), ...known };
  if ("id" in value && id === undefined && !(value["id"] === null && "error" in value))
    return invalid("its id is neither a text nor a whole number");
  const message = "method" in value ? asked(value, id) : answered(value, id);
  return "problem" in message ? { ...message, ...known } : message;
}

function asked(value: JsonObject, id: MessageId | undefined): Message | MessageProblem {
  const { method, params = {} } = value;
  if (typeof method !== "string" || method.length > maxMethod || !methodPattern.test(method))
    return invalid("its method is no name");
  if ("result" in value || "error" in value)
    return invalid("it is a request and an answer at once");
  if (!isObject(params)) return invalid("its params are no object");
  return id === undefined
    ? { kind: "notification", method, params }
    : { kind: "request", id, method, params };
}

function answered(value: JsonObject, id: MessageId | undefined): Message | MessageProblem {
  const { result, error } = value;
  if ("params" in value || "result" in value === "error" in value)
    return invalid("it is neither a request, a notification nor an answer");
  if (isObject(error)) return { kind: "error", id, error };
  if (id === undefined) return invalid("it is an answer without an id");
  return isObject(result) ? { kind: "result", id, result } : invalid("its result is no object");
}

function idOf(value: unknown): MessageId | undefined {
  if (typeof value === "string") return value.length <= maxId ? value : undefined;
  return Number.isSafeInteger(value) ? Number(value) : undefined;
}

function invalid(problem: string): MessageProblem {
  return { code: rpcCodes.invalidRequest, problem };
}
