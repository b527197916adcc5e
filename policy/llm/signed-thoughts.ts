// Thinking of a stream on its way, by block: as it came and as it goes out, so that at its signature it is known whether that still fits.
import { maxThinking, type KeptThinking } from "./anthropic/kept-thinking.ts";

interface Thought {
  original: string;
  shown: string;
}

/** Blocks on their way at one time; a message has one open. */
const maxThoughts = 64;

export class SignedThoughts {
  readonly #kept: KeptThinking | undefined;
  readonly #thoughts = new Map<string, Thought>();

  /** @param kept keeps what is masked; without it signatures stay as they are */
  constructor(kept: KeptThinking | undefined) {
    this.#kept = kept;
  }

  /** A piece as the model wrote it. */
  came(block: string, piece: string): void {
    const thought = this.#thoughtOf(block);
    if (thought !== undefined && thought.original.length <= maxThinking) thought.original += piece;
  }

  /** A piece as it goes out, at once or after it was held back. */
  goes(block: string, piece: string): void {
    const thought = this.#thoughts.get(block);
    if (thought !== undefined && thought.shown.length <= maxThinking) thought.shown += piece;
  }

  /** The signature with which a block that is over goes out. */
  signed(block: string, signature: string): string {
    const thought = this.#thoughts.get(block);
    this.#thoughts.delete(block);
    if (thought === undefined || this.#kept === undefined) return signature;
    const { original, shown } = thought;
    if (original === shown) return signature;
    return this.#kept.keep(signature, original.length > maxThinking ? undefined : original);
  }

  #thoughtOf(block: string): Thought | undefined {
    const known = this.#thoughts.get(block);
    if (known !== undefined || this.#kept === undefined || this.#thoughts.size >= maxThoughts)
      return known;
    const begun = { original: "", shown: "" };
    this.#thoughts.set(block, begun);
    return begun;
  }
}
