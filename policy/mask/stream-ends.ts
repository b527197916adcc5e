// Where the undecided end of a text begins: the characters that could still become part of a finding when more text comes.
//
// It may only err on one side: what stands before the place it names must be found, or not, whatever follows (a property test
// compares). Every built-in detector looked at here has a longest match, which bounds what is held back; those without one are in
// stream-long.ts.
import type { DetectorName } from "./detectors.ts";
import { ibanLength } from "./iban-registry.ts";

/** RFC 5321: 64 characters before the @. */
const longestLocalPart = 64;
/** After the @: nine labels of 63 and a last of 24 characters with their dots, each of up to two UTF-16 units. */
const longestDomain = 1_200;
/** A card has 37 characters with its separators, a phone number 44. */
const longestNumber = 48;
/** 34 characters, with separators 67. */
const longestIban = 68;
/** `aws`, `secret` within 20 characters, 40 characters of key within 26 more. */
const longestAwsSecret = 96;
/** From `aws` to the end of `secret`. */
const awsToSecret = 29;
/** What a detector's single words have at most, and what it looks at behind them. */
const longestWord: Readonly<Partial<Record<DetectorName, number>>> = {
  "cloud-key": 270,
  ip: 48,
  "aws-key": 22,
  "national-id": 20,
  // Country and check digits; what follows them is looked at by itself.
  iban: 4,
};
const byNumber: readonly DetectorName[] = ["credit-card", "us-ssn", "phone", "national-id"];

const local = 1;
const domain = 2;
const wordly = 4;

const classes = new Uint8Array(128);
for (const [pattern, kind] of [
  [/[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]/, local],
  [/[A-Za-z0-9.-]/, domain],
  [/[A-Za-z0-9_.:+/=-]/, wordly],
] as const)
  for (let code = 0; code < 128; code += 1)
    if (pattern.test(String.fromCharCode(code))) classes[code] = (classes[code] ?? 0) | kind;

const atSign = 0x40;

/** What is to be looked at, for these detectors. */
export interface EndsPlan {
  readonly email: boolean;
  readonly numbers: boolean;
  /** The longest word. */
  readonly word: number;
  readonly more: readonly ((text: string) => number)[];
}

export function endsPlan(names: ReadonlySet<DetectorName>): EndsPlan {
  return {
    email: names.has("email"),
    numbers: byNumber.some((name) => names.has(name)),
    word: Math.max(0, ...[...names].map((name) => longestWord[name] ?? 0)),
    more: [
      ...(names.has("iban") ? [openIban] : []),
      ...(names.has("national-id") ? [openInsuranceNumber] : []),
      ...(names.has("aws-key") ? [openAwsSecret] : []),
    ],
  };
}

export class OpenEnds {
  readonly #plan: EndsPlan;
  /** Where the last run of characters of a local part begins. */
  #localStart = 0;
  /** Where an address whose @ is there begins, -1 when its domain has ended. */
  #address = -1;
  #at = -1;
  #wordStart = 0;

  constructor(plan: EndsPlan) {
    this.#plan = plan;
  }

  /** The text, of which what stands before `from` was given before, is complete as far as it is known: where its open end begins. */
  after(text: string, from: number): number {
    this.#advance(text, from);
    const { length } = text;
    const { email, numbers, word, more } = this.#plan;
    let open = length;
    if (email) {
      const local = Math.max(this.#localStart, length - longestLocalPart);
      open = this.#address >= 0 ? Math.min(this.#address, local) : local;
    }
    if (word > 0) open = Math.min(open, Math.max(this.#wordStart, length - word));
    if (numbers) open = Math.min(open, openNumber(text));
    for (const of of more) open = Math.min(open, of(text));
    return open;
  }

  /** The text lost its first characters. */
  moved(by: number): void {
    this.#localStart = Math.max(0, this.#localStart - by);
    this.#wordStart = Math.max(0, this.#wordStart - by);
    this.#at -= by;
    if (this.#address >= 0) this.#address = Math.max(0, this.#address - by);
  }

  #advance(text: string, from: number): void {
    const { length } = text;
    // What is further back is decided.
    const first = Math.max(from, length - longestDomain - longestLocalPart);
    if (first > from) {
      this.#localStart = first;
      this.#wordStart = first;
      this.#address = -1;
    }
    for (let index = first; index < length; index += 1) {
      const code = text.charCodeAt(index);
      // Letters of other scripts may stand in an address; which of the rest are letters is not looked up.
      const kind = code < 128 ? (classes[code] ?? 0) : local | domain;
      if ((kind & wordly) === 0) this.#wordStart = index + 1;
      if (code === atSign) {
        this.#address = Math.max(this.#localStart, index - longestLocalPart);
        this.#at = index;
        this.#localStart = index + 1;
        continue;
      }
      if ((kind & domain) === 0) this.#address = -1;
      if ((kind & local) === 0) this.#localStart = index + 1;
    }
    if (this.#address >= 0 && length - this.#at > longestDomain) this.#address = -1;
  }
}

/** Digits with at most two blanks, dots, dashes or parentheses between them. */
function openNumber(text: string): number {
  const { length } = text;
  const floor = Math.max(0, length - longestNumber);
  let open = length;
  let gap = 0;
  for (let index = length - 1; index >= floor && gap <= 2; index -= 1) {
    const code = text.charCodeAt(index);
    if (code >= 0x30 && code <= 0x39) {
      open = index;
      gap = 0;
    } else if (code === 0x2b) return index;
    else if (code === 0x28) {
      open = index;
      gap += 1;
    } else if (code === 0x20 || code === 0x29 || code === 0x2e || code === 0x2d) gap += 1;
    else break;
  }
  return open;
}

const ibanStart = /(?<![A-Za-z0-9])[A-Za-z]{2}\d\d/g;

function openIban(text: string): number {
  const floor = Math.max(0, text.length - longestIban);
  ibanStart.lastIndex = floor;
  for (let match = ibanStart.exec(text); match !== null; match = ibanStart.exec(text)) {
    const length = ibanLength(match[0].slice(0, 2).toUpperCase());
    if (length !== undefined && reachesEnd(text, match.index, length)) return match.index;
  }
  return text.length;
}

/** Fewer than so many letters and digits, at most one blank or dash between two, up to the end of the text. */
function reachesEnd(text: string, from: number, most: number): boolean {
  let count = 0;
  let gap = 0;
  for (let index = from; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code === 0x20 || code === 0x2d) gap += 1;
    else if (code < 128 && /[A-Za-z0-9]/.test(text[index] ?? "")) {
      count += 1;
      gap = 0;
    } else return false;
    if (gap > 1 || count >= most) return false;
  }
  return true;
}

/** The United Kingdom's, as it is printed; its first two letters alone are a word. */
function openInsuranceNumber(text: string): number {
  const tail = text.slice(-14);
  const match = /(?<!\w)[A-Z]{2}(?: \d\d?){0,3} ?[A-D]?$/.exec(tail);
  return match === null ? text.length : text.length - tail.length + match.index;
}

const aws = /aws?$|aws/gi;

function openAwsSecret(text: string): number {
  const { length } = text;
  aws.lastIndex = Math.max(0, length - longestAwsSecret);
  for (let match = aws.exec(text); match !== null; match = aws.exec(text)) {
    const rest = text.slice(match.index, match.index + awsToSecret);
    if (match.index + rest.length === length || /secret/i.test(rest)) return match.index;
  }
  return length;
}
