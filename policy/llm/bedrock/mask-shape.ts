// Which strings of Bedrock's messages are text to be masked: every one that is no identifier, of Converse's form or of a model's own.
import type { Shape } from "../../mask/stream-json.ts";
import { anthropicShape } from "../anthropic/mask-shape.ts";

const kept: ReadonlySet<string> = new Set([
  "toolUseId",
  "stopReason",
  "completionReason",
  "finish_reason",
  "finishReason",
  "status",
  "format",
  "latency",
  // Letters that hide how long the rest is.
  "p",
]);

const opaque: ReadonlySet<string> = new Set(["bytes", "redactedContent"]);

/** Members that the agent or a tool fills: nothing below is an identifier. */
const foreign: ReadonlySet<string> = new Set(["json", "inputSchema", "requestMetadata"]);

export const bedrockShape: Shape = (path) => {
  const name = path.at(-1) ?? "";
  // In a stream the arguments of a tool come as text.
  if (name === "input" && path.at(-2) === "toolUse") return "json";
  for (const one of path) if (foreign.has(one)) return "text";
  const known = anthropicShape(path);
  // Below what an agent or a tool fills, too, it says text.
  if (known !== "text" || path.includes("input")) return known;
  if (kept.has(name)) return "keep";
  return opaque.has(name) ? "opaque" : "text";
};
