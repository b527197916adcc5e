// Masks the strings, names and numbers of JSON that comes in pieces, as the values they decode to: `\u0034` hides nothing.
// What is not changed goes out as it was written; what goes out is JSON where what came in was.
import { longestPart, type JsonPart } from "./json-marks.ts";
import { isOpaque, StringBody } from "./stream-json-string.ts";
import { namedContext, type Counts, type StreamMasker, type TextStream } from "./stream.ts";

/**
 * text: masked · json: text that is JSON itself, masked inside · keep: left alone · opaque: left alone where it is base64, else
 * masked · drop: becomes null, a list becomes empty
 */
export type Treatment = "text" | "json" | "keep" | "opaque" | "drop";

/** @param path names of the members that lead to a value, its own last; lists add none */
export type Shape = (path: readonly string[]) => Treatment;

/** Of what has no identifiers: no path is kept for it. */
export const everything: Shape = () => "text";

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

interface Level {
  readonly isObject: boolean;
  /** Names that lead here. */
  readonly depth: number;
  readonly context: string;
}

/** What may come next; bits, so that a mark can say where it belongs in one. */
const value = 1;
const valueOrEnd = 2;
const nameOrEnd = 4;
const name = 8;
const colon = 16;
const commaOrEnd = 32;
const nothing = 64;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const openBrace = 0x7b;
const openBracket = 0x5b;
const closingBrace = 0x7d;
const closingBracket = 0x5d;

/** By character: where it may stand; 0 for what is no mark. */
const placesOf = new Uint8Array(256);
placesOf[openBrace] = value | valueOrEnd;
placesOf[openBracket] = value | valueOrEnd;
placesOf[closingBrace] = nameOrEnd | commaOrEnd;
placesOf[closingBracket] = valueOrEnd | commaOrEnd;
placesOf[comma] = commaOrEnd;
placesOf[0x3a] = colon;
placesOf[quote] = value | valueOrEnd | name | nameOrEnd;

const blanks = new Uint8Array(256);
for (const character of " \t\n\r") blanks[character.charCodeAt(0)] = 1;

const literal = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/;

export class JsonStream implements TextStream {
  readonly #options: JsonMasking;
  readonly #levels: Level[] = [];
  /** Kept where the shape asks for it. */
  readonly #path: string[] = [];
  readonly #isShaped: boolean;
  /** What a detector sees before a value that is read here: the name of the member it belongs to. */
  #context = "";
  #expects = value;
  /** Came, and is not read yet: the beginning of a token, or of an escape. */
  #rest = "";
  /** A token that was read, as it came, until what follows it shows that it stood in its place. */
  #token = "";
  #isTokenQuiet = false;
  #string: StringBody | undefined;
  #isName = false;
  #plain: TextStream | undefined;
  #isCut = false;
  /** Levels above the value that is dropped; -1 outside of one. */
  #dropped = -1;
  #shown = "";
  /** What is being read, where of it the next mark is, and up to where it was shown, changed or dropped. */
  #part: JsonPart;
  #mark = 0;
  #from = 0;

  constructor(options: JsonMasking) {
    this.#options = options;
    this.#isShaped = options.shape !== everything;
    this.#part = options.masker.parts.none;
  }

  push(piece: string): string {
    if (this.#isCut || piece === "") return "";
    if (this.#plain !== undefined) return this.#plain.push(piece);
    this.#read(piece, false);
    return this.#taken();
  }

  end(): string {
    if (this.#isCut) return "";
    if (this.#plain === undefined) this.#read("", true);
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

  #read(piece: string, isEnd: boolean): void {
    const { parts } = this.#options.masker;
    const part = parts.take();
    this.#part = part;
    try {
      let at = 0;
      do {
        const room = at + longestPart - this.#rest.length;
        part.read(this.#rest + piece.slice(at, room));
        this.#rest = "";
        at = room;
        this.#readPart(part.text.length, isEnd);
      } while (at < piece.length && this.#plain === undefined && !this.#isCut);
      if (at < piece.length && this.#plain !== undefined)
        this.#shown += this.#plain.push(piece.slice(at));
    } finally {
      this.#part = parts.none;
      parts.giveBack(part);
    }
  }

  #readPart(length: number, isEnd: boolean): void {
    this.#mark = 0;
    this.#from = 0;
    let at = 0;
    while (at < length)
      at =
        this.#string === undefined
          ? this.#readNext(at, isEnd)
          : this.#readString(this.#string, at, isEnd);
    this.#keep(length);
  }

  /** One mark or token at this place, or blanks: where reading goes on. */
  #readNext(at: number, isEnd: boolean): number {
    const code = this.#part.codes[at] ?? 0;
    const places = placesOf[code] ?? 0;
    if (places === 0) return blanks[code] === 1 ? this.#blank(at) : this.#word(at, isEnd);
    if (!this.#mayStand(code)) return this.#break(at);
    if (this.#token !== "") this.#giveToken();
    switch (code) {
      case quote:
        return this.#quote(at);
      case comma:
        this.#expects = this.#levels.at(-1)?.isObject === true ? name : value;
        return at + 1;
      case openBrace:
      case openBracket:
        return this.#open(at, code === openBrace);
      case closingBrace:
      case closingBracket:
        return this.#close(at);
      default:
        this.#expects = value;
        return at + 1;
    }
  }

  #mayStand(code: number): boolean {
    if (((placesOf[code] ?? 0) & this.#expects) === 0) return false;
    if (code !== closingBrace && code !== closingBracket) return true;
    return this.#levels.at(-1)?.isObject === (code === closingBrace);
  }

  #blank(at: number): number {
    const end = this.#blanksEnd(at);
    if (this.#token !== "") {
      this.#token += this.#part.text.slice(at, end);
      this.#from = end;
    }
    return end;
  }

  #blanksEnd(at: number): number {
    const { codes, text } = this.#part;
    let end = at;
    while (end < text.length && blanks[codes[end] ?? 0] === 1) end += 1;
    return end;
  }

  /** A number, or true, false, null. */
  #word(at: number, isEnd: boolean): number {
    const { codes, text } = this.#part;
    let end = at + 1;
    while (end < text.length && isOfWord(codes[end] ?? 0)) end += 1;
    if (end - at > maxWord) return this.#break(at);
    if (end === text.length && !isEnd) {
      this.#keep(at);
      this.#from = end;
      this.#rest = text.slice(at);
      return end;
    }
    if (!this.#expectsValue() || !literal.test(text.slice(at, end))) return this.#break(at);
    const isQuiet = !this.#isMarked(at, end);
    this.#afterValue(end);
    const next = this.#blanksEnd(end);
    if (next < text.length && this.#mayStand(codes[next] ?? 0)) {
      if (!isQuiet && this.#isHidden(text.slice(at, end))) this.#instead(at, end, "null");
      return next;
    }
    this.#keep(at);
    this.#from = end;
    this.#token = text.slice(at, end);
    this.#isTokenQuiet = isQuiet;
    return end;
  }

  /** Whether something may be found between two places. Asked from the left to the right. */
  #isMarked(from: number, end: number): boolean {
    if (!this.#options.masker.parts.seesFindings) return true;
    const { at } = this.#part;
    let mark = this.#mark;
    while ((at[mark] ?? 0) < from) mark += 1;
    this.#mark = mark;
    return (at[mark] ?? 0) < end;
  }

  #expectsValue(): boolean {
    return (this.#expects & (value | valueOrEnd)) !== 0;
  }

  #open(at: number, isObject: boolean): number {
    if (this.#levels.length >= maxDepth)
      return this.#tooMuch(at, `is nested deeper than ${maxDepth} levels`);
    if (this.#dropped < 0 && this.#treatment() === "drop") this.#drop(at, isObject ? "null" : "[]");
    this.#levels.push({ isObject, depth: this.#path.length, context: this.#context });
    this.#expects = isObject ? nameOrEnd : valueOrEnd;
    return at + 1;
  }

  #close(at: number): number {
    const level = this.#levels.pop();
    this.#context = level?.context ?? "";
    this.#leave(level?.depth ?? 0);
    this.#afterValue(at + 1);
    return at + 1;
  }

  #leave(depth: number): void {
    while (this.#path.length > depth) this.#path.pop();
  }

  /** Most strings are there whole and have no escapes. */
  #quote(at: number): number {
    const { codes, at: marks, text } = this.#part;
    this.#isName = !this.#expectsValue();
    let mark = this.#mark;
    while ((marks[mark] ?? 0) <= at) mark += 1;
    const isQuiet = codes[marks[mark] ?? 0] === quote && this.#options.masker.parts.seesFindings;
    while ((marks[mark] ?? 0) < text.length && !endsPlain(codes[marks[mark] ?? 0])) mark += 1;
    this.#mark = mark;
    const end = marks[mark] ?? 0;
    if (end < text.length && codes[end] === quote) {
      if (this.#isName) this.#wholeName(at, end, isQuiet);
      else this.#wholeValue(at, end, isQuiet);
      return end + 1;
    }
    this.#startString(at);
    return at + 1;
  }

  #wholeName(at: number, end: number, isQuiet: boolean): void {
    if (isQuiet && !this.#isShaped) return this.#isNamed("", "");
    const came = this.#part.text.slice(at + 1, end);
    if (!isQuiet && this.#dropped < 0) {
      const { masker, counts } = this.#options;
      const masked = masker.whole(came, counts);
      if (masked !== came) this.#instead(at, end + 1, JSON.stringify(masked));
    }
    this.#isNamed(came, isQuiet ? "" : namedContext(came));
  }

  #wholeValue(at: number, end: number, isQuiet: boolean): void {
    const treatment = this.#treatment();
    const context = this.#context;
    if (this.#dropped >= 0) return this.#afterValue(end + 1);
    if (treatment === "drop") this.#instead(at, end + 1, "null");
    else if (!isQuiet || context !== "" || treatment === "json") {
      const came = this.#part.text.slice(at + 1, end);
      const masked = this.#masked(came, treatment, context);
      if (masked !== came) this.#instead(at, end + 1, JSON.stringify(masked));
    }
    this.#afterValue(end + 1);
  }

  #masked(came: string, treatment: Treatment, context: string): string {
    const { masker, counts } = this.#options;
    if (treatment === "keep" || (treatment === "opaque" && isOpaque(came))) return came;
    if (treatment !== "json") return masker.whole(came, counts, context);
    const inner = this.#inner();
    return inner.push(came) + inner.end();
  }

  #inner(): JsonStream {
    return new JsonStream({ ...this.#options, shape: everything, otherwise: "text" });
  }

  /** Of a string that has escapes, or does not end here. */
  #startString(at: number): void {
    const { masker, counts } = this.#options;
    const treatment = this.#isName ? "text" : this.#treatment();
    if (treatment === "drop" && this.#dropped < 0) this.#drop(at, "null");
    this.#keep(at);
    this.#from = at + 1;
    this.#string = new StringBody({
      masker,
      counts,
      context: this.#isName ? "" : this.#context,
      treatment: treatment === "drop" ? "keep" : treatment,
      inner: () => this.#inner(),
      ...(this.#isName && { whole: maxName }),
    });
  }

  #readString(body: StringBody, at: number, isEnd: boolean): number {
    const { text } = this.#part;
    const { shown, next, isOver, isTooLong, rest } = body.read(text, at, isEnd);
    this.#from = next;
    if (isTooLong) return this.#tooMuch(next, "has a name that is too long");
    this.#write(shown);
    if (!isOver) {
      this.#from = text.length;
      this.#rest = rest;
      return text.length;
    }
    this.#string = undefined;
    const came = body.name();
    if (this.#isName) this.#isNamed(came, namedContext(came));
    else this.#afterValue(next);
    return next;
  }

  #isNamed(came: string, context: string): void {
    this.#context = context;
    this.#expects = colon;
    if (!this.#isShaped) return;
    this.#leave(this.#levels.at(-1)?.depth ?? 0);
    this.#path.push(came);
  }

  #treatment(): Treatment {
    return this.#options.shape(this.#path);
  }

  #drop(at: number, instead: string): void {
    this.#keep(at);
    this.#shown += instead;
    this.#dropped = this.#levels.length;
  }

  /** @param at where it ends */
  #afterValue(at: number): void {
    if (this.#dropped === this.#levels.length) {
      this.#keep(at);
      this.#dropped = -1;
    }
    this.#expects = this.#levels.length === 0 ? nothing : commaOrEnd;
  }

  #giveToken(): void {
    const came = this.#token;
    if (came === "") return;
    this.#token = "";
    const word = came.trimEnd();
    const isHidden = !this.#isTokenQuiet && this.#isHidden(word);
    this.#write(isHidden ? `null${came.slice(word.length)}` : came);
  }

  /** A number that something is found in has no other form than null. */
  #isHidden(word: string): boolean {
    const { masker, counts } = this.#options;
    if (this.#dropped >= 0 || this.#treatment() === "keep") return false;
    return masker.whole(word, counts) !== word;
  }

  /** What was read up to here stays as it came. */
  #keep(upTo: number): void {
    if (upTo <= this.#from) return;
    this.#write(this.#part.text.slice(this.#from, upTo));
    this.#from = upTo;
  }

  #instead(from: number, to: number, shown: string): void {
    this.#keep(from);
    this.#write(shown);
    this.#from = to;
  }

  #write(text: string): void {
    if (this.#dropped < 0) this.#shown += text;
  }

  /** What came is no JSON from here on, nor was the token before it in its place. */
  #break(at: number): number {
    if (this.#options.otherwise === "refuse")
      throw new NotMaskable("it is no JSON, so nobody knows what its strings say");
    const { masker, counts } = this.#options;
    const { text } = this.#part;
    this.#keep(at);
    this.#from = text.length;
    this.#plain = masker.open(counts);
    this.#dropped = -1;
    this.#write(this.#plain.push(this.#token + text.slice(at)));
    this.#token = "";
    return text.length;
  }

  #tooMuch(at: number, what: string): number {
    if (this.#options.otherwise !== "text") throw new NotMaskable(`its JSON ${what}`);
    this.#keep(at);
    this.#from = this.#part.text.length;
    this.#isCut = true;
    return this.#from;
  }
}

function isOfWord(code: number): boolean {
  return placesOf[code] === 0 && blanks[code] === 0;
}

/** Where a string ends, or is written otherwise than it reads. */
function endsPlain(code: number | undefined): boolean {
  return code === quote || code === backslash;
}

/** The whole of a text that is there. */
export function maskJson(options: JsonMasking, text: string): string {
  const stream = new JsonStream(options);
  return stream.push(text) + stream.end();
}
