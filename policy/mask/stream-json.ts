// Masks the strings, names and numbers of JSON that comes in pieces, as the values they decode to: `\u0034` hides nothing.
// What is not changed goes out as it was written; what goes out is JSON where what came in was.
import { StringBody } from "./stream-json-string.ts";
import { namedContext, type Counts, type StreamMasker, type TextStream } from "./stream.ts";

/**
 * text: masked · json: text that is JSON itself, masked inside · keep: left alone · opaque: left alone where it is base64, else
 * masked · drop: becomes null, a list becomes empty
 */
export type Treatment = "text" | "json" | "keep" | "opaque" | "drop";

/** @param path names of the members that lead to a value, its own last; lists add none */
export type Shape = (path: readonly string[]) => Treatment;

/** Thrown where nothing may be given out, because nobody knows how it will be read. */
export class NotMaskable extends Error {
  constructor(message: string) {
    super(message);
    this.name = "NotMaskable";
  }
}

export interface JsonMasking {
  readonly masker: StreamMasker;
  readonly counts: Counts;
  readonly shape: Shape;
  /** Where it turns out to be no JSON: `refuse` throws NotMaskable, `text` masks the rest as the text it is. */
  readonly otherwise: "refuse" | "text";
}

/** Deeper JSON is refused, or cut off inside of a string; providers and their tools stay far below. */
const maxDepth = 512;
/** Of one name, number or word, in UTF-16 units. */
const maxToken = 16_384;

interface Level {
  readonly isObject: boolean;
  /** Names that lead here. */
  readonly depth: number;
}

type Expects =
  | "value"
  | "value-or-end"
  | "name-or-end"
  | "name"
  | "colon"
  | "comma-or-end"
  | "nothing";

const blanks = /[ \t\n\r]*/y;
const token = /[^ \t\n\r{}[\],:"]*/y;
const literal = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/;

export class JsonStream implements TextStream {
  readonly #options: JsonMasking;
  readonly #levels: Level[] = [];
  readonly #path: string[] = [];
  #expects: Expects = "value";
  /** Came, and is not read yet: a token, a name. */
  #rest = "";
  /** A token that was read, as it came, until what follows it shows that it stood in its place. */
  #token = "";
  #string: StringBody | undefined;
  #isName = false;
  #plain: TextStream | undefined;
  #isCut = false;
  /** Levels above the value that is dropped; -1 outside of one. */
  #dropped = -1;
  #shown = "";

  constructor(options: JsonMasking) {
    this.#options = options;
  }

  push(piece: string): string {
    if (this.#isCut || piece === "") return "";
    if (this.#plain !== undefined) return this.#plain.push(piece);
    const text = this.#rest + piece;
    this.#rest = "";
    this.#read(text, false);
    return this.#taken();
  }

  end(): string {
    if (this.#isCut) return "";
    const rest = this.#rest;
    this.#rest = "";
    if (this.#plain === undefined) this.#read(rest, true);
    if (this.#plain === undefined) this.#finish();
    const shown = this.#taken();
    return shown + (this.#plain?.end() ?? "");
  }

  #taken(): string {
    const shown = this.#shown;
    this.#shown = "";
    return shown;
  }

  /** The end of what came: a value that is cut off stays so. */
  #finish(): void {
    if (this.#string !== undefined) {
      this.#write(this.#string.end());
      this.#string = undefined;
    }
    this.#giveToken();
    if (
      this.#options.otherwise === "refuse" &&
      (this.#levels.length > 0 || this.#expects !== "nothing")
    )
      throw new NotMaskable("the JSON of the answer ends before it is whole");
  }

  #read(text: string, isEnd: boolean): void {
    let at = 0;
    while (at < text.length) {
      if (this.#string !== undefined) {
        at = this.#readString(this.#string, text, at, isEnd);
        continue;
      }
      const begin = at;
      blanks.lastIndex = at;
      blanks.exec(text);
      at = blanks.lastIndex;
      this.#blank(text.slice(begin, at));
      if (at >= text.length) return;
      const next = this.#readMark(text, at, isEnd);
      if (next === undefined) return;
      at = next;
    }
  }

  #blank(text: string): void {
    if (text === "") return;
    if (this.#token === "") this.#write(text);
    else this.#token += text;
  }

  /** One mark or token at this place; undefined when the rest is no business of ours, or must wait. */
  #readMark(text: string, at: number, isEnd: boolean): number | undefined {
    const character = text[at] ?? "";
    const reader = readers[character];
    if (reader !== undefined) {
      if (!reader.at.includes(this.#expects) || !this.#fits(character))
        return this.#break(text, at);
      this.#giveToken();
      return this[reader.read](text, at);
    }
    token.lastIndex = at;
    const word = token.exec(text)?.[0] ?? "";
    const end = at + word.length;
    if (word.length > maxToken) return this.#break(text, at);
    if (end === text.length && !isEnd) {
      this.#rest = word;
      return undefined;
    }
    if (!this.#expectsValue() || !literal.test(word)) return this.#break(text, at);
    this.#token = word;
    this.#afterValue();
    return end;
  }

  #expectsValue(): boolean {
    return this.#expects === "value" || this.#expects === "value-or-end";
  }

  #fits(character: string): boolean {
    const isObject = this.#levels.at(-1)?.isObject;
    if (character === "}") return isObject === true;
    return character !== "]" || isObject === false;
  }

  open(text: string, at: number): number {
    if (this.#levels.length >= maxDepth)
      return this.#tooMuch(text, `is nested deeper than ${maxDepth} levels`);
    const isObject = text[at] === "{";
    this.#startDropping(isObject ? "null" : "[]");
    this.#write(text[at] ?? "");
    this.#levels.push({ isObject, depth: this.#path.length });
    this.#expects = isObject ? "name-or-end" : "value-or-end";
    return at + 1;
  }

  close(text: string, at: number): number {
    const level = this.#levels.pop();
    if (level !== undefined) this.#path.length = level.depth;
    this.#write(text[at] ?? "");
    this.#afterValue();
    return at + 1;
  }

  comma(_text: string, at: number): number {
    this.#write(",");
    this.#expects = this.#levels.at(-1)?.isObject === true ? "name" : "value";
    return at + 1;
  }

  colon(_text: string, at: number): number {
    this.#write(":");
    this.#expects = "value";
    return at + 1;
  }

  quote(text: string, at: number): number {
    this.#isName = !this.#expectsValue();
    if (!this.#isName) this.#startDropping("null");
    const next = this.#readShort(text, at);
    if (next !== undefined) return next;
    const { masker, counts } = this.#options;
    const treatment = this.#isName ? "text" : this.#treatment();
    this.#string = new StringBody({
      masker,
      counts,
      name: this.#isName ? "" : (this.#path.at(-1) ?? ""),
      treatment: treatment === "drop" ? "keep" : treatment,
      inner: () => new JsonStream({ ...this.#options, shape: everything, otherwise: "text" }),
      ...(this.#isName && { whole: maxToken }),
    });
    return at + 1;
  }

  /** A string that is there whole, without escapes, and stays as it is: nearly every one. */
  #readShort(text: string, at: number): number | undefined {
    const end = text.indexOf('"', at + 1);
    if (end < 0 || end - at > maxToken) return undefined;
    const value = text.slice(at + 1, end);
    if (value.includes("\\") || !this.#isPlain(value)) return undefined;
    this.#write(text.slice(at, end + 1));
    this.#isRead(value);
    return end + 1;
  }

  #isPlain(value: string): boolean {
    if (!this.#isName && this.#treatment() === "json") return false;
    const { masker } = this.#options;
    const name = this.#isName ? "" : (this.#path.at(-1) ?? "");
    return !masker.suspects(value, namedContext(name));
  }

  #isRead(value: string): void {
    if (this.#isName) {
      this.#path.length = this.#levels.at(-1)?.depth ?? 0;
      this.#path.push(value);
      this.#expects = "colon";
    } else this.#afterValue();
  }

  #readString(body: StringBody, text: string, at: number, isEnd: boolean): number {
    const { shown, next, isOver, isTooLong, rest } = body.read(text, at, isEnd);
    if (isTooLong) return this.#tooMuch(text, "has a name that is too long");
    this.#write(shown);
    if (!isOver) {
      this.#rest = rest;
      return text.length;
    }
    this.#string = undefined;
    this.#isRead(body.name());
    return next;
  }

  #treatment(): Treatment {
    return this.#options.shape(this.#path);
  }

  #startDropping(instead: string): void {
    if (this.#dropped >= 0 || this.#treatment() !== "drop") return;
    this.#write(instead);
    this.#dropped = this.#levels.length;
  }

  #afterValue(): void {
    if (this.#dropped === this.#levels.length) this.#dropped = -1;
    this.#expects = this.#levels.length === 0 ? "nothing" : "comma-or-end";
  }

  /** A number that something is found in has no other form than null. */
  #giveToken(): void {
    const came = this.#token;
    if (came === "") return;
    this.#token = "";
    const { masker, counts } = this.#options;
    const word = came.trimEnd();
    const isHidden =
      word.length > 8 && masker.whole(word, counts) !== word && this.#treatment() !== "keep";
    this.#write(isHidden ? `null${came.slice(word.length)}` : came);
  }

  #write(text: string): void {
    if (this.#dropped < 0) this.#shown += text;
  }

  /** What came is no JSON from here on, nor was the token before it in its place. */
  #break(text: string, at: number): undefined {
    if (this.#options.otherwise === "refuse")
      throw new NotMaskable("the answer is no JSON, so nobody knows what its strings say");
    const { masker, counts } = this.#options;
    this.#plain = masker.open(counts);
    const shown = this.#plain.push(this.#token + text.slice(at));
    this.#token = "";
    this.#dropped = -1;
    this.#write(shown);
    return undefined;
  }

  #tooMuch(text: string, what: string): number {
    if (this.#options.otherwise === "refuse")
      throw new NotMaskable(`the JSON of the answer ${what}`);
    this.#isCut = true;
    return text.length;
  }
}

const everything: Shape = () => "text";

interface Reader {
  readonly at: readonly Expects[];
  readonly read: "open" | "close" | "comma" | "colon" | "quote";
}

const readers: Readonly<Record<string, Reader>> = {
  "{": { at: ["value", "value-or-end"], read: "open" },
  "[": { at: ["value", "value-or-end"], read: "open" },
  "}": { at: ["name-or-end", "comma-or-end"], read: "close" },
  "]": { at: ["value-or-end", "comma-or-end"], read: "close" },
  ",": { at: ["comma-or-end"], read: "comma" },
  ":": { at: ["colon"], read: "colon" },
  '"': { at: ["value", "value-or-end", "name", "name-or-end"], read: "quote" },
};

/** The whole of a text that is there. */
export function maskJson(options: JsonMasking, text: string): string {
  const stream = new JsonStream(options);
  return stream.push(text) + stream.end();
}
