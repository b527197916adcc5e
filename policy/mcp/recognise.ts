// A request to an MCP server over HTTP -> facts: method, tool, resource, prompt, arguments, version.
import { describeMcp, printable } from "../describe.ts";
import type { HttpOperation, McpAccess, McpOperation } from "../operation.ts";
import { accessesOf, NotSaid } from "./access.ts";
import { readClaims } from "./headers.ts";
import type { Claims, Headers } from "./headers.ts";
import { readMessage, rpcCodes } from "./message.ts";
import type { Message, MessageProblem } from "./message.ts";
import { isBasic, transportMethods } from "./methods.ts";

export interface McpRequest {
  readonly http: HttpOperation;
  readonly headers: Headers;
  /** Path of the connection's endpoint without a slash at the end. */
  readonly basePath: string;
  /** The whole body, content-encoding removed; absent for a request without one. */
  readonly body?: Uint8Array | string;
  /** The same before masks changed it: what is sent and what was asked for have to be allowed alike. */
  readonly original?: Uint8Array | string;
  /** By which request of the server a message of the client that answers one was asked for; undefined for none. */
  readonly answers: (id: string | number) => string | undefined;
}

export interface McpReading {
  readonly operation: McpOperation;
  /** Absent for GET and DELETE, and where it could not be read. */
  readonly message?: Message;
  readonly claims?: Claims;
  /** Why it was not understood, as JSON-RPC says it. */
  readonly problem?: MessageProblem;
}

/** Longest summary of an operation, for events and approvers. */
const maxSummaryLength = 300;

export function recogniseMcp(request: McpRequest): McpReading {
  const { http } = request;
  const unclear = http.unrecognised ?? http.ambiguous?.path ?? http.ambiguous?.query;
  if (unclear !== undefined) return refused(http, unclear);
  const { method, path } = http.facts;
  if (path !== request.basePath && path !== `${request.basePath}/`)
    return refused(
      http,
      "only the path of its endpoint is spoken to; the server's other paths need a Connection of their own",
    );
  if (method === "POST") return posted(request);
  if (method === "GET" || method === "DELETE") return transported(request, method);
  return refused(http, `${method} is no part of the protocol's transport`);
}

function posted(request: McpRequest): McpReading {
  const { http, headers, body = "" } = request;
  if (http.facts.contentType !== "application/json")
    return refused(http, "its body is not sent as application/json");
  const message = readMessage(body);
  if ("problem" in message) return refused(http, message.problem, message);
  const claims = readClaims(headers, message);
  const id = "id" in message && message.id !== undefined ? { id: message.id } : {};
  if ("problem" in claims) return refused(http, claims.problem, { ...claims, ...id }, message);
  try {
    const accesses = [...asked(message, request), ...askedBefore(message, request)];
    return { operation: operationOf(http, accesses, claims.version), message, claims };
  } catch (error) {
    if (!(error instanceof NotSaid)) throw error;
    const problem = { code: rpcCodes.invalidParams, problem: error.message, ...id };
    return refused(http, error.message, problem, message, claims);
  }
}

function asked(message: Message, { answers }: McpRequest): readonly McpAccess[] {
  if ("method" in message) return accessesOf(message, false);
  const method = message.id === undefined ? undefined : answers(message.id);
  if (method === undefined)
    throw new NotSaid("it answers no request of the server that was let through");
  if (method === "ping") return [{ kind: "mcp", method, basic: true }];
  return [{ kind: "mcp", method, fromServer: true }];
}

/** Of the message before masks changed it, where that is another one. */
function askedBefore(message: Message, { original }: McpRequest): readonly McpAccess[] {
  if (original === undefined || !("method" in message)) return [];
  const before = readMessage(original);
  return "method" in before ? accessesOf(before, false) : [];
}

function transported(request: McpRequest, method: "GET" | "DELETE"): McpReading {
  const { http, headers, body = "" } = request;
  if (body.length > 0) return refused(http, `a ${method} has no body in the protocol's transport`);
  const claims = readClaims(headers, undefined);
  if ("problem" in claims) return refused(http, claims.problem, claims);
  const { open, resume, end } = transportMethods;
  const what = method === "DELETE" ? end : claims.lastEventId === undefined ? open : resume;
  const access: McpAccess = { kind: "mcp", method: what, basic: true };
  return { operation: operationOf(http, [access], claims.version), claims };
}

export function operationOf(
  http: Pick<HttpOperation, "facts">,
  accesses: readonly McpAccess[],
  version: string,
): McpOperation {
  const first = accesses[0] ?? { kind: "mcp", method: "" };
  const { method, tool = "", resource = "", prompt = "" } = first;
  return {
    kind: "mcp",
    summary: printable(describeMcp(first)).slice(0, maxSummaryLength),
    accesses,
    facts: {
      method,
      fromServer: first.fromServer === true,
      tool,
      resource,
      prompt,
      arguments: first.arguments ?? {},
      version,
    },
    http: http.facts,
  };
}

function refused(
  http: HttpOperation,
  why: string,
  problem: MessageProblem = { code: rpcCodes.invalidRequest, problem: why },
  message?: Message,
  claims?: Claims,
): McpReading {
  const method = message !== undefined && "method" in message ? message.method : "";
  const operation = operationOf(
    http,
    [{ kind: "mcp", method, ...(isBasic(method) && { basic: true }) }],
    claims?.version ?? "",
  );
  return {
    operation: {
      ...operation,
      summary: method === "" ? "a message that was not understood" : operation.summary,
      unrecognised: why,
    },
    problem,
    ...(message !== undefined && { message }),
    ...(claims !== undefined && { claims }),
  };
}
