// The end of a stream of chat completions, or of plain ones: `finish_reason: "length"` for each choice, which says that tokens ran out. `content_filter` would
// say that somebody objects to what is written, and makes agents ask again in other words.
import { isObject } from "../llm/json.ts";
import type { JsonObject } from "../llm/json.ts";
import type { Tokens } from "./price.ts";
import type { LastEvent } from "./stream-blocks.ts";

/** Choices of one answer; more are counted and not ended one by one. */
const maxChoices = 256;
/** Of the values of one delta. */
const maxDepth = 8;
const namesOfNoText: ReadonlySet<string> = new Set(["role", "type", "id"]);

export class ChatEnding {
  readonly #kind: "chat" | "completions";
  #head: JsonObject = {};
  /** True for those that have ended. */
  readonly #choices = new Map<number, boolean>();
  #tellsUsage = false;

  constructor(kind: "chat" | "completions") {
    this.#kind = kind;
  }

  weigh(event: JsonObject): number {
    return choicesOf(event).reduce((sum, { delta, text }) => sum + textBytes(delta ?? text, 0), 0);
  }

  sent(event: JsonObject): void {
    const { id, created, model, system_fingerprint: fingerprint, service_tier: tier } = event;
    this.#head = {
      id,
      object: this.#kind === "chat" ? "chat.completion.chunk" : "text_completion",
      created,
      model,
      ...(tier !== undefined && { service_tier: tier }),
      ...(fingerprint !== undefined && { system_fingerprint: fingerprint }),
    };
    // With `include_usage` every chunk has it, empty up to the last.
    if ("usage" in event) this.#tellsUsage = true;
    for (const { index, finish_reason: reason } of choicesOf(event)) {
      const at = typeof index === "number" ? index : 0;
      if (this.#choices.size < maxChoices || this.#choices.has(at))
        this.#choices.set(at, typeof reason === "string" || this.#choices.get(at) === true);
    }
  }

  end({ input, output }: Tokens): readonly LastEvent[] {
    if (this.#choices.size === 0) this.#choices.set(0, false);
    const none = this.#kind === "chat" ? { delta: {} } : { text: "" };
    const chunks: JsonObject[] = [...this.#choices]
      .filter(([, isOver]) => !isOver)
      .map(([index]) => ({
        ...this.#head,
        choices: [{ index, ...none, logprobs: null, finish_reason: "length" }],
        ...(this.#tellsUsage && { usage: null }),
      }));
    if (this.#tellsUsage)
      chunks.push({
        ...this.#head,
        choices: [],
        usage: {
          prompt_tokens: input,
          completion_tokens: output,
          total_tokens: input + output,
        },
      });
    return [...chunks.map((data) => ({ data })), { data: "[DONE]" }];
  }
}

function choicesOf({ choices }: JsonObject): readonly JsonObject[] {
  return Array.isArray(choices) ? choices.filter(isObject) : [];
}

/** Whatever a provider calls it: content, refusal, reasoning, names and arguments of tools. */
export function textBytes(value: unknown, depth: number): number {
  if (typeof value === "string") return Buffer.byteLength(value);
  if (depth > maxDepth || typeof value !== "object" || value === null) return 0;
  let sum = 0;
  for (const [name, child] of Object.entries(value))
    if (!namesOfNoText.has(name)) sum += textBytes(child, depth + 1);
  return sum;
}
