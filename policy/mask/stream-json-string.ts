// One string of JSON that comes in pieces: decoded, masked by its treatment, and written again where that changed it.
import type { Counts, StreamMasker, TextStream } from "./stream.ts";

export interface StringMasking {
  readonly masker: StreamMasker;
  readonly counts: Counts;
  /** What detectors see before it. */
  readonly context: string;
  readonly treatment: "text" | "json" | "keep" | "opaque";
  readonly inner: () => TextStream;
  /** It is masked whole, and may have so many characters. */
  readonly whole?: number;
}

export interface StringRead {
  /** What goes out, quotes included. */
  readonly shown: string;
  /** Where reading goes on. */
  readonly next: number;
  readonly isOver: boolean;
  readonly isTooLong: boolean;
  /** Must be read again with what follows. */
  readonly rest: string;
}

/** Control characters too: readers differ on whether they may stand in a string. */
const plainRun = /[^"\\]*/y;
const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const openEscape = /^\\(?:u[0-9a-fA-F]{0,3})?$/;
const base64 = /^[A-Za-z0-9+/_=-]*$/;
/** Characters; shorter base64 could as well be a number or a key. */
const shortestOpaque = 64;

/** Base64 of either alphabet: sound, pictures and what only a provider can read. */
export function isOpaque(value: string): boolean {
  return value.length >= shortestOpaque && base64.test(value);
}

/** Of what goes on with a text that is opaque. */
export function goesOnOpaque(value: string): boolean {
  return base64.test(value);
}

export class StringBody {
  readonly #options: StringMasking;
  /** How it was written, until it is known that it goes out in pieces. */
  #raw = "";
  #value = "";
  #isStreaming = false;
  #stream: TextStream | undefined;
  #half = "";

  constructor(options: StringMasking) {
    this.#options = options;
  }

  /** Its value, of a string that is read whole. */
  name(): string {
    return this.#value;
  }

  read(text: string, from: number, isEnd: boolean): StringRead {
    let at = from;
    for (;;) {
      plainRun.lastIndex = at;
      const run = plainRun.exec(text)?.[0] ?? "";
      this.#take(run, run);
      at += run.length;
      if (text[at] === '"') return { ...going, shown: this.#close(), next: at + 1, isOver: true };
      if (at >= text.length) return this.#pause(at, "");
      escape.lastIndex = at;
      const escaped = escape.exec(text)?.[0];
      if (escaped !== undefined) {
        this.#take(escaped, decode(escaped));
        at += escaped.length;
      } else if (!isEnd && openEscape.test(text.slice(at, at + 7)))
        return this.#pause(text.length, text.slice(at));
      else {
        // No reader takes it; it stays as it is.
        this.#take("\\", "\\");
        at += 1;
      }
    }
  }

  /** Nothing follows, the closing quote neither. */
  end(): string {
    return this.#flow() + this.#written(this.#stream?.end() ?? "", true);
  }

  #take(raw: string, value: string): void {
    this.#raw += raw;
    this.#value += value;
  }

  /** The end of what came lies inside the string: what is decided of it goes out. */
  #pause(next: number, rest: string): StringRead {
    const { whole, treatment } = this.#options;
    const isOpen =
      treatment === "opaque" && !this.#isStreaming && this.#value.length < shortestOpaque;
    if (isOpen) return { ...going, next, rest };
    if (whole !== undefined) return { ...going, next, rest, isTooLong: this.#value.length > whole };
    return { ...going, next, rest, shown: this.#flow() };
  }

  #flow(): string {
    const isFirst = !this.#isStreaming;
    const opening = isFirst ? '"' : "";
    this.#isStreaming = true;
    const raw = this.#raw;
    const value = this.#value;
    this.#raw = "";
    this.#value = "";
    if (this.#stream === undefined && this.#isLeftAlone(value, isFirst)) return opening + raw;
    this.#stream ??= this.#open();
    return opening + this.#written(this.#stream.push(value), false);
  }

  #close(): string {
    if (this.#isStreaming)
      return `${this.#flow()}${this.#written(this.#stream?.end() ?? "", true)}"`;
    const masked = this.#masked();
    return masked === this.#value ? `"${this.#raw}"` : JSON.stringify(masked);
  }

  /** As it stands between quotes; the first half of a surrogate pair waits for the second, which spells it without an escape. */
  #written(value: string, isEnd: boolean): string {
    const whole = this.#half + value;
    const cut = !isEnd && /[\ud800-\udbff]$/.test(whole) ? whole.length - 1 : whole.length;
    this.#half = whole.slice(cut);
    return cut === 0 ? "" : JSON.stringify(whole.slice(0, cut)).slice(1, -1);
  }

  #masked(): string {
    const { masker, counts, context, treatment } = this.#options;
    if (this.#isLeftAlone(this.#value, true)) return this.#value;
    if (treatment !== "json") return masker.whole(this.#value, counts, context);
    const inner = this.#open();
    return inner.push(this.#value) + inner.end();
  }

  #isLeftAlone(value: string, isFirst: boolean): boolean {
    const { treatment } = this.#options;
    if (treatment !== "opaque") return treatment === "keep";
    return isFirst ? isOpaque(value) : goesOnOpaque(value);
  }

  #open(): TextStream {
    const { masker, counts, context, treatment, inner } = this.#options;
    return treatment === "json" ? inner() : masker.open(counts, context);
  }
}

const going: StringRead = { shown: "", next: 0, isOver: false, isTooLong: false, rest: "" };

function decode(escaped: string): string {
  const kind = escaped[1] ?? "";
  if (kind === "u") return String.fromCharCode(Number.parseInt(escaped.slice(2), 16));
  return short[kind] ?? kind;
}

const short: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };
