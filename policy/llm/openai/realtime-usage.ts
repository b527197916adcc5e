// What a session used so far, by what the provider says of each response and transcript; of those under way, by what came of them.
import { bytesPerToken } from "../../budget/estimate.ts";
import type { Tokens } from "../../budget/price.ts";
import { isObject, type JsonObject } from "../json.ts";
import { numberOf } from "../gathering.ts";

/** Responses and transcripts under way that are told apart; a session has one or two. */
const maxOpen = 64;
/** A token of sound is 50 ms: so many characters of base64 in 16-bit samples at 24 kHz. */
const soundLength = 3_200;

export class RealtimeUsage {
  #input = 0;
  #output = 0;
  /** Tokens of answer so far, by response or item. */
  readonly #open = new Map<string, number>();

  /** Of all that was used, what is under way by its estimate. */
  get tokens(): Tokens {
    let output = this.#output;
    for (const tokens of this.#open.values()) output += tokens;
    return { input: this.#input, output: Math.ceil(output) };
  }

  /** An event of the provider's. */
  take(event: JsonObject): void {
    const type = typeof event["type"] === "string" ? event["type"] : "";
    if (type.startsWith("response.") && type.endsWith(".delta")) this.#grow(event, type);
    else if (type === "response.done" && isObject(event["response"]))
      this.#settle(idOf(event["response"]["id"]), event["response"]["usage"]);
    else if (type === "conversation.item.input_audio_transcription.completed")
      this.#settle(idOf(event["item_id"]), event["usage"]);
  }

  #grow({ response_id: response, delta }: JsonObject, type: string): void {
    if (typeof delta !== "string") return;
    const id = idOf(response);
    const known = this.#open.get(id);
    if (known === undefined && this.#open.size >= maxOpen) return;
    const tokens = type.endsWith("audio.delta")
      ? delta.length / soundLength
      : Buffer.byteLength(delta) / bytesPerToken;
    this.#open.set(id, (known ?? 0) + tokens);
  }

  /** What came of it counts as it was estimated where the provider does not say: it was cancelled, or failed. */
  #settle(id: string, usage: unknown): void {
    const estimated = this.#open.get(id) ?? 0;
    this.#open.delete(id);
    const isSaid = isObject(usage) && typeof usage["output_tokens"] === "number";
    this.#input += isSaid ? numberOf(usage["input_tokens"], 0) : 0;
    this.#output += isSaid ? numberOf(usage["output_tokens"], 0) : estimated;
  }
}

function idOf(id: unknown): string {
  return typeof id === "string" ? id : "";
}
