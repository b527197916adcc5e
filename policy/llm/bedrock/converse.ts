// The body of Converse and ConverseStream, the same for every model.
import { readAnthropicTools } from "../anthropic/messages.ts";
import { isObject, maxDepth } from "../json.ts";
import type { JsonObject } from "../json.ts";
import {
  addArguments,
  addAttachment,
  addText,
  addTool,
  listOf,
  NotUnderstood,
  objectOf,
  readLimit,
  wordOf,
} from "../reading.ts";
import type { Reading } from "../reading.ts";

const bodyNames: ReadonlySet<string> = new Set(["messages", "system"]);
const blockNames: ReadonlySet<string> = new Set(["text", "image", "document", "video", "audio"]);
const kinds = ["image", "document", "video", "audio"] as const;

export function readConverse(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  // Variables of a prompt that is stored at the provider.
  if (body["promptVariables"] !== undefined) reading.promptsUnreadable = true;
  readBlocks(reading, body["system"], "system");
  for (const one of listOf(body["messages"], "messages")) {
    if (!isObject(one)) throw new NotUnderstood("a message is no object");
    readBlocks(reading, one["content"], wordOf(one["role"]));
  }
  if (isObject(body["inferenceConfig"])) readLimit(reading, body["inferenceConfig"], ["maxTokens"]);
  if (isObject(body["toolConfig"])) readToolConfig(reading, body["toolConfig"]);
  if (isObject(body["additionalModelRequestFields"]))
    readOwn(reading, body["additionalModelRequestFields"]);
  if (isObject(body["outputConfig"]) && isObject(body["outputConfig"]["textFormat"]))
    reading.responseFormat = wordOf(body["outputConfig"]["textFormat"]["type"]);
  if (isObject(body["requestMetadata"])) reading.user = wordOf(body["requestMetadata"]["user"]);
}

/** CountTokens wraps the request that is to be counted. Nothing is generated. */
export function readCount(reading: Reading, value: unknown): void {
  const input = objectOf(value, "the body", new Set(["input"]))["input"];
  const { converse } = objectOf(input, "input", new Set(["converse"]));
  if (converse === undefined)
    throw new NotUnderstood("what is to be counted is no converse request, which rules know alone");
  readConverse(reading, converse);
  reading.maxOutputTokens = null;
}

export function readToolConfig(reading: Reading, config: JsonObject): void {
  for (const tool of listOf(config["tools"], "tools")) {
    if (!isObject(tool)) throw new NotUnderstood("a tool is no object");
    const spec = tool["toolSpec"] ?? tool["systemTool"];
    if (isObject(spec)) addTool(reading, spec["name"], "offered");
    else if (tool["cachePoint"] === undefined)
      throw new NotUnderstood("a tool is of a kind that rules do not know");
  }
}

/** Of the model's own form, which goes beside Converse's. */
function readOwn(reading: Reading, own: JsonObject): void {
  readLimit(reading, own, ["max_tokens", "maxTokens", "max_completion_tokens"]);
  readAnthropicTools(reading, own["tools"]);
  if (isObject(own["thinking"])) reading.reasoning = own["thinking"]["type"] !== "disabled";
  if (own["reasoning_config"] !== undefined || own["reasoningConfig"] !== undefined)
    reading.reasoning = true;
}

/** The text blocks of one message that follow each other make one prompt. */
export function readBlocks(reading: Reading, content: unknown, role: string): void {
  let texts: string[] = [];
  const flush = (): void => {
    addText(reading, texts.join("\n"), role);
    texts = [];
  };
  for (const one of listOf(content, "content")) {
    const block = objectOf(one, "a content block", blockNames);
    if (typeof block["text"] === "string") texts.push(block["text"]);
    else {
      flush();
      readBlock(reading, block, role);
    }
  }
  flush();
}

function readBlock(reading: Reading, block: JsonObject, role: string): void {
  for (const kind of kinds)
    if (isObject(block[kind])) return readMedia(reading, kind, block[kind], role);
  const { toolUse, toolResult, ...others } = block;
  if (isObject(toolUse)) {
    addTool(reading, toolUse["name"], "called");
    return addArguments(reading, toolUse["input"]);
  }
  if (isObject(toolResult)) return readBlocks(reading, toolResult["content"], "tool");
  addText(reading, textsIn(others).join("\n"), role);
}

function readMedia(
  reading: Reading,
  kind: (typeof kinds)[number],
  media: JsonObject,
  role: string,
): void {
  const { format, source } = media;
  if (!isObject(source)) throw new NotUnderstood(`the source of a ${kind} is no object`);
  const type = wordOf(format) && `${kind === "document" ? "application" : kind}/${wordOf(format)}`;
  const isText = source["text"] !== undefined || source["content"] !== undefined;
  const stored = source["s3Location"] === undefined ? "inline" : "file";
  addAttachment(reading, kind, type, isText ? "text" : stored);
  addText(
    reading,
    [wordOf(media["context"]), ...textsIn(isText ? source : {})].filter(Boolean).join("\n"),
    role,
  );
}

const identifiers: ReadonlySet<string> = new Set([
  "signature",
  "redactedContent",
  "bytes",
  "type",
  "ttl",
  "toolUseId",
  "status",
]);

/** Every text in a block that is not known by its kind. */
function textsIn(block: JsonObject): string[] {
  const texts: string[] = [];
  const visit = (value: unknown, depth: number): void => {
    if (depth > maxDepth) return;
    if (typeof value === "string") texts.push(value);
    else if (Array.isArray(value)) for (const one of value) visit(one, depth + 1);
    else if (isObject(value))
      for (const [name, one] of Object.entries(value))
        if (!identifiers.has(name)) visit(one, depth + 1);
  };
  visit(block, 0);
  return texts.filter((text) => text !== "");
}
