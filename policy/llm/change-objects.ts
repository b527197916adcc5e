// Changes objects somewhere in a JSON text, so that everything else of it stays as its author wrote it: numbers that JavaScript cannot hold, the
// order of names, blanks.
import { endOfString, isObject, maxDepth } from "./json.ts";
import type { JsonObject } from "./json.ts";

export interface ObjectChange {
  /** The object itself where it stays, another in its place, or undefined: it is left out with the objects that hold nothing else, where they stand in a list. */
  change(object: JsonObject): JsonObject | undefined;
  /** JSON in the place of the items of a list that are all left out. @param first as it was */
  instead(first: string): string;
}

/** What takes the place of a part of the text. */
interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

interface Value {
  readonly start: number;
  readonly end: number;
  readonly isLeftOut: boolean;
}

/** @param text JSON, with a `signature` in each object that is asked about; what is no JSON, or nested too deep, comes back as it is */
export function changeObjects(text: string, by: ObjectChange): string {
  try {
    return new Changing(text, by).changed();
  } catch (error) {
    if (error instanceof NotJson) return text;
    throw error;
  }
}

class NotJson extends Error {}

class Changing {
  readonly #text: string;
  readonly #by: ObjectChange;
  readonly #edits: Edit[] = [];
  #at = 0;

  constructor(text: string, by: ObjectChange) {
    this.#text = text;
    this.#by = by;
  }

  changed(): string {
    this.#value(0);
    this.#blanks();
    if (this.#at !== this.#text.length) throw new NotJson();
    return this.#within(0, this.#text.length);
  }

  /** This part of the text with its edits: from its beginning on there are no others yet. */
  #within(start: number, end: number): string {
    const pieces: string[] = [];
    let at = start;
    for (const edit of this.#editsFrom(start)) {
      pieces.push(this.#text.slice(at, edit.start), edit.text);
      at = edit.end;
    }
    pieces.push(this.#text.slice(at, end));
    return pieces.join("");
  }

  /** Takes the place of all edits within it. */
  #edit(start: number, end: number, text: string): void {
    this.#edits.length -= this.#editsFrom(start).length;
    this.#edits.push({ start, end, text });
  }

  /** They are in the order of the text, so these are the last ones. */
  #editsFrom(start: number): readonly Edit[] {
    let first = this.#edits.length;
    while (first > 0 && (this.#edits[first - 1]?.start ?? 0) >= start) first -= 1;
    return this.#edits.slice(first);
  }

  #value(depth: number): Value {
    if (depth > maxDepth) throw new NotJson();
    this.#blanks();
    const start = this.#at;
    let isLeftOut = false;
    switch (this.#text[start]) {
      case "{":
        isLeftOut = this.#object(start, depth);
        break;
      case "[":
        this.#list(depth);
        break;
      case '"':
        this.#at = endOfString(this.#text, start) + 1;
        break;
      default:
        plain.lastIndex = start;
        if (!plain.test(this.#text)) throw new NotJson();
        this.#at = plain.lastIndex;
    }
    return { start, end: this.#at, isLeftOut };
  }

  #object(start: number, depth: number): boolean {
    let isAsked = false;
    let members = 0;
    let gone = 0;
    this.#items("}", () => {
      const name = this.#value(depth);
      isAsked ||= this.#text.slice(name.start, name.end) === '"signature"';
      this.#expect(":");
      const { isLeftOut } = this.#value(depth + 1);
      members += 1;
      if (isLeftOut) gone += 1;
    });
    if (!isAsked) return gone > 0 && gone === members;
    const object = parsed(this.#within(start, this.#at));
    const changed = this.#by.change(object);
    if (changed === undefined) return true;
    if (changed !== object) this.#edit(start, this.#at, JSON.stringify(changed));
    return false;
  }

  #list(depth: number): void {
    const items: Value[] = [];
    this.#items("]", () => items.push(this.#value(depth + 1)));
    const [first] = items;
    const last = items.at(-1);
    if (first === undefined || last === undefined || !items.some(({ isLeftOut }) => isLeftOut))
      return;
    if (items.every(({ isLeftOut }) => isLeftOut))
      return this.#edit(
        first.start,
        last.end,
        this.#by.instead(this.#text.slice(first.start, first.end)),
      );
    const others = this.#editsFrom(first.start);
    this.#edits.length -= others.length;
    const removals = removalsOf(items);
    for (const edit of [...others, ...removals].sort((one, other) => one.start - other.start))
      this.#edits.push(edit);
  }

  /** What stands between a bracket and the one that closes it, parted by commas. */
  #items(close: "}" | "]", read: () => void): void {
    this.#at += 1;
    this.#blanks();
    if (this.#text[this.#at] === close) {
      this.#at += 1;
      return;
    }
    for (;;) {
      read();
      this.#blanks();
      const sign = this.#text[this.#at];
      this.#at += 1;
      if (sign === close) return;
      if (sign !== ",") throw new NotJson();
    }
  }

  #expect(sign: string): void {
    this.#blanks();
    if (this.#text[this.#at] !== sign) throw new NotJson();
    this.#at += 1;
  }

  #blanks(): void {
    blanks.lastIndex = this.#at;
    blanks.test(this.#text);
    this.#at = blanks.lastIndex;
  }
}

/** Of the items that are left out, where others are left: with the comma before it, or behind it where nothing is left before. */
function removalsOf(items: readonly Value[]): Edit[] {
  const begin = items.findIndex(({ isLeftOut }) => !isLeftOut);
  return items.flatMap(({ start, end, isLeftOut }, index) => {
    if (!isLeftOut) return [];
    return index < begin
      ? [{ start, end: items[index + 1]?.start ?? end, text: "" }]
      : [{ start: items[index - 1]?.end ?? start, end, text: "" }];
  });
}

function parsed(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch {
    // As below.
  }
  throw new NotJson();
}

const blanks = /[ \t\r\n]*/y;
/** A number or a word. */
const plain = /[-+.\w]+/y;
