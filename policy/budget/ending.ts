// How a provider's stream is ended before its time, so that its SDK takes it as an answer that was cut and not as a broken one.
import type { JsonObject } from "../llm/json.ts";
import { ChatEnding } from "./ending-chat.ts";
import { ResponsesEnding } from "./ending-responses.ts";
import type { Tokens } from "./price.ts";

/** Follows one stream. */
export interface StreamEnding {
  /** Bytes of text that the model wrote in this event: what it says, thinks, and asks of tools. */
  weigh(event: JsonObject): number;
  /** The event goes to the agent. */
  sent(event: JsonObject): void;
  /** The events that end the answer here, as they are written on the wire. */
  end(tokens: Tokens): string;
}

/** By the operation as recognisers name it. Undefined where nobody knows how to end it: then it breaks off. */
export function streamEnding(operation: string): StreamEnding | undefined {
  switch (operation) {
    case "chat":
      return new ChatEnding();
    case "responses":
      return new ResponsesEnding();
    default:
      return undefined;
  }
}
