// The body of POST /chat/completions.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import {
  addTool,
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

const bodyNames: ReadonlySet<string> = new Set([
  "model",
  "models",
  "fallbacks",
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
]);
const messageNames: ReadonlySet<string> = new Set([
  "role",
  "content",
  "tool_calls",
  "function_call",
  "name",
  "refusal",
]);
const toolNames: ReadonlySet<string> = new Set(["type", "function", "custom"]);
const functionNames: ReadonlySet<string> = new Set(["name"]);
const predictionNames: ReadonlySet<string> = new Set(["content"]);

export function readChat(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  readModel(reading, body);
  readStream(reading, body);
  readLimit(reading, body, ["max_tokens", "max_completion_tokens"]);
  readAnswers(reading, body);
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
}

/** `n` asks for several answers at once; the limit is of each, what is asked for is all of them. */
function readAnswers(reading: Reading, body: JsonObject): void {
  const answers = body["n"] ?? 1;
  if (typeof answers !== "number" || !Number.isSafeInteger(answers) || answers < 1)
    throw new NotUnderstood("n is no whole number above 0");
  if (reading.maxOutputTokens !== null)
    reading.maxOutputTokens = Math.min(reading.maxOutputTokens * answers, Number.MAX_SAFE_INTEGER);
}

function readMessage(reading: Reading, value: unknown): void {
  const message = objectOf(value, "a message", messageNames);
  const role = wordOf(message["role"]);
  readText(reading, message["content"], "a message", role === "function" ? "tool" : role);
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
  addTool(reading, objectOf(value, "a function", functionNames)["name"], how);
}
