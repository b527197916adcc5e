// Anthropic's Messages API, and the servers that speak as it does.
import type { JsonObject } from "../json.ts";
import type { LlmProvider } from "../provider.ts";
import { readAnthropicBody, readAnthropicEvent } from "./answer.ts";
import { anthropicError } from "./error.ts";
import { AnthropicEvents } from "./mask-event.ts";
import { anthropicShape } from "./mask-shape.ts";
import { anthropicRoute } from "./routes.ts";

export const anthropic: LlmProvider = {
  protocol: "anthropic",
  route: anthropicRoute,
  limited: (operation: string, body: JsonObject, tokens: number) =>
    operation === "chat" ? { ...body, max_tokens: tokens } : undefined,
  shape: anthropicShape,
  // The results of a batch are lines, each an answer of its own: as those of any server.
  framing: (media) =>
    media === "text/event-stream" ? "events" : media.endsWith("jsonl") ? "bodies" : undefined,
  maskEvents: (masker, counts, kept) => new AnthropicEvents(masker, counts, kept),
  signsThinking: true,
  readBody: readAnthropicBody,
  readEvent: readAnthropicEvent,
  error: anthropicError,
};
