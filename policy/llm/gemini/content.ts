// Contents of the Gemini API: parts of text, thoughts, pictures and files, function calls and what functions answered.
import { isObject, maxDepth } from "../json.ts";
import type { JsonObject } from "../json.ts";
import { addArguments, addAttachment, addText, addTool, wordOf } from "../reading.ts";
import type { Reading } from "../reading.ts";
import type { LlmAttachment } from "../../operation.ts";
import { messageOf, repeatedOf } from "./proto.ts";

const roles: Readonly<Record<string, string>> = { model: "assistant", function: "tool" };

/** @param otherwise the role of contents that name none */
export function readContents(
  reading: Reading,
  value: unknown,
  what: string,
  otherwise: string,
): void {
  for (const one of repeatedOf(
    typeof value === "string" ? { parts: [{ text: value }] } : value,
    what,
  )) {
    const content = messageOf(one, `one of ${what}`);
    const named = otherwise === "system" ? otherwise : wordOf(content["role"]) || otherwise;
    readParts(reading, content["parts"], roles[named] ?? named);
  }
}

/** The text parts of one content that follow each other make one prompt. */
function readParts(reading: Reading, value: unknown, role: string): void {
  let texts: string[] = [];
  const flush = (): void => {
    addText(reading, texts.join("\n"), role);
    texts = [];
  };
  for (const one of repeatedOf(value, "parts")) {
    const part = messageOf(typeof one === "string" ? { text: one } : one, "a part");
    if (typeof part["text"] === "string") texts.push(part["text"]);
    else {
      flush();
      readPart(reading, part, role);
    }
  }
  flush();
}

function readPart(reading: Reading, part: JsonObject, role: string): void {
  for (const [name, value] of Object.entries(part)) {
    switch (name) {
      case "text":
      case "thought":
      case "thoughtSignature":
        break;
      case "inlineData":
      case "fileData":
        readData(reading, messageOf(value, name), name === "inlineData" ? "inline" : "file");
        break;
      case "functionCall": {
        const call = messageOf(value, name);
        addTool(reading, call["name"], "called");
        addArguments(reading, call["args"]);
        break;
      }
      case "functionResponse":
        addTool(reading, messageOf(value, name)["name"], "called");
        addText(reading, textsIn(value, ["name", "id"]), "tool");
        break;
      case "codeExecutionResult":
        addText(reading, textsIn(value, ["outcome"]), "tool");
        break;
      default:
        addText(reading, textsIn(value, ["language"]), role);
    }
  }
}

function readData(
  reading: Reading,
  { mimeType, fileUri }: JsonObject,
  source: LlmAttachment["source"],
): void {
  const media = wordOf(mimeType);
  const isUrl = /^https?:/.test(wordOf(fileUri)) && !wordOf(fileUri).includes("/files/");
  addAttachment(reading, kindOf(media), media, isUrl ? "url" : source);
}

function kindOf(media: string): LlmAttachment["kind"] {
  const family = media.split("/")[0];
  if (family === "image" || family === "audio" || family === "video") return family;
  return media === "application/pdf" || family === "text" ? "document" : "file";
}

/** Every text below, but for members that only name something. */
function textsIn(value: unknown, names: readonly string[]): string {
  const texts: string[] = [];
  const visit = (one: unknown, depth: number): void => {
    if (depth > maxDepth) return;
    if (typeof one === "string") texts.push(one);
    else if (Array.isArray(one)) for (const inner of one) visit(inner, depth + 1);
    else if (isObject(one))
      for (const [name, inner] of Object.entries(one))
        if (depth > 0 || !names.includes(name)) visit(inner, depth + 1);
  };
  visit(value, 0);
  return texts.filter((text) => text !== "").join("\n");
}
