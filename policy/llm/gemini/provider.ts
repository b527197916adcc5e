// Google's Gemini API, of Google AI and of Vertex AI.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import type { LlmProvider } from "../provider.ts";
import { readGeminiBody } from "./answer.ts";
import { geminiError } from "./error.ts";
import { GeminiEvents } from "./mask-event.ts";
import { geminiShape } from "./mask-shape.ts";
import { geminiRoute } from "./routes.ts";

export const gemini: LlmProvider = {
  protocol: "gemini",
  route: geminiRoute,
  limited,
  shape: geminiShape,
  // Without `alt=sse` a stream is a JSON array, which is told from another answer by its first character.
  framing: (media) =>
    media === "text/event-stream" ? "events" : media === "application/json" ? "array" : undefined,
  maskEvents: (masker, counts) => new GeminiEvents(masker, counts),
  readBody: readGeminiBody,
  readEvent: readGeminiBody,
  error: geminiError,
};

/** Several answers share it. */
function limited(operation: string, body: JsonObject, tokens: number): JsonObject | undefined {
  if (operation !== "chat") return undefined;
  const name = body["generation_config"] === undefined ? "generationConfig" : "generation_config";
  const config = isObject(body[name]) ? body[name] : {};
  const asked = config["candidateCount"] ?? config["candidate_count"];
  const answers = typeof asked === "number" ? asked : 1;
  return {
    ...body,
    [name]: { ...config, maxOutputTokens: Math.max(1, Math.floor(tokens / answers)) },
  };
}
