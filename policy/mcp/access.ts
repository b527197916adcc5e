// What a message touches: its method, and the tool, resource or prompt that it names.
import { isObject } from "../llm/json.ts";
import type { JsonObject, McpAccess } from "../operation.ts";
import type { Message } from "./message.ts";
import { isBasic } from "./methods.ts";
import { lookalike } from "./names.ts";

/** Thrown for params that say in two ways, or not at all, what the message is about. */
export class NotSaid extends Error {}

/** Members of params by which decisions are made, or that change what the others mean. */
const members = [
  "name",
  "arguments",
  "uri",
  "ref",
  "argument",
  "context",
  "protocolVersion",
  "capabilities",
  "clientInfo",
  "notifications",
  "cursor",
  "level",
  "task",
  "taskId",
  "inputResponses",
  "requestState",
  "_meta",
];

/** Longest name or URI that is decided on. */
const maxName = 4_096;
/** URIs that one `subscriptions/listen` may name. */
const maxSubscriptions = 256;

type Asked = Extract<Message, { readonly method: string }>;

/** Throws NotSaid. */
export function accessesOf({ method, params }: Asked, fromServer: boolean): readonly McpAccess[] {
  if (fromServer) return [{ kind: "mcp", method, fromServer: true }];
  const stray = lookalike(params, members);
  if (stray !== undefined)
    throw new NotSaid(
      `some readers take the parameter ${JSON.stringify(stray.slice(0, 64))} for another`,
    );
  const of = (more: Partial<McpAccess>): McpAccess => ({
    kind: "mcp",
    method,
    ...more,
    ...(isBasic(method) && { basic: true }),
  });
  switch (method) {
    case "tools/call":
      return [of({ tool: nameIn(params, "name"), arguments: argumentsIn(params) })];
    case "prompts/get":
      return [of({ prompt: nameIn(params, "name"), arguments: argumentsIn(params) })];
    case "resources/read":
    case "resources/subscribe":
    case "resources/unsubscribe":
      return [of({ resource: nameIn(params, "uri") })];
    case "completion/complete":
      return [of(completion(params))];
    case "subscriptions/listen":
      return [
        of({}),
        ...subscribed(params).map((resource): McpAccess => ({ kind: "mcp", method, resource })),
      ];
    default:
      return [of({})];
  }
}

function nameIn(params: JsonObject, member: "name" | "uri"): string {
  const name = params[member];
  if (typeof name !== "string" || name === "" || name.length > maxName)
    throw new NotSaid(`its parameter ${member} is no name`);
  return name;
}

function argumentsIn(params: JsonObject): JsonObject {
  const given = params["arguments"] ?? {};
  if (!isObject(given)) throw new NotSaid("its arguments are no object");
  return given;
}

/** Names a prompt or a resource template, and one argument of it. */
function completion(params: JsonObject): Partial<McpAccess> {
  const { ref, argument } = params;
  if (
    !isObject(ref) ||
    !isObject(argument) ||
    lookalike(ref, ["type", "name", "uri"]) !== undefined
  )
    throw new NotSaid("it does not say what is to be completed");
  const given = { [nameIn(argument, "name")]: argument["value"] };
  if (ref["type"] === "ref/prompt") return { prompt: nameIn(ref, "name"), arguments: given };
  if (ref["type"] === "ref/resource") return { resource: nameIn(ref, "uri"), arguments: given };
  throw new NotSaid("it does not say what is to be completed");
}

function subscribed(params: JsonObject): readonly string[] {
  const { notifications } = params;
  if (!isObject(notifications)) throw new NotSaid("it does not say which notifications are wanted");
  const stray = lookalike(notifications, ["resourceSubscriptions"]);
  const uris = notifications["resourceSubscriptions"] ?? [];
  if (stray !== undefined || !Array.isArray(uris) || uris.length > maxSubscriptions)
    throw new NotSaid(`resourceSubscriptions is no list of at most ${maxSubscriptions} URIs`);
  return uris.map((uri: unknown) => nameIn({ uri }, "uri"));
}
