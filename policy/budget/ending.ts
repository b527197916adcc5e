// How a provider's stream is ended before its time, so that its SDK takes it as an answer that was cut and not as a broken one.
import type { JsonObject } from "../llm/json.ts";
import { isOllama } from "../llm/openai/ollama.ts";
import type { LlmProtocol } from "../operation.ts";
import { BedrockEnding } from "./ending-bedrock.ts";
import { ChatEnding } from "./ending-chat.ts";
import { GeminiEnding } from "./ending-gemini.ts";
import { MessagesEnding } from "./ending-messages.ts";
import { OllamaEnding } from "./ending-ollama.ts";
import { ResponsesEnding } from "./ending-responses.ts";
import type { Tokens } from "./price.ts";
import type { LastEvent } from "./stream-blocks.ts";

/** Follows one stream. */
export interface StreamEnding {
  /** Bytes of text that the model wrote in this event: what it says, thinks, and asks of tools. */
  weigh(event: JsonObject, name: string | undefined): number;
  /** The event goes to the agent. */
  sent(event: JsonObject, name: string | undefined): void;
  /** The events that end the answer here. */
  end(tokens: Tokens): readonly LastEvent[];
}

/**
 * Undefined where nobody knows how to end it: then it breaks off.
 *
 * @param operation as recognisers name it
 * @param path of the request
 */
export function streamEnding(
  protocol: LlmProtocol,
  operation: string,
  path: string,
): StreamEnding | undefined {
  switch (protocol) {
    case "openai":
      return isOllama(path) ? new OllamaEnding() : openAiEnding(operation);
    case "anthropic":
      return operation === "chat" ? new MessagesEnding() : undefined;
    case "gemini":
      return operation === "chat" ? new GeminiEnding() : undefined;
    case "bedrock":
      return operation === "chat" ? new BedrockEnding() : undefined;
    default:
      return protocol satisfies never;
  }
}

function openAiEnding(operation: string): StreamEnding | undefined {
  switch (operation) {
    case "chat":
    case "completions":
      return new ChatEnding(operation);
    case "responses":
      return new ResponsesEnding();
    default:
      return undefined;
  }
}
