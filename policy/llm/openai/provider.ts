// OpenAI and the servers that speak as it does: vLLM, LiteLLM and others.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import type { Framing, LlmProvider } from "../provider.ts";
import { readOpenAiBody, readOpenAiEvent } from "./answer.ts";
import { answersOf } from "./completions.ts";
import { openAiError } from "./error.ts";
import { OpenAiEvents } from "./mask-event.ts";
import { openAiShape } from "./mask-shape.ts";
import { isOllama } from "./ollama.ts";
import { openAiRoute } from "./routes.ts";

/** `max_tokens` of chat is deprecated, and refused by reasoning models. */
const limitNames: Readonly<Record<string, string>> = {
  chat: "max_completion_tokens",
  completions: "max_tokens",
  responses: "max_output_tokens",
};

export const openAi: LlmProvider = {
  protocol: "openai",
  route: openAiRoute,
  limited,
  shape: openAiShape,
  framing,
  maskEvents: (masker, counts) => new OpenAiEvents(masker, counts),
  readBody: readOpenAiBody,
  readEvent: readOpenAiEvent,
  error: openAiError,
};

/** Several answers share it. */
function limited(
  operation: string,
  body: JsonObject,
  tokens: number,
  path: string,
): JsonObject | undefined {
  if (isOllama(path)) {
    const options = isObject(body["options"]) ? body["options"] : {};
    return { ...body, options: { ...options, num_predict: tokens } };
  }
  const name = limitNames[operation];
  if (name === undefined) return undefined;
  return { ...body, [name]: Math.max(1, Math.floor(tokens / answersOf(body))) };
}

/** Its files are JSON lines as those of any server; streams of Ollama are JSON lines, too, but by another name. */
function framing(media: string): Framing | undefined {
  if (media === "text/event-stream") return "events";
  return media === "application/x-ndjson" ? "lines" : undefined;
}
