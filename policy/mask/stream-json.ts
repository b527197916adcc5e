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
  /**
   * Where it turns out to be no JSON: `refuse` throws NotMaskable, `text` masks the rest as the text it is; `lenient` does, too, and refuses only
   * what goes on for too long.
   */
  readonly otherwise: "refuse" | "text" | "lenient";
}

/** Deeper JSON is refused, or cut off inside of a string; providers and their tools stay far below. */
const maxDepth = 512;
/** Of one name, in UTF-16 units. */
const maxName = 16_384;
/** Of one number. */
const maxWord = 1_024;

/** Shorter pieces have few strings. */
const worthALook = 256;

interface Level {
  readonly isObject: boolean;
  /** Names that lead here. */
  readonly depth: number;
}

/** What may come next; bits, so that a mark can say where it belongs in one. */
const value = 1;
const valueOrEnd = 2;
const nameOrEnd = 4;
const name = 8;
const colon = 16;
const commaOrEnd = 32;
const nothing = 64;

const blank = 1;
const mark = 2;
const ofToken = 0;
const closingBrace = 0x7d;
const closingBracket = 0x5d;

const kinds = new Uint8Array(128);
for (const character of " \t\n\r") kinds[character.charCodeAt(0)] = blank;
for (const character of '{}[],:"') kinds[character.charCodeAt(0)] = mark;

function kindOf(text: string, at: number): number {
  return kinds[text.charCodeAt(at)] ?? ofToken;
}

const literal = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/;

export class JsonStream implements TextStream {
  readonly #options: JsonMasking;
  readonly #levels: Level[] = [];
  readonly #path: string[] = [];
  #expects = value;
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
  /** Nothing is found in what is read. */
  #isQuiet = false;
  #isTokenQuiet = false;

  constructor(options: JsonMasking) {
    this.#options = options;
  }

  push(piece: string): string {
    if (this.#isCut || piece === "") return "";
    if (this.#plain !== undefined) return this.#plain.push(piece);
    const text = this.#rest + piece;
    this.#rest = "";
    // One look at all of it spares one at each of its strings, if they are written as what they say.
    this.#isQuiet =
      text.length > worthALook && !/\\|aws|key/i.test(text) && !this.#options.masker.suspects(text);
    this.#read(text, false);
    this.#isQuiet = false;
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
      (this.#levels.length > 0 || this.#expects !== nothing)
    )
      throw new NotMaskable("its JSON ends before it is whole");
  }

  #read(text: string, isEnd: boolean): void {
    let at = 0;
    while (at < text.length) {
      if (this.#string !== undefined) {
        at = this.#readString(this.#string, text, at, isEnd);
        continue;
      }
      if (kindOf(text, at) === blank) {
        const begin = at;
        while (at < text.length && kindOf(text, at) === blank) at += 1;
        this.#blank(text.slice(begin, at));
        if (at >= text.length) return;
      }
      const next = this.#readMark(text, at, isEnd);
      if (next === undefined) return;
      at = next;
    }
  }

  #blank(text: string): void {
    if (this.#token === "") this.#write(text);
    else this.#token += text;
  }

  /** One mark or token at this place; undefined when the rest is no business of ours, or must wait. */
  #readMark(text: string, at: number, isEnd: boolean): number | undefined {
    if (kindOf(text, at) === mark) {
      const reader = readers[text.charCodeAt(at)];
      if (reader === undefined || (reader.at & this.#expects) === 0 || !this.#fits(text, at))
        return this.#break(text, at);
      if (this.#token !== "") this.#giveToken();
      return this[reader.read](text, at);
    }
    let end = at;
    while (end < text.length && kindOf(text, end) === ofToken) end += 1;
    const word = text.slice(at, end);
    if (word.length > maxWord) return this.#break(text, at);
    if (end === text.length && !isEnd) {
      this.#rest = word;
      return undefined;
    }
    if (!this.#expectsValue() || !literal.test(word)) return this.#break(text, at);
    this.#token = word;
    this.#isTokenQuiet = this.#isQuiet;
    this.#afterValue();
    return end;
  }

  #expectsValue(): boolean {
    return (this.#expects & (value | valueOrEnd)) !== 0;
  }

  #fits(text: string, at: number): boolean {
    const code = text.charCodeAt(at);
    if (code !== closingBrace && code !== closingBracket) return true;
    return this.#levels.at(-1)?.isObject === (code === closingBrace);
  }

  open(text: string, at: number): number {
    if (this.#levels.length >= maxDepth)
      return this.#tooMuch(text, `is nested deeper than ${maxDepth} levels`);
    const isObject = text[at] === "{";
    this.#startDropping(isObject ? "null" : "[]");
    this.#write(text[at] ?? "");
    this.#levels.push({ isObject, depth: this.#path.length });
    this.#expects = isObject ? nameOrEnd : valueOrEnd;
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
    this.#expects = this.#levels.at(-1)?.isObject === true ? name : value;
    return at + 1;
  }

  colon(_text: string, at: number): number {
    this.#write(":");
    this.#expects = value;
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
      ...(this.#isName && { whole: maxName }),
    });
    return at + 1;
  }

  /** A string that is there whole, without escapes, and stays as it is: nearly every one. */
  #readShort(text: string, at: number): number | undefined {
    const end = text.indexOf('"', at + 1);
    if (end < 0 || end - at > maxName) return undefined;
    const value = text.slice(at + 1, end);
    if (value.includes("\\") || !this.#isPlain(value)) return undefined;
    this.#write(text.slice(at, end + 1));
    this.#isRead(value);
    return end + 1;
  }

  #isPlain(text: string): boolean {
    if (!this.#isName && this.#treatment() === "json") return false;
    const context = this.#isName ? "" : namedContext(this.#path.at(-1) ?? "");
    if (this.#isQuiet && context === "") return true;
    return !this.#options.masker.suspects(text, context);
  }

  #isRead(value: string): void {
    if (this.#isName) {
      this.#path.length = this.#levels.at(-1)?.depth ?? 0;
      this.#path.push(value);
      this.#expects = colon;
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
    this.#expects = this.#levels.length === 0 ? nothing : commaOrEnd;
  }

  /** A number that something is found in has no other form than null. */
  #giveToken(): void {
    const came = this.#token;
    if (came === "") return;
    this.#token = "";
    const { masker, counts } = this.#options;
    const word = came.trimEnd();
    const isHidden =
      word.length > 8 &&
      !this.#isTokenQuiet &&
      masker.whole(word, counts) !== word &&
      this.#treatment() !== "keep";
    this.#write(isHidden ? `null${came.slice(word.length)}` : came);
  }

  #write(text: string): void {
    if (this.#dropped < 0) this.#shown += text;
  }

  /** What came is no JSON from here on, nor was the token before it in its place. */
  #break(text: string, at: number): undefined {
    if (this.#options.otherwise === "refuse")
      throw new NotMaskable("it is no JSON, so nobody knows what its strings say");
    const { masker, counts } = this.#options;
    this.#plain = masker.open(counts);
    const shown = this.#plain.push(this.#token + text.slice(at));
    this.#token = "";
    this.#dropped = -1;
    this.#write(shown);
    return undefined;
  }

  #tooMuch(text: string, what: string): number {
    if (this.#options.otherwise !== "text") throw new NotMaskable(`its JSON ${what}`);
    this.#isCut = true;
    return text.length;
  }
}

const everything: Shape = () => "text";

interface Reader {
  /** Where it may stand. */
  readonly at: number;
  readonly read: "open" | "close" | "comma" | "colon" | "quote";
}

/** By character. */
const readers: Readonly<Record<number, Reader>> = {
  0x7b: { at: value | valueOrEnd, read: "open" },
  0x5b: { at: value | valueOrEnd, read: "open" },
  0x7d: { at: nameOrEnd | commaOrEnd, read: "close" },
  0x5d: { at: valueOrEnd | commaOrEnd, read: "close" },
  0x2c: { at: commaOrEnd, read: "comma" },
  0x3a: { at: colon, read: "colon" },
  0x22: { at: value | valueOrEnd | name | nameOrEnd, read: "quote" },
};

/** The whole of a text that is there. */
export function maskJson(options: JsonMasking, text: string): string {
  const stream = new JsonStream(options);
  return stream.push(text) + stream.end();
}
