// Masks the events of a streamed message: what the deltas of one content block spell together is masked as if it came whole, and
// what was held back goes out as a delta of its own before the block is said to be over.
import type { Counts, StreamMasker } from "../../mask/stream.ts";
import { isObject, type JsonObject } from "../json.ts";
import { RunningTexts } from "../mask-texts.ts";
import { ValueMasker } from "../mask-value.ts";
import type { EventMasker, NamedEvent } from "../provider.ts";
import { SignedThoughts } from "../signed-thoughts.ts";
import type { KeptThinking } from "./kept-thinking.ts";
import { anthropicShape } from "./mask-shape.ts";

/** Members of a block that its deltas go on with. */
const growing: Readonly<Record<string, string>> = {
  text: "text_delta",
  thinking: "thinking_delta",
};

/** After these no block goes on. */
const ends: ReadonlySet<unknown> = new Set(["message_delta", "message_stop", "error"]);

export class AnthropicEvents implements EventMasker {
  readonly #values: ValueMasker;
  readonly #texts: RunningTexts<NamedEvent>;
  readonly #thoughts: SignedThoughts;

  /** @param kept keeps thinking that is masked; without it signatures stay as they are */
  constructor(masker: StreamMasker, counts: Counts, kept?: KeptThinking) {
    this.#thoughts = new SignedThoughts(kept);
    this.#values = new ValueMasker(masker, counts, anthropicShape);
    this.#texts = new RunningTexts(this.#values);
  }

  event(event: JsonObject): readonly NamedEvent[] {
    const { type } = event;
    const block = `block ${JSON.stringify(event["index"] ?? "")}`;
    if (type === "content_block_start" && isObject(event["content_block"]))
      return [{ data: this.#start(event, event["content_block"], block) }];
    if (type === "content_block_delta" && isObject(event["delta"]))
      return this.#delta(event, event["delta"], block);
    const shown = { data: this.#values.members(event, []) };
    if (type === "content_block_stop")
      return [...this.#texts.flush((part) => part === block), shown];
    return ends.has(type) ? [...this.end(), shown] : [shown];
  }

  end(): readonly NamedEvent[] {
    return this.#texts.flush(() => true);
  }

  #start(event: JsonObject, content: JsonObject, block: string): JsonObject {
    const { content_block: _, ...rest } = event;
    const begun: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(content)) {
      const kind = growing[name];
      begun[name] =
        kind === undefined || typeof value !== "string"
          ? this.#values.value(value, ["content_block", name])
          : this.#piece(event, kind, name, value, block);
    }
    return { ...this.#values.members(rest, []), content_block: begun };
  }

  #delta(event: JsonObject, delta: JsonObject, block: string): readonly NamedEvent[] {
    // A signature is of what was thought, so that is said before it.
    const before =
      delta["type"] === "signature_delta" ? this.#texts.flush((part) => part === block) : [];
    const kind = String(delta["type"]);
    const shown: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(delta))
      shown[name] =
        typeof value === "string"
          ? this.#piece(event, kind, name, value, block)
          : this.#values.value(value, ["delta", name]);
    if (typeof delta["signature"] === "string")
      shown["signature"] = this.#thoughts.signed(block, delta["signature"]);
    const { delta: _, ...rest } = event;
    return [...before, { data: { ...this.#values.members(rest, []), delta: shown } }];
  }

  #piece(event: JsonObject, kind: string, name: string, value: string, block: string): string {
    const { index } = event;
    const thinks = name === "thinking";
    if (thinks) this.#thoughts.came(block, value);
    const said = this.#texts.piece(value, [name], {
      key: `${block} ${name}`,
      part: block,
      carry: (rest) => {
        if (thinks) this.#thoughts.goes(block, rest);
        return {
          name: "content_block_delta",
          data: { type: "content_block_delta", index, delta: { type: kind, [name]: rest } },
        };
      },
    });
    if (thinks) this.#thoughts.goes(block, said);
    return said;
  }
}
