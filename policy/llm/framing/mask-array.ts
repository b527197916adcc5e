// Masks a JSON array that streams, element by element; what turns out to be no array is masked as the one value it is.
import { JsonStream, NotMaskable, type JsonMasking } from "../../mask/stream-json.ts";
import { isObject } from "../json.ts";
import type { EventMasker, NamedEvent } from "../provider.ts";
import { ArrayElements, NotAnArray } from "./json-array.ts";

export class ArrayMasker {
  readonly #elements = new ArrayElements();
  readonly #events: EventMasker;
  readonly #whole: (text: string) => string;
  readonly #value: JsonStream;
  #hasBegun = false;
  #isFirst = true;
  #isOver = false;

  /** @param whole masks an element that is no object */
  constructor(events: EventMasker, whole: (text: string) => string, masking: JsonMasking) {
    this.#events = events;
    this.#whole = whole;
    this.#value = new JsonStream(masking);
  }

  push(piece: string): string {
    if (this.#elements.state === "other") return this.#value.push(piece);
    const { elements, state } = this.#read(piece);
    if (state === "other") return this.#value.push(piece);
    return state === "unknown" ? "" : this.#shown(elements);
  }

  end(): string {
    if (this.#elements.state === "other" || this.#elements.state === "unknown")
      return this.#value.end();
    // An array that was cut off stays so: its end is not ours to write.
    return this.#elements.state === "over" ? "" : this.#written(this.#events.end());
  }

  #read(piece: string): Pick<ArrayElements, "state"> & { readonly elements: readonly string[] } {
    try {
      const elements = this.#elements.push(piece);
      return { elements, state: this.#elements.state };
    } catch (error) {
      if (error instanceof NotAnArray) throw new NotMaskable(error.message);
      throw error;
    }
  }

  #shown(elements: readonly string[]): string {
    let shown = this.#hasBegun ? "" : "[";
    this.#hasBegun = true;
    for (const element of elements) {
      const value = parsed(element);
      shown += isObject(value)
        ? this.#written(this.#events.event(value, undefined))
        : this.#separated(this.#whole(element));
    }
    if (this.#elements.state !== "over" || this.#isOver) return shown;
    this.#isOver = true;
    return `${shown}${this.#written(this.#events.end())}]`;
  }

  #written(events: readonly NamedEvent[]): string {
    return events.map(({ data }) => this.#separated(JSON.stringify(data))).join("");
  }

  #separated(element: string): string {
    const shown = `${this.#isFirst ? "" : ",\r\n"}${element}`;
    this.#isFirst = false;
    return shown;
  }
}

function parsed(element: string): unknown {
  try {
    return JSON.parse(element);
  } catch {
    throw new NotMaskable(
      "an element of the answer is no JSON, so nobody knows what its strings say",
    );
  }
}
