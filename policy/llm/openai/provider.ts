// OpenAI and the servers that speak as it does: vLLM, LiteLLM and others.
import type { JsonObject } from "../json.ts";
import type { LlmProvider } from "../provider.ts";
import { readOpenAiBody, readOpenAiEvent } from "./answer.ts";
import { openAiError } from "./error.ts";
import { OpenAiEvents } from "./mask-event.ts";
import { openAiShape } from "./mask-shape.ts";
import { openAiRoute } from "./routes.ts";

/** `max_tokens` of chat is deprecated, and refused by reasoning models. */
const limitNames: Readonly<Record<string, string>> = {
  chat: "max_completion_tokens",
  responses: "max_output_tokens",
};

export const openAi: LlmProvider = {
  protocol: "openai",
  route: openAiRoute,
  limited,
  shape: openAiShape,
  // Its streams are server-sent events, its files JSON lines: as those of any server.
  framing: (media) => (media === "text/event-stream" ? "events" : undefined),
  maskEvents: (masker, counts) => new OpenAiEvents(masker, counts),
  readBody: readOpenAiBody,
  readEvent: readOpenAiEvent,
  error: openAiError,
};

/** Several answers share it. */
function limited(operation: string, body: JsonObject, tokens: number): JsonObject | undefined {
  const name = limitNames[operation];
  if (name === undefined) return undefined;
  const answers = typeof body["n"] === "number" ? body["n"] : 1;
  return { ...body, [name]: Math.max(1, Math.floor(tokens / answers)) };
}
