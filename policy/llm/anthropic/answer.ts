// What Anthropic's API answered: messages, whole or event by event, and the results of a batch line by line.
import { numberOf, objects } from "../gathering.ts";
import type { Gathering, Usage } from "../gathering.ts";
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";

/** A whole message, an error, or one result of a batch, which costs nothing a second time. */
export function readAnthropicBody(gathered: Gathering, body: JsonObject): void {
  readError(gathered, body["error"]);
  if (isObject(body["result"])) return readResult(gathered, body["result"]);
  readUsage(gathered, body["usage"]);
  for (const [index, block] of objects(body["content"]).entries())
    readBlock(gathered, index, block);
}

function readResult(gathered: Gathering, { message, error }: JsonObject): void {
  readError(gathered, isObject(error) && isObject(error["error"]) ? error["error"] : error);
  if (!isObject(message)) return;
  for (const block of objects(message["content"])) {
    readBlock(gathered, gathered.parts, block);
    gathered.parts += 1;
  }
}

export function readAnthropicEvent(gathered: Gathering, event: JsonObject): void {
  const index = numberOf(event["index"], 0);
  switch (event["type"]) {
    case "message_start":
      return isObject(event["message"])
        ? readUsage(gathered, event["message"]["usage"])
        : undefined;
    case "content_block_start":
      return isObject(event["content_block"])
        ? readBlock(gathered, index, event["content_block"])
        : undefined;
    case "content_block_delta":
      return isObject(event["delta"]) ? readDelta(gathered, index, event["delta"]) : undefined;
    case "message_delta":
      return readUsage(gathered, event["usage"]);
    case "error":
      return readError(gathered, event["error"]);
    default:
      return undefined;
  }
}

function readBlock(gathered: Gathering, index: number, block: JsonObject): void {
  gathered.addText(index, block["text"]);
  gathered.addThinking(index, block["thinking"]);
  if (typeof block["type"] !== "string" || !block["type"].endsWith("tool_use")) return;
  gathered.nameCall(String(index), block["name"]);
  // In a stream the arguments follow, and what stands here is an empty object.
  const { input } = block;
  if (isObject(input) && Object.keys(input).length > 0)
    gathered.addArguments(String(index), JSON.stringify(input));
}

function readDelta(gathered: Gathering, index: number, delta: JsonObject): void {
  gathered.addText(index, delta["text"]);
  gathered.addThinking(index, delta["thinking"]);
  gathered.addArguments(String(index), delta["partial_json"]);
}

/** What came from a cache or went into it is counted beside `input_tokens`; in a stream each count is of all so far. */
function readUsage(gathered: Gathering, usage: unknown): void {
  if (!isObject(usage)) return;
  const output = numberOf(usage["output_tokens"], gathered.usage?.output ?? 0);
  const input = usage["input_tokens"];
  if (typeof input !== "number") {
    if (gathered.usage !== undefined) gathered.usage = { ...gathered.usage, output };
    return;
  }
  const cacheRead = numberOf(usage["cache_read_input_tokens"], 0);
  const cacheWrite = numberOf(usage["cache_creation_input_tokens"], 0);
  const read: Usage = { input: input + cacheRead + cacheWrite, output };
  gathered.usage = {
    ...read,
    ...(cacheRead > 0 && { cacheRead }),
    ...(cacheWrite > 0 && { cacheWrite }),
  };
}

function readError(gathered: Gathering, error: unknown): void {
  if (isObject(error) && typeof error["message"] === "string") gathered.fail(error["message"]);
}
