// A part of a JSON text as its reader wants it: a byte a character, and the places of all that it must not pass over.
import type { Marker, Marks } from "./suspects.ts";

/** Characters that are read at a time: what is kept for them fits the processor's caches, and long texts need no more memory. */
export const longestPart = 16 * 1024;

/** What a character that is no byte is shown as: a letter, and nothing that JSON means something by. */
const anyLetter = 0xff;
const wide = /[^\0-\u00ff]/;

export class JsonPart implements Marks {
  readonly #characters: Buffer;
  readonly #marker: Marker;
  /** Quotes, backslashes and what the marker knows, in their order; behind them one that is never reached. */
  readonly at: Int32Array;
  count = 0;
  text = "";

  /** @param length of the longest text that is read into it */
  constructor(marker: Marker, length: number) {
    this.#marker = marker;
    this.#characters = Buffer.alloc(length);
    this.at = new Int32Array(length + 1);
  }

  /** The characters of the text, as bytes. */
  get codes(): Uint8Array {
    return this.#characters;
  }

  /** @param text of at most `longestPart` characters */
  read(text: string): void {
    this.text = text;
    const bytes = this.#characters;
    if (wide.test(text))
      for (let index = 0; index < text.length; index += 1)
        bytes[index] = Math.min(anyLetter, text.charCodeAt(index));
    else bytes.write(text, 0, "latin1");
    this.#marker(bytes, text.length, this);
    this.at[this.count] = longestPart;
  }
}

/** Lends parts one at a time: JSON inside of JSON is read while that around it waits, and all else can use the same one. */
export class JsonParts {
  readonly #marker: Marker;
  /** A string without a mark inside is none that something is found in. */
  readonly seesFindings: boolean;
  /** Of who reads nothing. */
  readonly none: JsonPart;
  #free: JsonPart | undefined;

  constructor(marker: Marker, seesFindings: boolean) {
    this.#marker = marker;
    this.seesFindings = seesFindings;
    this.none = new JsonPart(marker, 0);
  }

  take(): JsonPart {
    const part = this.#free ?? new JsonPart(this.#marker, longestPart);
    this.#free = undefined;
    return part;
  }

  giveBack(part: JsonPart): void {
    part.text = "";
    this.#free = part;
  }
}
