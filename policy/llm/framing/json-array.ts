// A JSON array that streams: text in any pieces in, each of its elements out, as soon as it is whole. What is no array is told apart by
// its first character.
import { maxEventLength } from "./sse.ts";

export class NotAnArray extends Error {
  constructor(message: string) {
    super(message);
    this.name = "NotAnArray";
  }
}

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const opening = 0x5b;
const closing = 0x5d;

export class ArrayElements {
  /** unknown: nothing but blanks came · other: no array · open: inside it · over: behind it */
  state: "unknown" | "other" | "open" | "over" = "unknown";
  #element = "";
  #depth = 0;
  #isInString = false;
  #isAfterBackslash = false;
  /** A comma came, so that an element has to. */
  #expectsElement = false;

  /** The elements that are whole once this has come, too. Throws NotAnArray for what is neither JSON nor one of bounded elements. */
  push(text: string): string[] {
    const elements: string[] = [];
    let at = this.state === "unknown" ? this.#begin(text) : 0;
    if (this.state === "unknown" || this.state === "other") return elements;
    for (let from = at; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (this.#depth === 0 && (code === comma || code === closing)) {
        this.#take(text.slice(from, at), code, elements);
        from = at + 1;
      } else this.#walk(code);
      if (at === text.length - 1) this.#hold(text.slice(from));
    }
    return elements;
  }

  #begin(text: string): number {
    const first = text.search(/[^ \t\r\n]/);
    if (first < 0) return text.length;
    this.state = text.charCodeAt(first) === opening ? "open" : "other";
    return first + 1;
  }

  #hold(text: string): void {
    this.#element += text;
    if (this.#element.length > maxEventLength)
      throw new NotAnArray(`an element is longer than ${maxEventLength} characters`);
    if (this.state === "over" && this.#element.trim() !== "")
      throw new NotAnArray("something follows the end of the array");
  }

  #take(text: string, code: number, elements: string[]): void {
    this.#hold(text);
    const element = this.#element.trim();
    this.#element = "";
    const isEmpty = element === "";
    if (this.state === "over" || (isEmpty && (code === comma || this.#expectsElement)))
      throw new NotAnArray("the array has a comma or an end where none may be");
    if (!isEmpty) elements.push(element);
    this.#expectsElement = code === comma;
    if (code === closing) this.state = "over";
  }

  /** Strings may hold brackets; where one ends is all that is known of an element before it is parsed. */
  #walk(code: number): void {
    if (this.#isAfterBackslash) this.#isAfterBackslash = false;
    else if (this.#isInString) {
      if (code === backslash) this.#isAfterBackslash = true;
      else if (code === quote) this.#close();
    } else if (code === quote) {
      this.#isInString = true;
      this.#depth += 1;
    } else if (code === opening || code === 0x7b) this.#depth += 1;
    else if (code === closing || code === 0x7d) this.#end();
  }

  #end(): void {
    if (this.#depth === 0) throw new NotAnArray("a brace is closed that was not opened");
    this.#depth -= 1;
  }

  #close(): void {
    this.#isInString = false;
    this.#depth -= 1;
  }
}
