// What Bedrock answered: Converse whole or event by event, and the models' own answers that InvokeModel passes on.
import { readAnthropicBody, readAnthropicEvent } from "../anthropic/answer.ts";
import { numberOf, objects } from "../gathering.ts";
import type { Gathering } from "../gathering.ts";
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";

export function readBedrockBody(gathered: Gathering, body: JsonObject): void {
  const { output, message, usage } = body;
  if (typeof message === "string") gathered.fail(message);
  if (isObject(output) && isObject(output["message"])) {
    readUsage(gathered, usage);
    for (const [index, block] of objects(output["message"]["content"]).entries())
      readBlock(gathered, index, block);
    return;
  }
  if (body["type"] === "message") return readAnthropicBody(gathered, body);
  readOwn(gathered, body);
}

export function readBedrockEvent(
  gathered: Gathering,
  event: JsonObject,
  name: string | undefined,
): void {
  if (name === "chunk" && typeof event["bytes"] === "string")
    return readChunk(gathered, event["bytes"]);
  if (name?.endsWith("Exception") === true) {
    if (typeof event["message"] === "string") gathered.fail(event["message"]);
    return;
  }
  readConverseEvent(gathered, event);
}

function readChunk(gathered: Gathering, bytes: string): void {
  let inner: unknown;
  try {
    inner = JSON.parse(Buffer.from(bytes, "base64").toString("utf8"));
  } catch {
    return gathered.truncate();
  }
  if (!isObject(inner)) return;
  if (typeof inner["type"] === "string") return readAnthropicEvent(gathered, inner);
  // Amazon's own models wrap an event of Converse in its name.
  const nested = inner["contentBlockDelta"] ?? inner["contentBlockStart"] ?? inner["metadata"];
  if (isObject(nested)) readConverseEvent(gathered, nested);
  else readOwn(gathered, inner);
}

function readConverseEvent(gathered: Gathering, event: JsonObject): void {
  const index = numberOf(event["contentBlockIndex"], 0);
  readUsage(gathered, event["usage"]);
  for (const part of [event["start"], event["delta"]])
    if (isObject(part)) readBlock(gathered, index, part);
}

function readBlock(gathered: Gathering, index: number, block: JsonObject): void {
  gathered.addText(index, block["text"]);
  const { reasoningContent: reasoning, toolUse: call } = block;
  if (isObject(reasoning)) {
    gathered.addThinking(index, reasoning["text"]);
    if (isObject(reasoning["reasoningText"]))
      gathered.addThinking(index, reasoning["reasoningText"]["text"]);
  }
  if (!isObject(call)) return;
  gathered.nameCall(String(index), call["name"]);
  const { input } = call;
  gathered.addArguments(String(index), isObject(input) ? JSON.stringify(input) : input);
}

/** Titan, Llama and Mistral, in a stream or not. */
function readOwn(gathered: Gathering, body: JsonObject): void {
  for (const name of ["outputText", "generation", "completion"]) gathered.addText(0, body[name]);
  for (const list of [body["results"], body["outputs"]])
    for (const [index, one] of objects(list).entries()) {
      gathered.addText(index, one["outputText"]);
      gathered.addText(index, one["text"]);
    }
  const input = body["prompt_token_count"] ?? body["inputTextTokenCount"];
  if (typeof input === "number")
    gathered.usage = { input, output: numberOf(body["generation_token_count"], 0) };
}

function readUsage(gathered: Gathering, usage: unknown): void {
  if (!isObject(usage) || typeof usage["inputTokens"] !== "number") return;
  const cacheRead = numberOf(usage["cacheReadInputTokens"], 0);
  const cacheWrite = numberOf(usage["cacheWriteInputTokens"], 0);
  gathered.usage = {
    input: usage["inputTokens"] + cacheRead + cacheWrite,
    output: numberOf(usage["outputTokens"], 0),
    ...(cacheRead > 0 && { cacheRead }),
    ...(cacheWrite > 0 && { cacheWrite }),
  };
}
