// A whole answer whose thinking was masked: held until it is whole, because only then the signature is known to be of another text.
import { maxBodyLength } from "../framing/read.ts";
import { withMarks, type KeptThinking } from "./kept-thinking.ts";

interface Masked {
  push(piece: string): string;
  end(): string;
}

export class MarkedBody implements Masked {
  readonly #masked: Masked;
  readonly #kept: KeptThinking;
  readonly #original: string[] = [];
  readonly #shown: string[] = [];
  #length = 0;

  constructor(masked: Masked, kept: KeptThinking) {
    this.#masked = masked;
    this.#kept = kept;
  }

  push(piece: string): string {
    const shown = this.#masked.push(piece);
    this.#length += piece.length;
    if (this.#length > maxBodyLength) return this.#rest() + shown;
    this.#original.push(piece);
    this.#shown.push(shown);
    return "";
  }

  end(): string {
    const original = this.#original.join("");
    const shown = this.#rest() + this.#masked.end();
    return this.#length > maxBodyLength ? shown : withMarks(shown, original, this.#kept);
  }

  /** What is longer than any message goes out as it comes, with signatures as they are. */
  #rest(): string {
    this.#original.length = 0;
    return this.#shown.splice(0).join("");
  }
}
