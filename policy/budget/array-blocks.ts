// The elements of a JSON array that streams, one by one. What is no array has no events, and passes as it came.
import { ArrayElements, NotAnArray } from "../llm/framing/json-array.ts";
import { UnreadableStream } from "./stream-blocks.ts";
import type { LastEvent, StreamBlock, StreamBlocks } from "./stream-blocks.ts";

export class ArrayBlocks implements StreamBlocks {
  readonly #elements = new ArrayElements();
  readonly #decoder = new TextDecoder("utf-8");
  #hasBegun = false;
  #hasElement = false;
  #isOver = false;

  /** Lazily: what is behind the element that ends the answer is never asked for, and so never counts as passed on. */
  *push(chunk: Uint8Array): Generator<StreamBlock, void> {
    const text = this.#decoder.decode(chunk, { stream: true });
    const elements = this.#read(text);
    const { state } = this.#elements;
    // Blanks before the first character say nothing yet, and may go on.
    if (state === "other" || state === "unknown") {
      if (text !== "") yield { raw: text, data: "" };
      return;
    }
    if (!this.#hasBegun) yield { raw: "[", data: "" };
    this.#hasBegun = true;
    for (const data of elements) {
      yield { raw: this.#separated(data), data };
      this.#hasElement = true;
    }
    if (state !== "over" || this.#isOver) return;
    this.#isOver = true;
    yield { raw: "]", data: "" };
  }

  /** An array that was cut off stays so, without the beginning of an element that nobody can read. */
  end(): string {
    return this.#elements.state === "other" ? this.#decoder.decode() : "";
  }

  written(events: readonly LastEvent[]): string {
    const begin = this.#hasBegun ? "" : "[";
    const elements = events.flatMap(({ data }) =>
      data === "[DONE]" ? [] : [JSON.stringify(data)],
    );
    return `${begin}${this.#separated(elements.join(",\r\n"))}]`;
  }

  #separated(element: string): string {
    return `${this.#hasElement ? ",\r\n" : ""}${element}`;
  }

  #read(text: string): readonly string[] {
    if (this.#elements.state === "other") return [];
    try {
      return this.#elements.push(text);
    } catch (error) {
      if (error instanceof NotAnArray) throw new UnreadableStream(error.message, error);
      throw error;
    }
  }
}
