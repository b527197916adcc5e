// The body of POST /chat/completions.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import {
  addText,
  addTool,
  countOf,
  listOf,
  NotUnderstood,
  objectOf,
  readLimit,
  readModel,
  readStream,
  readText,
  wordOf,
} from "../reading.ts";
import type { Reading } from "../reading.ts";
import { noteAttachment } from "./parts.ts";

const bodyNames: ReadonlySet<string> = new Set([
  "model",
  "messages",
  "tools",
  "functions",
  "function_call",
  "stream",
  "max_tokens",
  "max_completion_tokens",
  "n",
  "web_search_options",
  "prediction",
  "documents",
  "response_format",
  "reasoning_effort",
  "reasoning",
  "user",
  "safety_identifier",
]);
const messageNames: ReadonlySet<string> = new Set([
  "role",
  "content",
  "tool_calls",
  "function_call",
  "name",
  "refusal",
  "reasoning_content",
  "audio",
]);
const toolNames: ReadonlySet<string> = new Set(["type", "function", "custom"]);
const functionNames: ReadonlySet<string> = new Set(["name", "arguments", "input"]);
const formatNames: ReadonlySet<string> = new Set(["type"]);
const documentNames: ReadonlySet<string> = new Set(["title", "text", "content"]);
const predictionNames: ReadonlySet<string> = new Set(["content"]);

export function readChat(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  readModel(reading, body);
  readStream(reading, body);
  readLimit(reading, body, ["max_tokens", "max_completion_tokens"]);
  reading.answers = countOf(body["n"], "n");
  if (!Array.isArray(body["messages"])) throw new NotUnderstood("messages is no list");
  for (const message of listOf(body["messages"], "messages")) readMessage(reading, message);
  for (const tool of listOf(body["tools"], "tools")) readTool(reading, tool, "offered");
  for (const offered of listOf(body["functions"], "functions"))
    readFunction(reading, offered, "offered");
  if (isObject(body["web_search_options"])) addTool(reading, "web_search", "offered");
  const prediction = body["prediction"] ?? undefined;
  if (prediction !== undefined) {
    const { content } = objectOf(prediction, "prediction", predictionNames);
    readText(reading, content, "prediction", "user");
  }
  for (const document of listOf(body["documents"], "documents")) readDocument(reading, document);
  readTerms(reading, body);
}

/** How the answer is to be, and for whom. */
function readTerms(reading: Reading, body: JsonObject): void {
  const { reasoning_effort: effort, reasoning } = body;
  reading.responseFormat = formatOf(body["response_format"]);
  reading.user = wordOf(body["safety_identifier"] ?? body["user"]);
  reading.reasoning = isObject(reasoning) || (typeof effort === "string" && effort !== "none");
}

/** `text` is what an answer is anyway. */
export function formatOf(format: unknown): string {
  if ((format ?? null) === null) return "";
  const type = wordOf(objectOf(format, "the response format", formatNames)["type"]);
  if (type === "json_object") return "json";
  return type === "text" ? "" : type;
}

/** What vLLM puts into the prompt beside the messages. */
function readDocument(reading: Reading, value: unknown): void {
  const document = objectOf(value, "a document", documentNames);
  for (const name of documentNames) readText(reading, document[name], "a document", "user");
}

function readMessage(reading: Reading, value: unknown): void {
  const message = objectOf(value, "a message", messageNames);
  const role = wordOf(message["role"]);
  readText(reading, message["content"], "a message", role === "function" ? "tool" : role);
  if (Array.isArray(message["content"]))
    for (const part of message["content"]) noteAttachment(reading, part);
  readText(reading, message["reasoning_content"], "a message", role);
  // What was said aloud before is kept at the provider.
  if (isObject(message["audio"])) reading.promptsUnreadable = true;
  for (const call of listOf(message["tool_calls"], "tool_calls")) readTool(reading, call, "called");
  const legacy = message["function_call"] ?? undefined;
  if (legacy !== undefined) readFunction(reading, legacy, "called");
  if (role === "function") addTool(reading, message["name"], "called");
}

type How = "offered" | "called";

/** A tool offered or called: `{type: "function", function: {name}}`; a type of the provider's own names the tool itself. */
function readTool(reading: Reading, value: unknown, how: How): void {
  const tool = objectOf(value, "a tool", toolNames);
  const type = tool["type"] ?? "function";
  if (type === "function" || type === "custom") readFunction(reading, tool[type], how);
  else addTool(reading, type, how);
}

function readFunction(reading: Reading, value: unknown, how: How): void {
  const { name, arguments: given, input } = objectOf(value, "a function", functionNames);
  addTool(reading, name, how);
  for (const text of [given, input])
    if (typeof text === "string" && text !== "{}") addText(reading, text, "assistant");
}
