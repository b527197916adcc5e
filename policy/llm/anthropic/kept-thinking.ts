// Thinking of Claude's that was masked on its way to an agent: its signature is of what was thought, so the original is kept for this pod and put
// back when the block is sent again. What is not kept any more is left out of the conversation, since nobody could verify it.
// https://platform.claude.com/docs/en/build-with-claude/extended-thinking
import type { JsonObject } from "../json.ts";
import { changeObjects } from "../change-objects.ts";

/** In front of the signature of masked thinking: base64, as signatures are, which begin otherwise. */
export const maskedMark = "ChaperoneMaskedThinking";
/** Blocks that are kept; conversations of one pod have tens under way. */
export const maxKept = 1_000;
/** Of thinking and signatures together, in UTF-16 units. */
export const maxKeptLength = 4 * 1024 * 1024;
/** Of one block; models think up to some hundred thousand tokens. */
export const maxThinking = 1024 * 1024;

export class KeptThinking {
  /** By signature, the one used longest ago first. */
  readonly #kept = new Map<string, string>();
  #length = 0;

  /** The signature that the masked block goes out with. @param thinking undefined: too long to be kept */
  keep(signature: string, thinking: string | undefined): string {
    this.#forget(signature);
    if (thinking !== undefined && thinking.length <= maxThinking) {
      this.#kept.set(signature, thinking);
      this.#length += signature.length + thinking.length;
    }
    for (const [oldest] of this.#kept) {
      if (this.#kept.size <= maxKept && this.#length <= maxKeptLength) break;
      this.#forget(oldest);
    }
    return maskedMark + signature;
  }

  /** The block as the provider wrote it; undefined where it is not known any more. @param marked its signature */
  original(marked: string): { readonly thinking: string; readonly signature: string } | undefined {
    const signature = marked.slice(maskedMark.length);
    const thinking = this.#kept.get(signature);
    if (thinking === undefined) return undefined;
    this.#kept.delete(signature);
    this.#kept.set(signature, thinking);
    return { thinking, signature };
  }

  #forget(signature: string): void {
    const known = this.#kept.get(signature);
    if (known === undefined) return;
    this.#kept.delete(signature);
    this.#length -= signature.length + known.length;
  }
}

/** In the place of a message's only block, since a message has to have one; blocks of Converse name their type as a member. */
function leftOut(block: string): string {
  const text = "(thinking left out)";
  return JSON.stringify(block.includes('"reasoningContent"') ? { text } : { type: "text", text });
}

/** The member that a signature is of: `thinking` of Claude's own blocks, `text` of Converse's `reasoningText`. */
function thoughtIn(object: JsonObject): "thinking" | "text" {
  return typeof object["text"] === "string" && !("type" in object) ? "text" : "thinking";
}

/** A request with its masked thinking as the provider wrote it, and without what is not kept any more. @param text JSON that was parsed strictly */
export function withThinking(text: string, kept: KeptThinking): string {
  if (!text.includes(maskedMark)) return text;
  return changeObjects(text, {
    change: (object) => {
      const { signature } = object;
      if (typeof signature !== "string" || !signature.startsWith(maskedMark)) return object;
      const original = kept.original(signature);
      if (original === undefined) return undefined;
      return {
        ...object,
        [thoughtIn(object)]: original.thinking,
        signature: original.signature,
      };
    },
    instead: leftOut,
  });
}

/** An answer in which the signatures of masked thinking are marked, and what was masked is kept. @param original the answer as it came */
export function withMarks(masked: string, original: string, kept: KeptThinking): string {
  if (!original.includes('"signature"')) return masked;
  const thoughts = new Map<string, string>();
  const note = (object: JsonObject): JsonObject => {
    const { signature } = object;
    const thinking = object[thoughtIn(object)];
    if (typeof thinking === "string" && typeof signature === "string")
      thoughts.set(signature, thinking);
    return object;
  };
  changeObjects(original, { change: note, instead: leftOut });
  return changeObjects(masked, {
    change: (object) => {
      const { signature } = object;
      const thinking = object[thoughtIn(object)];
      if (typeof signature !== "string" || typeof thinking !== "string") return object;
      const thought = thoughts.get(signature);
      return thought === undefined || thought === thinking
        ? object
        : { ...object, signature: kept.keep(signature, thought) };
    },
    instead: leftOut,
  });
}
