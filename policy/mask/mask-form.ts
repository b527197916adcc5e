// Masks a form (application/x-www-form-urlencoded) that comes in pieces: names and values as what they decode to, so `%40` hides nothing. A pair in
// which nothing was found goes out as it was written.
import { decode } from "../http/path.ts";
import { NotMaskable } from "./stream-json.ts";
import { namedContext, type Counts, type StreamMasker } from "./stream.ts";

/** One name with its value is looked at whole: a document in a field is no rarity, a picture is one. */
export const maxPair = 1024 * 1024;

export class FormMasker {
  readonly #masker: StreamMasker;
  readonly #counts: Counts;
  #held = "";

  constructor(masker: StreamMasker, counts: Counts) {
    this.#masker = masker;
    this.#counts = counts;
  }

  /** What may be sent once this has come, too. Throws NotMaskable. */
  push(piece: string): string {
    const end = piece.lastIndexOf("&");
    if (end < 0) {
      this.#hold(this.#held + piece);
      return "";
    }
    const whole = this.#held + piece.slice(0, end);
    this.#hold(piece.slice(end + 1));
    return `${this.#pairs(whole)}&`;
  }

  end(): string {
    const rest = this.#held;
    this.#held = "";
    return this.#pairs(rest);
  }

  #hold(text: string): void {
    if (text.length > maxPair)
      throw new NotMaskable(`a field of the form is longer than ${maxPair} characters`);
    this.#held = text;
  }

  #pairs(text: string): string {
    return text
      .split("&")
      .map((pair) => this.#pair(pair))
      .join("&");
  }

  #pair(pair: string): string {
    const equals = pair.indexOf("=");
    if (equals < 0) return this.#part(pair, "");
    const name = pair.slice(0, equals);
    return `${this.#part(name, "")}=${this.#part(pair.slice(equals + 1), namedContext(read(name)))}`;
  }

  #part(written: string, context: string): string {
    if (written === "") return "";
    const text = read(written);
    const masked = this.#masker.whole(text, this.#counts, context);
    return masked === text ? written : encodeURIComponent(masked).replaceAll("%20", "+");
  }
}

const outsideAscii = /[\u0080-\uffff]+/g;

function read(written: string): string {
  const ascii = written.replaceAll("+", " ").replace(outsideAscii, encodeURIComponent);
  const text = decode(ascii);
  if (text === undefined)
    throw new NotMaskable("the form has a percent-encoding that is none, or is no UTF-8");
  return text;
}
