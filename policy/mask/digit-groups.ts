// Groups of digits in the bytes of a text: which detectors could find something that ends with one of them.
import { bitOf, type Suspects } from "./detector-bits.ts";
import { ibanLength } from "./iban-registry.ts";

const bit = {
  card: bitOf("credit-card"),
  iban: bitOf("iban"),
  ssn: bitOf("us-ssn"),
  phone: bitOf("phone"),
  ip: bitOf("ip"),
  nationalId: bitOf("national-id"),
};

/** Groups of digits and what stands between them: the form of cards, phone numbers, addresses and the like. */
const shortestCard = 13;
const shortestPhone = 8;
/** Between a group and none before it. */
const farAway = 1 << 29;

export class DigitGroups {
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
    const gap = this.#end < 0 ? farAway : from - this.#end;
    const before = from > start ? (bytes[from - 1] ?? 0) : 0;
    const loose = gap <= 2 && isLoose(before) && (gap === 1 || isLoose(bytes[from - 2] ?? 0));
    this.#end = to;
    let found = 0;
    if (loose) {
      const strict = gap === 1 && (before === 0x20 || before === 0x2d);
      this.#strict = strict ? this.#strict + length : length;
      this.#dots = gap === 1 && before === 0x2e ? this.#dots + 1 : 0;
      this.#loose += length;
      found = this.#joined(length, bytes, to);
      this.#beforeLast = this.#last;
    } else {
      this.#plus = before === 0x2b;
      this.#strict = length;
      this.#loose = length;
      this.#dots = 0;
      if (length >= shortestCard) found = bit.card;
      if (this.#plus && length >= shortestPhone) found |= bit.phone;
      this.#beforeLast = 0;
    }
    this.#last = length;
    if (before >= 0x41 && isIban(bytes, start, from, length)) found |= bit.iban;
    return isAlone(length, before, bytes[to] ?? 0) ? found | bit.nationalId : found;
  }

  /** A group of this length behind those before it. */
  #joined(length: number, bytes: Uint8Array, to: number): Suspects {
    let found = 0;
    if (this.#strict >= shortestCard) found |= bit.card;
    if (this.#dots >= 3) found |= bit.ip;
    if (this.#plus && this.#loose >= shortestPhone) found |= bit.phone;
    if (length === 4) {
      if (this.#isAfter(3, 2)) found |= bit.ssn;
      if (this.#isAfter(3, 3)) found |= bit.phone;
      if (this.#isAfter(4, 4)) found |= bit.nationalId;
    } else if (length === 3 && this.#isAfter(3, 3)) found |= bit.nationalId;
    else if (length === 2) found |= this.#pair(bytes, to);
    return found;
  }

  /** Two digits behind others: `123.456.789-09`, `AB 12 34 56 C`. */
  #pair(bytes: Uint8Array, to: number): Suspects {
    const isOver = bytes[to] === 0x20 && isWord(bytes[to + 1] ?? 0);
    return this.#isAfter(3, 3) || (isOver && this.#isAfter(2, 2)) ? bit.nationalId : 0;
  }

  #isAfter(beforeLast: number, last: number): boolean {
    return this.#beforeLast === beforeLast && this.#last === last;
  }
}

/** A number of the length of one that has check digits, beside what may stand there. */
function isAlone(length: number, before: number, after: number): boolean {
  switch (length) {
    case 3:
      return isWord(before) && isWord(after);
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

function isIban(bytes: Uint8Array, start: number, from: number, length: number): boolean {
  if (length < 2 || from - start < 2) return false;
  const first = (bytes[from - 2] ?? 0) & 0xdf;
  const second = (bytes[from - 1] ?? 0) & 0xdf;
  if (first < 0x41 || first > 0x5a || second < 0x41 || second > 0x5a) return false;
  return ibanLength(String.fromCharCode(first, second)) !== undefined;
}

/** A letter, ASCII or not. */
function isWord(byte: number): boolean {
  return byte >= 0x41 && (byte <= 0x5a || (byte >= 0x61 && byte !== 0x7b && byte !== 0x7d));
}

function isLoose(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x28 && byte <= 0x29) || byte === 0x2e || byte === 0x2d;
}
