// A first look at the bytes of a text: which detectors could find something in it. One pass, no decoding; most cells end here.
//
// It may only err on one side: what it does not name, the detector itself must not find (a property test compares them).
import { detectorNames, type DetectorName } from "./detectors.ts";
import { ibanLength } from "./iban-registry.ts";

/** One bit a detector, in the order of `detectorNames`. */
export type Suspects = number;

/** Which of the detectors it was made for may find something in these UTF-8 bytes; 0 when none can. */
export type Look = (bytes: Uint8Array, start: number, end: number) => Suspects;

/** Of detectors that every text is given to. */
export const anyText: Suspects = 1 << 30;

export function bitOf(name: DetectorName): Suspects {
  return 1 << detectorNames.indexOf(name);
}

const bit = {
  email: bitOf("email"),
  card: bitOf("credit-card"),
  iban: bitOf("iban"),
  ssn: bitOf("us-ssn"),
  phone: bitOf("phone"),
  ip: bitOf("ip"),
  jwt: bitOf("jwt"),
  privateKey: bitOf("private-key"),
  aws: bitOf("aws-key"),
  nationalId: bitOf("national-id"),
  cloud: bitOf("cloud-key"),
};

/** What a byte makes us look at; every other byte costs one load. */
const digit = 1;
const at = 2;
const colon = 3;
const dot = 4;
const dash = 5;
const capitalI = 6;
const letterW = 7;
const underscore = 8;
const equals = 9;

const byDigit = bit.card | bit.iban | bit.ssn | bit.phone | bit.ip | bit.nationalId;
const triggers: readonly (readonly [string, number, Suspects])[] = [
  ["0123456789", digit, byDigit],
  ["@", at, bit.email],
  [":", colon, bit.ip],
  [".", dot, bit.jwt],
  ["-", dash, bit.privateKey | bit.cloud],
  ["I", capitalI, bit.aws | bit.cloud],
  ["wW", letterW, bit.aws],
  ["_", underscore, bit.cloud],
  ["=", equals, bit.cloud],
];

export function createLook(names: readonly DetectorName[]): Look {
  const wanted = names.reduce((bits, name) => bits | bitOf(name), 0);
  const classes = new Uint8Array(256);
  for (const [characters, kind, serves] of triggers)
    if ((wanted & serves) !== 0) for (const byte of Buffer.from(characters)) classes[byte] = kind;
  const groups = new DigitGroups();
  return (bytes, start, end) => {
    let found = 0;
    groups.begin();
    let lastColon = -2;
    let colons = 0;
    for (let index = start; index < end; index += 1) {
      switch (classes[bytes[index] ?? 0]) {
        case 0:
          break;
        case digit: {
          let stop = index + 1;
          while (stop < end && isDigit(bytes[stop])) stop += 1;
          found |= groups.next(bytes, start, index, stop);
          index = stop - 1;
          break;
        }
        case at:
          found |= bit.email;
          break;
        case colon:
          // Groups of an address have at most four digits; `::` stands for any number of them.
          colons = index - lastColon <= 5 ? colons + 1 : 1;
          if (index - lastColon === 1 || colons >= 6) found |= bit.ip;
          lastColon = index;
          break;
        case dot:
          if (is(bytes, index + 1, end, "eyJ")) found |= bit.jwt;
          break;
        case dash:
          if (is(bytes, index + 1, end, "----BEGIN ")) found |= bit.privateKey;
          else if (index - start > 1 && isBeforeDash(bytes, index)) found |= bit.cloud;
          break;
        case capitalI:
          // AKIA, ASIA; AIza
          if (bytes[index + 1] === 0x41 && bytes[index - 2] === 0x41) found |= bit.aws;
          if (bytes[index + 1] === 0x7a) found |= bit.cloud;
          break;
        case underscore:
          // gh?_, sk_, rk_; github_pat_
          if (
            bytes[index - 1] === 0x6b ||
            bytes[index - 3] === 0x67 ||
            is(bytes, index + 1, end, "pat_")
          )
            found |= bit.cloud;
          break;
        case equals:
          // Key=
          if (bytes[index - 1] === 0x79 && bytes[index - 3] === 0x4b) found |= bit.cloud;
          break;
        default:
          if (isLetter(bytes[index - 1], 0x61) && isLetter(bytes[index + 1], 0x73))
            found |= bit.aws;
      }
    }
    return found & wanted;
  };
}

/** Groups of digits and what stands between them: the form of cards, phone numbers, addresses and the like. */
class DigitGroups {
  #end = -1;
  /** Digits joined by at most one blank or dash. */
  #strict = 0;
  /** Digits joined by at most two of blank, parenthesis, dot and dash. */
  #loose = 0;
  #plus = false;
  #dots = 0;
  #last = 0;
  #beforeLast = 0;

  /** Another text begins. */
  begin(): void {
    this.#end = -1;
  }

  /** The group from `from` up to `to` of a text that begins at `start`. */
  next(bytes: Uint8Array, start: number, from: number, to: number): Suspects {
    const length = to - from;
    const gap = this.#end < 0 ? Number.POSITIVE_INFINITY : from - this.#end;
    const before = from > start ? (bytes[from - 1] ?? 0) : 0;
    const strict = gap === 1 && (before === 0x20 || before === 0x2d);
    const loose = gap <= 2 && isLoose(before) && (gap === 1 || isLoose(bytes[from - 2] ?? 0));
    this.#strict = strict ? this.#strict + length : length;
    this.#dots = gap === 1 && before === 0x2e ? this.#dots + 1 : 0;
    if (!loose) {
      this.#plus = before === 0x2b;
      this.#loose = 0;
      this.#last = 0;
      this.#beforeLast = 0;
    }
    this.#loose += length;
    let found = this.#found(length);
    if (isIban(bytes, start, from, length)) found |= bit.iban;
    if (this.#isNational(length, before, bytes[to] ?? 0, bytes[to + 1] ?? 0))
      found |= bit.nationalId;
    this.#end = to;
    this.#beforeLast = this.#last;
    this.#last = length;
    return found;
  }

  #found(length: number): Suspects {
    let found = 0;
    if (this.#strict >= 13) found |= bit.card;
    if (length === 4 && this.#isAfter(3, 2)) found |= bit.ssn;
    if (length === 4 && this.#isAfter(3, 3)) found |= bit.phone;
    if (this.#plus && this.#loose >= 8) found |= bit.phone;
    if (this.#dots >= 3) found |= bit.ip;
    return found;
  }

  /** A number of the length of one that has check digits, beside what may stand there, or its groups as they are printed. */
  #isNational(length: number, before: number, after: number, next: number): boolean {
    switch (length) {
      case 2:
        return this.#isAfter(3, 3) || (this.#isAfter(2, 2) && after === 0x20 && isWord(next));
      case 3:
        return this.#isAfter(3, 3) || (isWord(before) && isWord(after));
      case 4:
        return this.#isAfter(4, 4);
      case 6:
        return isWord(before) || after === 0x2d;
      case 7:
        return isWord(before) || before === 0x2d;
      case 8:
        return isWord(after) || after === 0x2d;
      default:
        return length === 11 || length === 15;
    }
  }

  #isAfter(beforeLast: number, last: number): boolean {
    return this.#beforeLast === beforeLast && this.#last === last;
  }
}

function isIban(bytes: Uint8Array, start: number, from: number, length: number): boolean {
  if (length < 2 || from - start < 2) return false;
  const first = (bytes[from - 2] ?? 0) & 0xdf;
  const second = (bytes[from - 1] ?? 0) & 0xdf;
  if (first < 0x41 || first > 0x5a || second < 0x41 || second > 0x5a) return false;
  return ibanLength(String.fromCharCode(first, second)) !== undefined;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

/** A letter, ASCII or not. */
function isWord(byte: number): boolean {
  return byte >= 0x41 && (byte <= 0x5a || (byte >= 0x61 && byte !== 0x7b && byte !== 0x7d));
}

/** Before a dash: what GitLab's, Slack's and OpenAI's tokens begin with. */
function isBeforeDash(bytes: Uint8Array, index: number): boolean {
  const last = bytes[index - 1] ?? 0;
  return (
    (last === 0x6b && bytes[index - 2] === 0x73) ||
    (last === 0x74 && bytes[index - 2] === 0x61) ||
    (bytes[index - 2] === 0x78 && bytes[index - 3] === 0x6f)
  );
}

function isLoose(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x28 && byte <= 0x29) || byte === 0x2e || byte === 0x2d;
}

/** Whether it is this letter, in either case. */
function isLetter(byte: number | undefined, lower: number): boolean {
  return byte !== undefined && (byte | 0x20) === lower;
}

function is(bytes: Uint8Array, from: number, end: number, text: string): boolean {
  if (end - from < text.length) return false;
  for (let index = 0; index < text.length; index += 1)
    if (bytes[from + index] !== text.charCodeAt(index)) return false;
  return true;
}
