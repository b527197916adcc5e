// The body of InvokeModel, which is of the model's own form: those that are known here are read, for others there is Converse.
import { readAnthropicPrompt } from "../anthropic/messages.ts";
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import { addText, listOf, NotUnderstood, objectOf, readLimit } from "../reading.ts";
import type { Reading } from "../reading.ts";
import { readBlocks, readToolConfig } from "./converse.ts";

interface Family {
  /** In the model's name, behind the region of an inference profile. */
  readonly name: RegExp;
  readonly read: (reading: Reading, body: JsonObject) => void;
  /** Where its limit stands. */
  readonly limit: readonly string[];
}

const families: readonly Family[] = [
  { name: /(?:^|\.)anthropic\.claude-(?!v\d|instant)/, read: readClaude, limit: ["max_tokens"] },
  { name: /(?:^|\.)amazon\.nova-/, read: readNova, limit: ["inferenceConfig", "maxTokens"] },
  {
    name: /(?:^|\.)amazon\.titan-text-/,
    read: readTexts("inputText"),
    limit: ["textGenerationConfig", "maxTokenCount"],
  },
  { name: /(?:^|\.)meta\.llama/, read: readTexts("prompt"), limit: ["max_gen_len"] },
  {
    name: /(?:^|\.)mistral\.(?:mistral|mixtral)/,
    read: readTexts("prompt"),
    limit: ["max_tokens"],
  },
  { name: /(?:^|\.)amazon\.titan-embed-text-/, read: readTexts("inputText"), limit: [] },
  { name: /(?:^|\.)cohere\.embed-/, read: readTexts("texts"), limit: [] },
];

const names: ReadonlySet<string> = new Set([
  "messages",
  "system",
  "tools",
  "prompt",
  "texts",
  "max_tokens",
  "max_gen_len",
]);

export function isEmbedding(model: string): boolean {
  return /(?:^|\.)(?:amazon\.titan-embed-|cohere\.embed-)/.test(model);
}

export function readInvoke(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", names);
  const family = familyOf(reading.model);
  if (family === undefined)
    throw new NotUnderstood(
      "rules do not know the form of this model's requests: call it by Converse or ConverseStream",
    );
  const [outer = "", inner] = family.limit;
  const within = inner === undefined ? body : body[outer];
  if (isObject(within)) readLimit(reading, within, [inner ?? outer]);
  family.read(reading, body);
}

/** The body with the limit where this model has it. */
export function limitedInvoke(
  body: JsonObject,
  model: string,
  tokens: number,
): JsonObject | undefined {
  const [outer, inner] = familyOf(model)?.limit ?? [];
  if (outer === undefined) return undefined;
  if (inner === undefined) return { ...body, [outer]: tokens };
  const within = isObject(body[outer]) ? body[outer] : {};
  return { ...body, [outer]: { ...within, [inner]: tokens } };
}

function familyOf(model: string): Family | undefined {
  return families.find(({ name }) => name.test(model));
}

function readClaude(reading: Reading, body: JsonObject): void {
  if (body["anthropic_version"] === undefined)
    throw new NotUnderstood("anthropic_version is missing");
  readAnthropicPrompt(reading, body);
}

/** As Converse, but for its limit, which some clients spell as other models do. */
function readNova(reading: Reading, body: JsonObject): void {
  if (isObject(body["inferenceConfig"]))
    readLimit(reading, body["inferenceConfig"], ["max_new_tokens"]);
  readBlocks(reading, body["system"], "system");
  for (const one of listOf(body["messages"], "messages")) {
    if (!isObject(one)) throw new NotUnderstood("a message is no object");
    readBlocks(reading, one["content"], String(one["role"]));
  }
  if (isObject(body["toolConfig"])) readToolConfig(reading, body["toolConfig"]);
}

/** One text, or a list of them; these models have no tools. */
function readTexts(name: string): Family["read"] {
  return (reading, body) => {
    const value = body[name];
    const texts = typeof value === "string" ? [value] : listOf(value, name);
    if (texts.length === 0) throw new NotUnderstood(`${name} is missing`);
    for (const text of texts) {
      if (typeof text !== "string") throw new NotUnderstood(`${name} is no text`);
      addText(reading, text, "user");
    }
  };
}
