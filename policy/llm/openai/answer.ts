// What an OpenAI-compatible API answered: chat completions, responses and embeddings, whole or event by event.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import { numberOf, objects } from "../gathering.ts";
import type { Gathering } from "../gathering.ts";

/** A whole chat completion or response. */
export function readOpenAiBody(gathered: Gathering, body: JsonObject): void {
  readUsage(gathered, body["usage"]);
  readError(gathered, body["error"]);
  for (const [index, choice] of objects(body["choices"]).entries()) {
    readMessage(gathered, numberOf(choice["index"], index), choice["message"]);
  }
  for (const [index, item] of objects(body["output"]).entries()) readItem(gathered, index, item);
}

/** One event of a chat completion (`choices[].delta`) or of a response (`type`). */
export function readOpenAiEvent(gathered: Gathering, event: JsonObject): void {
  readError(gathered, event["error"]);
  readUsage(gathered, event["usage"]);
  for (const [index, choice] of objects(event["choices"]).entries()) {
    readMessage(gathered, numberOf(choice["index"], index), choice["delta"]);
  }
  if (typeof event["type"] === "string") readResponseEvent(gathered, event["type"], event);
}

function readMessage(gathered: Gathering, choice: number, message: unknown): void {
  if (!isObject(message)) return;
  gathered.addText(choice, message["content"]);
  gathered.addText(choice, message["refusal"]);
  for (const [index, call] of objects(message["tool_calls"]).entries()) {
    const key = `${choice}.${numberOf(call["index"], index)}`;
    for (const part of [call["function"], call["custom"]]) {
      if (!isObject(part)) continue;
      gathered.nameCall(key, part["name"]);
      gathered.addArguments(key, part["arguments"]);
      gathered.addArguments(key, part["input"]);
    }
  }
}

function readResponseEvent(gathered: Gathering, type: string, event: JsonObject): void {
  const index = numberOf(event["output_index"], 0);
  switch (type) {
    case "response.output_text.delta":
    case "response.refusal.delta":
      return gathered.addText(index, event["delta"]);
    case "response.function_call_arguments.delta":
    case "response.custom_tool_call_input.delta":
      return gathered.addArguments(String(index), event["delta"]);
    case "response.output_item.added":
      return isObject(event["item"]) ? readCall(gathered, index, event["item"]) : undefined;
    case "response.completed":
    case "response.incomplete":
    case "response.failed":
      if (!isObject(event["response"])) return undefined;
      readUsage(gathered, event["response"]["usage"]);
      return readError(gathered, event["response"]["error"]);
    case "error":
      return readError(gathered, event);
    default:
      return undefined;
  }
}

function readItem(gathered: Gathering, index: number, item: JsonObject): void {
  readCall(gathered, index, item);
  for (const part of objects(item["content"])) {
    gathered.addText(index, part["text"]);
    gathered.addText(index, part["refusal"]);
  }
}

/** A call of the agent's tool by its name, of the provider's own by its type. */
function readCall(gathered: Gathering, index: number, item: JsonObject): void {
  const type = typeof item["type"] === "string" ? item["type"] : "";
  if (!type.endsWith("_call")) return;
  const name = typeof item["name"] === "string" ? item["name"] : type.slice(0, -"_call".length);
  gathered.nameCall(String(index), name);
  gathered.addArguments(String(index), item["arguments"]);
  gathered.addArguments(String(index), item["input"]);
}

/** chat and embeddings say prompt and completion, responses say input and output. */
function readUsage(gathered: Gathering, usage: unknown): void {
  if (!isObject(usage)) return;
  const input = usage["input_tokens"] ?? usage["prompt_tokens"];
  const output = usage["output_tokens"] ?? usage["completion_tokens"];
  if (typeof input === "number") gathered.usage = { input, output: numberOf(output, 0) };
}

function readError(gathered: Gathering, error: unknown): void {
  const message = isObject(error) ? error["message"] : error;
  if (typeof message === "string") gathered.fail(message);
}
