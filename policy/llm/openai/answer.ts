// What an OpenAI-compatible API answered, whole or event by event: chat completions, responses, completions, transcripts, what is said of
// pictures, and the answers of Ollama.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import { numberOf, objects } from "../gathering.ts";
import type { Gathering } from "../gathering.ts";
import { readOllama } from "./answer-ollama.ts";
import { readItem, readResponseEvent } from "./answer-response.ts";
import { readError, readUsage } from "./answer-terms.ts";

export function readOpenAiBody(gathered: Gathering, body: JsonObject): void {
  readUsage(gathered, body["usage"]);
  readError(gathered, body["error"]);
  readOllama(gathered, body);
  gathered.addText(0, body["text"]);
  for (const [index, choice] of objects(body["choices"]).entries())
    readChoice(gathered, choice, index, choice["message"]);
  for (const [index, item] of objects(body["output"]).entries()) readItem(gathered, index, item);
  for (const [index, { revised_prompt: revised }] of objects(body["data"]).entries())
    gathered.addText(index, revised);
}

/** One event of a chat completion (`choices[].delta`) or of a response (`type`), or one line of Ollama. */
export function readOpenAiEvent(gathered: Gathering, event: JsonObject): void {
  readError(gathered, event["error"]);
  readUsage(gathered, event["usage"]);
  readOllama(gathered, event);
  for (const [index, choice] of objects(event["choices"]).entries())
    readChoice(gathered, choice, index, choice["delta"]);
  if (typeof event["type"] === "string") readResponseEvent(gathered, event["type"], event);
}

/** @param position where the choice names no index */
function readChoice(
  gathered: Gathering,
  choice: JsonObject,
  position: number,
  message: unknown,
): void {
  const index = numberOf(choice["index"], position);
  // Of the older completions.
  gathered.addText(index, choice["text"]);
  if (!isObject(message)) return;
  // What vLLM and others call the model's thinking.
  gathered.addThinking(index, message["reasoning_content"] ?? message["reasoning"]);
  gathered.addText(index, message["content"]);
  gathered.addText(index, message["refusal"]);
  if (isObject(message["audio"])) gathered.addText(index, message["audio"]["transcript"]);
  for (const [place, call] of objects(message["tool_calls"]).entries())
    readCall(gathered, `${index}.${numberOf(call["index"], place)}`, call);
  readCall(gathered, `${index}`, { function: message["function_call"] });
}

function readCall(gathered: Gathering, key: string, call: JsonObject): void {
  for (const part of [call["function"], call["custom"]]) {
    if (!isObject(part)) continue;
    gathered.nameCall(key, part["name"]);
    gathered.addArguments(key, part["arguments"]);
    gathered.addArguments(key, part["input"]);
  }
}
