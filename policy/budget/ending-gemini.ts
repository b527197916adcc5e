// The end of a stream of Gemini's: each candidate that had not ended says MAX_TOKENS, and the last chunk the usage.
import { isObject } from "../llm/json.ts";
import type { JsonObject } from "../llm/json.ts";
import { textBytes } from "./ending-chat.ts";
import type { Tokens } from "./price.ts";
import type { LastEvent } from "./stream-blocks.ts";

/** Candidates of one answer. */
const maxCandidates = 64;

export class GeminiEnding {
  #head: JsonObject = {};
  /** True for those that have ended. */
  readonly #candidates = new Map<number, boolean>();

  weigh(event: JsonObject): number {
    return candidatesOf(event).reduce(
      (sum, { content }) => sum + (isObject(content) ? textBytes(content["parts"], 0) : 0),
      0,
    );
  }

  sent(event: JsonObject): void {
    const { modelVersion, responseId } = event;
    this.#head = { modelVersion, responseId };
    for (const { index, finishReason } of candidatesOf(event)) {
      const at = typeof index === "number" ? index : 0;
      if (this.#candidates.size < maxCandidates || this.#candidates.has(at))
        this.#candidates.set(
          at,
          typeof finishReason === "string" || this.#candidates.get(at) === true,
        );
    }
  }

  end({ input, output }: Tokens): readonly LastEvent[] {
    if (this.#candidates.size === 0) this.#candidates.set(0, false);
    const candidates = [...this.#candidates]
      .filter(([, isOver]) => !isOver)
      .map(([index]) => ({
        content: { parts: [{ text: "" }], role: "model" },
        finishReason: "MAX_TOKENS",
        index,
      }));
    const usageMetadata = {
      promptTokenCount: input,
      candidatesTokenCount: output,
      totalTokenCount: input + output,
    };
    return [{ data: { candidates, usageMetadata, ...this.#head } }];
  }
}

function candidatesOf({ candidates }: JsonObject): readonly JsonObject[] {
  return Array.isArray(candidates) ? candidates.filter(isObject) : [];
}
