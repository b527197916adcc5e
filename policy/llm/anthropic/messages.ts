// The body of POST /v1/messages, and of what only counts its tokens.
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
  wordOf,
} from "../reading.ts";
import type { Reading } from "../reading.ts";
import { readContent } from "./content.ts";

const bodyNames: ReadonlySet<string> = new Set([
  "model",
  "models",
  "fallbacks",
  "messages",
  "system",
  "tools",
  "mcp_servers",
  "stream",
  "max_tokens",
  "thinking",
  "output_config",
  "output_format",
  "metadata",
]);
const messageNames: ReadonlySet<string> = new Set(["role", "content"]);
const toolNames: ReadonlySet<string> = new Set(["type", "name"]);

export function readMessages(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  readStream(reading, body);
  readLimit(reading, body, ["max_tokens"]);
  readPrompt(reading, body);
}

/** Nothing is generated, so there is neither a limit nor a stream. */
export function readCount(reading: Reading, value: unknown): void {
  readPrompt(reading, objectOf(value, "the body", bodyNames));
}

function readPrompt(reading: Reading, body: JsonObject): void {
  readModel(reading, body);
  readAnthropicPrompt(reading, body);
}

/** All but the model, which some providers have in the path. */
export function readAnthropicPrompt(reading: Reading, body: JsonObject): void {
  readContent(reading, body["system"], "system", 0);
  if (!Array.isArray(body["messages"])) throw new NotUnderstood("messages is no list");
  for (const value of body["messages"]) {
    const message = objectOf(value, "a message", messageNames);
    readContent(reading, message["content"], wordOf(message["role"]), 0);
  }
  readAnthropicTools(reading, body["tools"]);
  // The provider asks such servers itself: which tools they have, no rule sees.
  if (listOf(body["mcp_servers"], "mcp_servers").length > 0) addTool(reading, "mcp", "offered");
  readWishes(reading, body);
}

export function readAnthropicTools(reading: Reading, tools: unknown): void {
  for (const tool of listOf(tools, "tools")) readTool(reading, tool);
}

/** A toolset has no name of its own, and what is called of it says which it is: `computer` for `computer_toolset_20260801`. */
function readTool(reading: Reading, value: unknown): void {
  const tool = objectOf(value, "a tool", toolNames);
  const type = wordOf(tool["type"]);
  if (type.startsWith("mcp_")) addTool(reading, "mcp", "offered");
  else addTool(reading, tool["name"] ?? type.replace(/(?:_toolset)?_\d{8}$/, ""), "offered");
}

function readWishes(
  reading: Reading,
  { thinking, output_config, output_format, metadata }: JsonObject,
): void {
  if (isObject(thinking)) reading.reasoning = thinking["type"] !== "disabled";
  const format = isObject(output_config) ? output_config["format"] : output_format;
  if (isObject(format)) reading.responseFormat = wordOf(format["type"]);
  if (isObject(metadata)) reading.user = wordOf(metadata["user_id"]);
}
