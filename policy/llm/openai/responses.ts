// The body of POST /responses.
import {
  addText,
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
import type { JsonObject } from "../json.ts";
import { formatOf } from "./chat.ts";
import { noteAttachment } from "./parts.ts";

const bodyNames: ReadonlySet<string> = new Set([
  "model",
  "input",
  "instructions",
  "tools",
  "stream",
  "max_output_tokens",
  "prompt",
  "previous_response_id",
  "conversation",
  "text",
  "reasoning",
  "user",
  "safety_identifier",
]);
const itemNames: ReadonlySet<string> = new Set([
  "type",
  "role",
  "content",
  "output",
  "summary",
  "name",
  "arguments",
  "input",
]);
const textNames: ReadonlySet<string> = new Set(["format"]);
const reasoningNames: ReadonlySet<string> = new Set(["effort"]);
const toolNames: ReadonlySet<string> = new Set(["type", "name", "tools"]);
/** Tools nest in namespaces; deeper is refused. */
const maxToolDepth = 4;

export function readResponses(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  readModel(reading, body);
  readStream(reading, body);
  readLimit(reading, body, ["max_output_tokens"]);
  if (given(body, "prompt"))
    throw new NotUnderstood("prompt is a stored template, whose text and tools no rule sees");
  // What the provider stored earlier is part of the prompt, but not of this request.
  if (given(body, "previous_response_id") || given(body, "conversation"))
    reading.promptsUnreadable = true;
  readInput(reading, body["instructions"], "instructions", "system");
  readInput(reading, body["input"], "input", "user");
  for (const tool of listOf(body["tools"], "tools")) readTool(reading, tool, 0);
  readTerms(reading, body);
}

/** How the answer is to be, and for whom. */
function readTerms(reading: Reading, body: JsonObject): void {
  reading.responseFormat = formatOf(objectOf(body["text"] ?? {}, "text", textNames)["format"]);
  reading.user = wordOf(body["safety_identifier"] ?? body["user"]);
  const { effort } = objectOf(body["reasoning"] ?? {}, "reasoning", reasoningNames);
  reading.reasoning = typeof effort === "string" && effort !== "none";
}

function given(body: JsonObject, name: string): boolean {
  return body[name] !== undefined && body[name] !== null;
}

function readInput(reading: Reading, input: unknown, what: string, role: string): void {
  if (typeof input === "string") readText(reading, input, what, role);
  else for (const item of listOf(input, what)) readItem(reading, item, role);
}

/** @param otherwise the role of an item that names none */
export function readItem(reading: Reading, value: unknown, otherwise: string): void {
  const item = objectOf(value, "an input item", itemNames);
  const type = item["type"] ?? "message";
  if (typeof type !== "string") throw new NotUnderstood("the type of an input item is no text");
  if (type === "item_reference" || type === "compaction") reading.promptsUnreadable = true;
  readCall(reading, type, item);
  const role = type.endsWith("_output") ? "tool" : wordOf(item["role"]) || otherwise;
  for (const part of ["content", "output", "summary"]) {
    // The output of some of the provider's own tools is an object, a screenshot for example.
    if (typeof item[part] === "string" || Array.isArray(item[part]))
      readText(reading, item[part], "an input item", role);
    for (const one of Array.isArray(item[part]) ? item[part] : [item[part]])
      noteAttachment(reading, one);
  }
  for (const given of [item["arguments"], item["input"]])
    if (typeof given === "string" && given !== "{}") addText(reading, given, "assistant");
}

/** `function_call` carries the tool's name; of the provider's own tools the type is the name: `web_search_call`. */
function readCall(reading: Reading, type: string, item: JsonObject): void {
  if (type === "function_call" || type === "custom_tool_call")
    addTool(reading, item["name"], "called");
  else if (type.startsWith("mcp_")) addTool(reading, "mcp", "called");
  else if (type.endsWith("_call")) addTool(reading, type.slice(0, -"_call".length), "called");
}

export function readTool(reading: Reading, value: unknown, depth: number): void {
  if (depth > maxToolDepth) throw new NotUnderstood("tools are nested too deep");
  const tool = objectOf(value, "a tool", toolNames);
  const type = tool["type"];
  if (type === "function" || type === "custom") addTool(reading, tool["name"], "offered");
  else if (Array.isArray(tool["tools"]))
    for (const inner of tool["tools"]) readTool(reading, inner, depth + 1);
  else addTool(reading, type, "offered");
}
