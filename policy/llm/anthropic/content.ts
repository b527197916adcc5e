// The content of a message: text, or blocks of text, thinking, images, documents, tool calls and what tools answered.
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
  wordOf,
} from "../reading.ts";
import type { Reading } from "../reading.ts";
import { anthropicShape } from "./mask-shape.ts";

/** Blocks stand in tool results, and those in messages; documents hold blocks, too. */
const deepest = 8;

const blockNames: ReadonlySet<string> = new Set(["type", "text", "source", "content", "name"]);
const sourceNames: ReadonlySet<string> = new Set(["type", "media_type", "data", "content"]);

/** The text blocks of one message that follow each other make one prompt. */
export function readContent(reading: Reading, content: unknown, role: string, depth: number): void {
  if (depth > deepest) throw new NotUnderstood("content is nested too deep");
  if (content === undefined || content === null) return;
  if (typeof content === "string") return addText(reading, content, role);
  let texts: string[] = [];
  const flush = (): void => {
    addText(reading, texts.join("\n"), role);
    texts = [];
  };
  for (const value of listOf(content, "content")) {
    const block = objectOf(value, "a content block", blockNames);
    if (block["type"] === "text" && typeof block["text"] === "string") texts.push(block["text"]);
    else {
      flush();
      readBlock(reading, block, role, depth);
    }
  }
  flush();
}

function readBlock(reading: Reading, block: JsonObject, role: string, depth: number): void {
  const type = wordOf(block["type"]);
  switch (type) {
    case "thinking":
      return addText(reading, textOf(block["thinking"]), role);
    case "redacted_thinking": // what only the provider can read, it wrote itself
      return undefined;
    case "image":
      return readSource(reading, "image", block["source"], role, depth);
    case "document":
      addText(
        reading,
        [block["title"], block["context"]].map(textOf).filter(Boolean).join("\n"),
        role,
      );
      return readSource(reading, "document", block["source"], role, depth);
    case "container_upload":
      return addAttachment(reading, "file", "", "file");
    case "tool_result":
    case "mcp_tool_result":
      return readContent(reading, block["content"], "tool", depth + 1);
    default:
      if (type.endsWith("tool_use")) return readCall(reading, block);
      return addText(reading, textsIn(block).join("\n"), type.endsWith("_result") ? "tool" : role);
  }
}

function readCall(reading: Reading, block: JsonObject): void {
  const own = block["toolset_name"] ?? block["name"];
  addTool(reading, block["type"] === "mcp_tool_use" ? "mcp" : own, "called");
  addArguments(reading, block["input"]);
}

function readSource(
  reading: Reading,
  kind: "image" | "document",
  value: unknown,
  role: string,
  depth: number,
): void {
  const source = objectOf(value, `the source of a ${kind}`, sourceNames);
  const { type, media_type: media, data, content } = source;
  if (type === "text") {
    addAttachment(reading, kind, media, "text");
    return addText(reading, textOf(data), role);
  }
  if (type === "content") {
    addAttachment(reading, kind, media, "text");
    return readContent(reading, content, role, depth + 1);
  }
  if (type !== "base64" && type !== "url" && type !== "file")
    throw new NotUnderstood(`the source of a ${kind} is of a type that rules do not know`);
  addAttachment(reading, kind, media, type === "base64" ? "inline" : type);
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** Every text in a block that is not known by its type. */
function textsIn(block: JsonObject): string[] {
  const texts: string[] = [];
  const visit = (value: unknown, path: readonly string[]): void => {
    if (path.length > maxDepth) return;
    if (typeof value === "string") {
      if (value !== "" && anthropicShape(path) === "text") texts.push(value);
    } else if (Array.isArray(value)) for (const one of value) visit(one, path);
    else if (isObject(value))
      for (const [name, one] of Object.entries(value)) visit(one, [...path, name]);
  };
  visit(block, []);
  return texts;
}
