// The field lines of an HTTP/1.1 message (RFC 9112 section 5), read alike from agents and from upstreams; each says in its own words what is wrong with one.

/** Different spellings kept, so that each is checked and put into lower case once: a connection sees the same ones again. */
const maxKnownNames = 256;
/** RFC 9110 section 5.6.2. */
const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** RFC 9110 section 5.5: visible characters, blanks and bytes over 127. */
const valueFault = /[^\t\x20-\x7e\x80-\xff]/;

export interface FieldFaults {
  malformed(what: string): Error;
  tooMany(most: number): Error;
}

export class FieldLines {
  readonly #faults: FieldFaults;
  readonly #known = new Map<string, string>();

  constructor(faults: FieldFaults) {
    this.#faults = faults;
  }

  /**
   * Reads the lines from `from` to the end of the text, without the empty line behind them. Throws what the faults say.
   *
   * @param into gets each name, in lower case, and its value without the blanks around it
   */
  read(text: string, from: number, most: number, into: string[]): void {
    let lines = 0;
    for (let at = from; at <= text.length;) {
      const found = text.indexOf("\r\n", at);
      const end = found < 0 ? text.length : found;
      const colon = text.indexOf(":", at);
      if (colon < 0 || colon >= end) throw this.#faults.malformed("a header line has no colon");
      if (++lines > most) throw this.#faults.tooMany(most);
      into.push(this.#name(text.slice(at, colon)), this.#value(text, colon + 1, end));
      at = end + 2;
    }
  }

  #name(spelled: string): string {
    const known = this.#known.get(spelled);
    if (known !== undefined) return known;
    if (!tokenPattern.test(spelled))
      throw this.#faults.malformed("a header has a name that is no token");
    const name = spelled.toLowerCase();
    if (this.#known.size < maxKnownNames) this.#known.set(spelled, name);
    return name;
  }

  #value(text: string, from: number, to: number): string {
    let start = from;
    let end = to;
    while (start < end && isBlank(text.charCodeAt(start))) start += 1;
    while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
    const value = text.slice(start, end);
    if (valueFault.test(value))
      throw this.#faults.malformed("a header has a value with control characters");
    return value;
  }
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
