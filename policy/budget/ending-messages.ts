// The end of a stream of Anthropic's messages: what is open is closed, then `stop_reason: "max_tokens"` and `message_stop`.
import { isObject } from "../llm/json.ts";
import type { JsonObject } from "../llm/json.ts";
import type { Tokens } from "./price.ts";
import type { LastEvent } from "./stream-blocks.ts";

/** Blocks of one answer that are open at one time; it opens them one after the other. */
const maxOpen = 256;

export class MessagesEnding {
  readonly #open = new Set<number>();

  /** Text, thinking and arguments of tools; a signature is none of the model's words. */
  weigh({ type, delta }: JsonObject): number {
    if (type !== "content_block_delta" || !isObject(delta)) return 0;
    return [delta["text"], delta["thinking"], delta["partial_json"]].reduce<number>(
      (sum, text) => sum + (typeof text === "string" ? Buffer.byteLength(text) : 0),
      0,
    );
  }

  sent({ type, index }: JsonObject): void {
    if (typeof index !== "number") return;
    if (type === "content_block_start" && this.#open.size < maxOpen) this.#open.add(index);
    else if (type === "content_block_stop") this.#open.delete(index);
  }

  end({ output }: Tokens): readonly LastEvent[] {
    const events: JsonObject[] = [
      ...[...this.#open].map((index) => ({ type: "content_block_stop", index })),
      {
        type: "message_delta",
        delta: { stop_reason: "max_tokens", stop_sequence: null },
        usage: { output_tokens: output },
      },
      { type: "message_stop" },
    ];
    return events.map((data) => ({ name: String(data["type"]), data }));
  }
}
