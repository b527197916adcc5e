// What a message of the server comes to: lists lose what the policy does not allow, answers are held against the rules in force now,
// and what the server asks of the agent passes where a rule names it. Pure.
import { isObject } from "../llm/json.ts";
import type { JsonObject, McpOperation } from "../operation.ts";
import type { Listed } from "./listing.ts";
import { rpcCodes } from "./message.ts";
import type { Message, MessageId } from "./message.ts";
import { errorMessage, refusalMessage } from "./refusal.ts";
import type { Refused } from "./refusal.ts";
import { generationOf, knownVersions } from "./version.ts";
import type { Generation } from "./version.ts";

/** A request of the client that waits for its answer. */
export interface Pending {
  readonly id: MessageId;
  readonly method: string;
  readonly generation: Generation;
  readonly operation: McpOperation;
}

export interface AnswerRules {
  readonly generation: Generation;
  /** Which request of the client this id belongs to; undefined for none that waits. */
  pending(id: MessageId): Pending | undefined;
  /** What the rules in force now say against an operation that is going on. */
  refusal(operation: McpOperation): Refused | undefined;
  mayUse(listed: Listed): boolean;
  /** Whether a tool is what it was when it was first seen, or a person let it change. */
  isPinned(tool: JsonObject): boolean;
  /** Whether the server may ask this within an answer (multi round-trip requests). */
  mayAsk(method: string): boolean;
}

export type Judged =
  | { readonly is: "passed" }
  | { readonly is: "replaced"; readonly message: JsonObject; readonly refused?: Refused }
  | { readonly is: "dropped" }
  /** The server asks something of the agent, which is an operation of its own. */
  | { readonly is: "asked"; readonly id: MessageId; readonly method: string };

/** Questions in one answer; each is an operation, and an event. */
const maxInputRequests = 32;

const passed: Judged = { is: "passed" };
const dropped: Judged = { is: "dropped" };

export function judge(message: Message, rules: AnswerRules): Judged {
  switch (message.kind) {
    case "result":
      return judgeResult(message, rules);
    case "error":
      return passed;
    case "notification":
      return judgeNotification(message, rules);
    case "request":
      // Without sessions, servers ask within their answers alone (2026-07-28, multi round-trip requests).
      if (rules.generation === "sessionless") return dropped;
      return { is: "asked", id: message.id, method: message.method };
    default:
      return message satisfies never;
  }
}

function judgeNotification(
  { method, params }: Extract<Message, { kind: "notification" }>,
  { mayUse }: AnswerRules,
): Judged {
  if (method === "notifications/resources/updated") {
    const { uri } = params;
    const isSeen = typeof uri === "string" && mayUse({ method: "resources/read", name: uri });
    return isSeen ? passed : dropped;
  }
  return method.startsWith("notifications/") ? passed : dropped;
}

function judgeResult(
  { id, result }: Extract<Message, { kind: "result" }>,
  rules: AnswerRules,
): Judged {
  const pending = rules.pending(id);
  if (pending === undefined) {
    const message = "this answer belongs to no request that waits for one; send the request again";
    return replaced(errorMessage(id, { code: rpcCodes.internal, message }));
  }
  const refused = rules.refusal(pending.operation) ?? unwanted(result, rules);
  if (refused !== undefined) return replaced(refusalMessage(pending, refused), refused);
  const read = readers.get(pending.method)?.(result, rules);
  if (read === undefined || read === result) return passed;
  if ("problem" in read && typeof read.problem === "string") return broken(pending, read.problem);
  return replaced({ jsonrpc: "2.0", id, result: read });
}

function replaced(message: JsonObject, refused?: Refused): Judged {
  return { is: "replaced", message, ...(refused !== undefined && { refused }) };
}

/** The server did not keep to the protocol. */
export function broken(pending: Pending, problem: string): Judged {
  const refused: Refused = {
    code: rpcCodes.internal,
    message: `the MCP server broke the protocol: ${problem}`,
    data: { code: "UpstreamProtocol" },
  };
  return replaced(refusalMessage(pending, refused), refused);
}

/** The first of the things that the server wants of the agent and must not ask. */
function unwanted(
  { resultType, inputRequests = {} }: JsonObject,
  rules: AnswerRules,
): Refused | undefined {
  if (resultType !== "input_required") return undefined;
  const all = isObject(inputRequests) ? Object.values(inputRequests) : [undefined];
  const asked = all.length > maxInputRequests ? [undefined] : all;
  for (const request of asked) {
    const method = isObject(request) ? request["method"] : undefined;
    if (typeof method === "string" && rules.mayAsk(method)) continue;
    return {
      code: 403,
      message: `the server wants ${typeof method === "string" ? method : "something"} of the agent first, and no rule allows that; what was asked cannot be done without it`,
      data: { code: "Denied" },
    };
  }
  return undefined;
}

/** What an answer becomes: itself when nothing was taken out. */
type ResultReader = (
  result: JsonObject,
  rules: AnswerRules,
) => JsonObject | { readonly problem: string };

const readers: ReadonlyMap<string, ResultReader> = new Map<string, ResultReader>([
  [
    "tools/list",
    (result, { mayUse, isPinned }) =>
      filtered(result, "tools", (tool) => {
        const { name } = tool;
        return typeof name === "string" && mayUse({ method: "tools/call", name }) && isPinned(tool);
      }),
  ],
  [
    "prompts/list",
    (result, rules) => filtered(result, "prompts", seen("prompts/get", "name", rules)),
  ],
  [
    "resources/list",
    (result, rules) => filtered(result, "resources", seen("resources/read", "uri", rules)),
  ],
  [
    "resources/templates/list",
    (result, { mayUse }) =>
      filtered(
        result,
        "resourceTemplates",
        ({ uriTemplate }) =>
          typeof uriTemplate === "string" &&
          mayUse({ method: "resources/read", name: uriTemplate, isTemplate: true }),
      ),
  ],
  ["initialize", readHandshake],
  ["server/discover", readDiscovery],
]);

function seen(
  method: Listed["method"],
  member: "name" | "uri",
  { mayUse }: AnswerRules,
): (item: JsonObject) => boolean {
  return (item) => {
    const name = item[member];
    return typeof name === "string" && mayUse({ method, name });
  };
}

function filtered(
  result: JsonObject,
  member: string,
  keep: (item: JsonObject) => boolean,
): JsonObject | { readonly problem: string } {
  const items = result[member];
  if (!Array.isArray(items)) return { problem: `its list has no ${member}` };
  const kept = items.filter((item: unknown) => isObject(item) && keep(item));
  return kept.length === items.length ? result : { ...result, [member]: kept };
}

function readHandshake(result: JsonObject): JsonObject | { readonly problem: string } {
  const { protocolVersion } = result;
  if (typeof protocolVersion !== "string" || generationOf(protocolVersion) !== "session")
    return { problem: "its handshake names a version that is not known here, or has no sessions" };
  return result;
}

/** A client that picks a version from the list has to find it spoken here. */
function readDiscovery(result: JsonObject): JsonObject | { readonly problem: string } {
  const { supportedVersions } = result;
  if (!Array.isArray(supportedVersions))
    return { problem: "it does not say which versions it supports" };
  const known = supportedVersions.filter((version: unknown) =>
    knownVersions.some((one) => one === version),
  );
  return known.length === supportedVersions.length
    ? result
    : { ...result, supportedVersions: known };
}
