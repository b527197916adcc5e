// Ollama's own API: chat, generate and embed below /api, and what it says of its models. What changes the server (pull, create, delete) is
// no operation that rules know.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import type { Route, RoutedRequest } from "../provider.ts";
import {
  addAttachment,
  addText,
  addTool,
  listOf,
  nameOf,
  NotUnderstood,
  objectOf,
  readText,
  wordOf,
} from "../reading.ts";
import type { Reading } from "../reading.ts";
import { readPrompts } from "./completions.ts";

const routes: ReadonlyMap<string, Route> = new Map<string, Route>([
  ["POST /api/chat", { operation: "chat", body: "json", read: readChat }],
  ["POST /api/generate", { operation: "completions", body: "json", read: readGenerate }],
  ["POST /api/embed", { operation: "embeddings", body: "json", read: readEmbed }],
  ["POST /api/embeddings", { operation: "embeddings", body: "json", read: readEmbed }],
  ["POST /api/show", { operation: "models", body: "json", read: readModelName }],
  ["GET /api/tags", { operation: "models", body: "none", read: () => {} }],
  ["GET /api/ps", { operation: "models", body: "none", read: () => {} }],
  ["GET /api/version", { operation: "models", body: "none", read: () => {} }],
]);

export function ollamaRoute({ http, path }: RoutedRequest): Route | undefined {
  return http.upgrade === undefined ? routes.get(`${http.method} ${path}`) : undefined;
}

/** Where its errors and limits are its own, not OpenAI's. */
export function isOllama(path: string): boolean {
  return /\/api\/(?:chat|generate|embed|embeddings|show|tags|ps|version)$/.test(path);
}

const bodyNames: ReadonlySet<string> = new Set([
  "model",
  "name",
  "messages",
  "prompt",
  "suffix",
  "system",
  "template",
  "context",
  "images",
  "input",
  "tools",
  "stream",
  "format",
  "options",
  "think",
]);
const messageNames: ReadonlySet<string> = new Set([
  "role",
  "content",
  "thinking",
  "images",
  "tool_calls",
  "tool_name",
]);
const toolNames: ReadonlySet<string> = new Set(["type", "function"]);
const functionNames: ReadonlySet<string> = new Set(["name", "arguments"]);
const optionNames: ReadonlySet<string> = new Set(["num_predict"]);

function readChat(reading: Reading, value: unknown): void {
  const body = readCommon(reading, value);
  for (const message of listOf(body["messages"], "messages")) readMessage(reading, message);
  for (const tool of listOf(body["tools"], "tools")) readFunction(reading, tool, "offered");
}

function readGenerate(reading: Reading, value: unknown): void {
  const body = readCommon(reading, value);
  readText(reading, body["system"], "system", "system");
  readText(reading, body["template"], "template", "system");
  readText(reading, body["prompt"], "prompt", "user");
  readText(reading, body["suffix"], "suffix", "user");
  noteImages(reading, body["images"]);
  // The conversation so far, in tokens.
  if (listOf(body["context"], "context").length > 0) reading.promptsUnreadable = true;
}

function readEmbed(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  readModelName(reading, value);
  readPrompts(reading, body["input"]);
  readPrompts(reading, body["prompt"]);
}

function readCommon(reading: Reading, value: unknown): JsonObject {
  const body = objectOf(value, "the body", bodyNames);
  readModelName(reading, value);
  const stream = body["stream"] ?? true;
  if (typeof stream !== "boolean") throw new NotUnderstood("stream is neither true nor false");
  reading.stream = stream;
  const { format, think } = body;
  reading.responseFormat = isObject(format) ? "json_schema" : wordOf(format);
  reading.reasoning = think !== undefined && think !== null && think !== false;
  readOptions(reading, body["options"] ?? {});
  return body;
}

/** Below zero there is no limit. */
function readOptions(reading: Reading, value: unknown): void {
  const limit = objectOf(value, "options", optionNames)["num_predict"] ?? -1;
  if (typeof limit !== "number" || !Number.isSafeInteger(limit))
    throw new NotUnderstood("num_predict is no whole number");
  reading.maxOutputTokens = limit < 0 ? null : limit;
}

/** `name` is what older versions call it. One model has many names there; the body goes on with the one that rules see. */
function readModelName(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  const names = ["model", "name"].filter((name) => (body[name] ?? null) !== null);
  if (names.length > 1) throw new NotUnderstood("the body has both model and name");
  const [name = "model"] = names;
  reading.model = canonical(nameOf(body[name], "model"));
  if (reading.model !== body[name]) reading.members[name] = reading.model;
}

function canonical(name: string): string {
  return name
    .toLowerCase()
    .replace(/^(?:https?:\/\/)?registry\.ollama\.ai\//, "")
    .replace(/^library\//, "")
    .replace(/:latest$/, "");
}

function readMessage(reading: Reading, value: unknown): void {
  const message = objectOf(value, "a message", messageNames);
  const role = wordOf(message["role"]);
  readText(reading, message["content"], "a message", role);
  readText(reading, message["thinking"], "a message", role);
  noteImages(reading, message["images"]);
  for (const call of listOf(message["tool_calls"], "tool_calls"))
    readFunction(reading, call, "called");
  if (role === "tool" && (message["tool_name"] ?? null) !== null)
    addTool(reading, message["tool_name"], "called");
}

function readFunction(reading: Reading, value: unknown, how: "offered" | "called"): void {
  const { function: called } = objectOf(value, "a tool", toolNames);
  const { name, arguments: given } = objectOf(called, "a function", functionNames);
  addTool(reading, name, how);
  if (isObject(given) && Object.keys(given).length > 0)
    addText(reading, JSON.stringify(given), "assistant");
}

function noteImages(reading: Reading, images: unknown): void {
  for (const _image of listOf(images, "images")) addAttachment(reading, "image", "", "inline");
}
