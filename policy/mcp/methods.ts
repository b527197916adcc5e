// The methods of the Model Context Protocol that this version knows, and what of them every client needs. Pure tables.

/** Of the transport itself, where no JSON-RPC message says what is wanted: a GET, one with `Last-Event-ID`, a DELETE. */
export const transportMethods = {
  open: "stream/open",
  resume: "stream/resume",
  end: "session/end",
} as const;

/** The use of a tool that is no longer what it was when it was first seen; a rule has to name it. */
export const toolChanged = "tools/changed";

/** What keeps a session going and what only shows names, filtered to what the policy allows: part of `session-basics`. */
const basics: ReadonlySet<string> = new Set([
  ...Object.values(transportMethods),
  "initialize",
  "ping",
  "server/discover",
  "logging/setLevel",
  "tools/list",
  "resources/list",
  "resources/templates/list",
  "prompts/list",
  "subscriptions/listen",
  "notifications/initialized",
  "notifications/cancelled",
  "notifications/progress",
  "notifications/roots/list_changed",
]);

export function isBasic(method: string): boolean {
  return basics.has(method);
}

/** What the server may ask of the agent, by the capability that a client announces for it. */
export const askedOfClients: ReadonlyMap<string, string> = new Map([
  ["sampling/createMessage", "sampling"],
  ["elicitation/create", "elicitation"],
  ["roots/list", "roots"],
]);

/** Reads, by their very definition; what a tool does nobody knows, whatever its annotations say. */
const readers: ReadonlySet<string> = new Set([
  "resources/read",
  "resources/subscribe",
  "resources/unsubscribe",
  "prompts/get",
  "completion/complete",
  "tasks/get",
  "tasks/list",
  "tasks/result",
]);

/** Such a message is recorded before it is sent. */
export function mayChange(method: string): boolean {
  return !isBasic(method) && !readers.has(method) && !askedOfClients.has(method);
}

/** Where the name in the `Mcp-Name` header comes from (2026-07-28, streamable HTTP, standard request headers). */
export const namedBy: ReadonlyMap<string, "name" | "uri"> = new Map([
  ["tools/call", "name"],
  ["prompts/get", "name"],
  ["resources/read", "uri"],
]);
