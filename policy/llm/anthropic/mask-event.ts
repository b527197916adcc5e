// Masks the events of a streamed message: what the deltas of one content block spell together is masked as if it came whole, and
// what was held back goes out as a delta of its own before the block is said to be over.
import type { Counts, StreamMasker } from "../../mask/stream.ts";
import { isObject, type JsonObject } from "../json.ts";
import { RunningTexts } from "../mask-texts.ts";
import { ValueMasker } from "../mask-value.ts";
import type { EventMasker, NamedEvent } from "../provider.ts";
import { maxThinking, type KeptThinking } from "./kept-thinking.ts";
import { anthropicShape } from "./mask-shape.ts";

/** Members of a block that its deltas go on with. */
const growing: Readonly<Record<string, string>> = {
  text: "text_delta",
  thinking: "thinking_delta",
};

/** After these no block goes on. */
const ends: ReadonlySet<unknown> = new Set(["message_delta", "message_stop", "error"]);

/** A block of thinking on its way: as it came, and as it goes out. */
interface Thought {
  original: string;
  shown: string;
}

/** Blocks on their way at one time; a message has one open. */
const maxThoughts = 64;

export class AnthropicEvents implements EventMasker {
  readonly #values: ValueMasker;
  readonly #texts: RunningTexts<NamedEvent>;
  readonly #kept: KeptThinking | undefined;
  /** By block. */
  readonly #thoughts = new Map<string, Thought>();

  /** @param kept keeps thinking that is masked; without it signatures stay as they are */
  constructor(masker: StreamMasker, counts: Counts, kept?: KeptThinking) {
    this.#kept = kept;
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
      shown["signature"] = this.#signed(delta["signature"], block);
    const { delta: _, ...rest } = event;
    return [...before, { data: { ...this.#values.members(rest, []), delta: shown } }];
  }

  /** The signature of a block that is over. */
  #signed(signature: string, block: string): string {
    const thought = this.#thoughts.get(block);
    this.#thoughts.delete(block);
    if (thought === undefined || this.#kept === undefined) return signature;
    const { original, shown } = thought;
    if (original === shown) return signature;
    return this.#kept.keep(signature, original.length > maxThinking ? undefined : original);
  }

  #thoughtOf(block: string): Thought | undefined {
    const known = this.#thoughts.get(block);
    if (known !== undefined || this.#thoughts.size >= maxThoughts) return known;
    const begun = { original: "", shown: "" };
    this.#thoughts.set(block, begun);
    return begun;
  }

  #piece(event: JsonObject, kind: string, name: string, value: string, block: string): string {
    const { index } = event;
    const thought =
      name === "thinking" && this.#kept !== undefined ? this.#thoughtOf(block) : undefined;
    if (thought !== undefined && thought.original.length <= maxThinking) thought.original += value;
    const said = this.#texts.piece(value, [name], {
      key: `${block} ${name}`,
      part: block,
      carry: (rest) => {
        if (thought !== undefined) thought.shown += rest;
        return {
          name: "content_block_delta",
          data: { type: "content_block_delta", index, delta: { type: kind, [name]: rest } },
        };
      },
    });
    if (thought !== undefined && thought.shown.length <= maxThinking) thought.shown += said;
    return said;
  }
}
