// What the Gemini API answered: content, whole or piece by piece, which have one form.
import { numberOf, objects } from "../gathering.ts";
import type { Gathering } from "../gathering.ts";
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";

export function readGeminiBody(gathered: Gathering, body: JsonObject): void {
  const { error, usageMetadata } = body;
  if (isObject(error) && typeof error["message"] === "string") gathered.fail(error["message"]);
  readUsage(gathered, usageMetadata);
  for (const [position, candidate] of objects(body["candidates"]).entries()) {
    const index = numberOf(candidate["index"], position);
    const { content } = candidate;
    if (isObject(content))
      for (const part of objects(content["parts"])) readPart(gathered, index, part);
  }
}

function readPart(gathered: Gathering, index: number, part: JsonObject): void {
  if (part["thought"] === true) gathered.addThinking(index, part["text"]);
  else gathered.addText(index, part["text"]);
  const { functionCall: call } = part;
  if (!isObject(call)) return;
  // Each is whole, and a candidate may make several.
  const key = `${index}.${gathered.parts}`;
  gathered.parts += 1;
  gathered.nameCall(key, call["name"]);
  gathered.addArguments(key, JSON.stringify(call["args"] ?? {}));
}

/** Thoughts are counted beside the candidates; what tools put into the prompt beside the prompt. In a stream, each count is of all so far. */
function readUsage(gathered: Gathering, usage: unknown): void {
  if (!isObject(usage)) return;
  const count = (name: string): number => numberOf(usage[name], 0);
  const cacheRead = count("cachedContentTokenCount");
  gathered.usage = {
    input: count("promptTokenCount") + count("toolUsePromptTokenCount"),
    output: count("candidatesTokenCount") + count("thoughtsTokenCount"),
    ...(cacheRead > 0 && { cacheRead }),
  };
}
