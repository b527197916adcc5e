// What the responses API answered: its output items, whole or event by event; and the streams that are made like it.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import { numberOf, objects } from "../gathering.ts";
import type { Gathering } from "../gathering.ts";
import { readError, readUsage } from "./answer-terms.ts";

type Take = (gathered: Gathering, index: number, text: unknown) => void;

const asText: Take = (gathered, index, text) => gathered.addText(index, text);
const asThinking: Take = (gathered, index, text) => gathered.addThinking(index, text);
const asArguments: Take = (gathered, index, text) => gathered.addArguments(String(index), text);

/** What the pieces of a text are, by the type of their events. */
const pieces: Readonly<Record<string, Take>> = {
  "response.output_text.delta": asText,
  "response.refusal.delta": asText,
  "response.audio.transcript.delta": asText,
  "response.output_audio_transcript.delta": asText,
  "transcript.text.delta": asText,
  "response.reasoning_text.delta": asThinking,
  "response.reasoning_summary_text.delta": asThinking,
  "response.function_call_arguments.delta": asArguments,
  "response.custom_tool_call_input.delta": asArguments,
  "response.mcp_call_arguments.delta": asArguments,
  "response.code_interpreter_call_code.delta": asArguments,
};

export function readResponseEvent(gathered: Gathering, type: string, event: JsonObject): void {
  const index = numberOf(event["output_index"], 0);
  const take = pieces[type];
  if (take !== undefined) return take(gathered, index, event["delta"]);
  switch (type) {
    case "response.output_item.added":
      if (isObject(event["item"])) nameCall(gathered, index, event["item"]);
      return undefined;
    case "response.completed":
    case "response.incomplete":
    case "response.failed":
      if (!isObject(event["response"])) return undefined;
      readUsage(gathered, event["response"]["usage"]);
      return readError(gathered, event["response"]["error"]);
    case "image_generation.completed":
      return gathered.addText(index, event["revised_prompt"]);
    case "error":
      return readError(gathered, event);
  }
}

export function readItem(gathered: Gathering, index: number, item: JsonObject): void {
  const type = nameCall(gathered, index, item);
  if (type.endsWith("_call"))
    for (const name of ["arguments", "input", "code"])
      gathered.addArguments(String(index), item[name]);
  for (const part of objects(item["content"])) {
    if (type === "reasoning") gathered.addThinking(index, part["text"]);
    else gathered.addText(index, part["text"]);
    gathered.addText(index, part["refusal"]);
  }
  for (const part of objects(item["summary"])) gathered.addThinking(index, part["text"]);
}

/** A call of the agent's tool by its name, of the provider's own by its type. Returns the type. */
function nameCall(gathered: Gathering, index: number, item: JsonObject): string {
  const type = typeof item["type"] === "string" ? item["type"] : "";
  if (type.endsWith("_call")) {
    const name = typeof item["name"] === "string" ? item["name"] : type.slice(0, -"_call".length);
    gathered.nameCall(String(index), name);
  }
  return type;
}
