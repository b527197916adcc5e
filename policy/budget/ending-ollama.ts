// The end of a stream of Ollama's own API, which is JSON lines: one more of them, done because of its length.
import type { JsonObject } from "../llm/json.ts";
import { textBytes } from "./ending-chat.ts";
import type { Tokens } from "./price.ts";
import type { LastEvent } from "./stream-blocks.ts";

export class OllamaEnding {
  #last: JsonObject = {};

  weigh({ message, response, thinking }: JsonObject): number {
    return textBytes(message, 0) + textBytes(response, 0) + textBytes(thinking, 0);
  }

  sent(event: JsonObject): void {
    this.#last = event;
  }

  end({ input, output }: Tokens): readonly LastEvent[] {
    const { model, created_at: createdAt, message } = this.#last;
    const nothing =
      message === undefined ? { response: "" } : { message: { role: "assistant", content: "" } };
    const data = {
      model,
      created_at: createdAt,
      ...nothing,
      done: true,
      done_reason: "length",
      prompt_eval_count: input,
      eval_count: output,
    };
    return [{ data }];
  }
}
