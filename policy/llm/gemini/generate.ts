// The bodies of generateContent, countTokens and embedContent; the model is the path's.
import type { JsonObject } from "../json.ts";
import { addTool, countOf, NotUnderstood, readLimit, wordOf } from "../reading.ts";
import type { Reading } from "../reading.ts";
import { readContents } from "./content.ts";
import { messageOf, optionalMessage, repeatedOf } from "./proto.ts";

export function readGenerate(reading: Reading, value: unknown): void {
  const body = messageOf(value, "the body");
  sameModel(reading, body["model"]);
  // What the provider stored earlier is part of the prompt, tools included, but not of this request.
  if (body["cachedContent"] !== undefined) {
    reading.promptsUnreadable = true;
    reading.toolsUnreadable = true;
  }
  readContents(reading, body["systemInstruction"], "systemInstruction", "system");
  readContents(reading, body["contents"], "contents", "user");
  for (const tool of repeatedOf(body["tools"], "tools"))
    readTool(reading, messageOf(tool, "a tool"));
  readConfig(reading, optionalMessage(body["generationConfig"], "generationConfig"));
}

export function readCount(reading: Reading, value: unknown): void {
  const body = messageOf(value, "the body");
  const { generateContentRequest: request } = body;
  readGenerate(reading, request ?? body);
  if (request !== undefined) readContents(reading, body["contents"], "contents", "user");
  // Nothing is generated.
  reading.maxOutputTokens = null;
}

export function readEmbedding(reading: Reading, value: unknown): void {
  const body = messageOf(value, "the body");
  sameModel(reading, body["model"]);
  readContents(reading, body["content"], "content", "user");
}

export function readEmbeddings(reading: Reading, value: unknown): void {
  for (const request of repeatedOf(messageOf(value, "the body")["requests"], "requests"))
    readEmbedding(reading, request);
}

/** A body may name the model, too: as `models/NAME`, or in full on Vertex AI. */
function sameModel(reading: Reading, model: unknown): void {
  if (model === undefined) return;
  const { model: asked } = reading;
  if (typeof model !== "string" || !(model === asked || model.endsWith(`/${asked}`)))
    throw new NotUnderstood("the body names another model than the path does");
}

/** A tool of the provider's own is named by its field: `google_search`. */
export function readTool(reading: Reading, tool: JsonObject): void {
  for (const [name, value] of Object.entries(tool)) {
    if (name !== "functionDeclarations") {
      addTool(reading, snakeOf(name), "offered");
      continue;
    }
    for (const one of repeatedOf(value, "functionDeclarations"))
      addTool(reading, messageOf(one, "a function")["name"], "offered");
  }
}

function snakeOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** `candidateCount` asks for several answers at once; the limit is of each, what is asked for is all of them. */
function readConfig(reading: Reading, config: JsonObject): void {
  readLimit(reading, config, ["maxOutputTokens"]);
  reading.answers = countOf(config["candidateCount"], "candidateCount");
  if (config["responseSchema"] !== undefined || config["responseJsonSchema"] !== undefined)
    reading.responseFormat = "json_schema";
  else if (config["responseMimeType"] === "application/json") reading.responseFormat = "json";
  const { thinkingBudget } = optionalMessage(config["thinkingConfig"], "thinkingConfig");
  reading.reasoning = config["thinkingConfig"] !== undefined && thinkingBudget !== 0;
  if (wordOf(config["responseMimeType"]).startsWith("image/"))
    throw new NotUnderstood("responseMimeType asks for something that rules do not know");
}
