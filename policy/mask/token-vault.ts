// Reversible tokens: what stands for a value that must not leave, and is given back to whoever sent it. A token says what it stands for and nothing
// of the value: `email-` and letters drawn from it by a key that never leaves this process.
//
// The letters are consonants: models copy such a word as it is, no detector takes it for a number, and it spells nothing. They depend on the value alone,
// so one value has one token as long as the vault lives: a conversation that is sent again reads the same. Only tokens that were made here are known
// here, and one is guessed once in 10^15.
import { createHmac } from "node:crypto";

const alphabet = "bcdfghjklmnpqrstvwxz";
/** 20^12 is 52 bits. */
const tokenLetters = 12;

/** Values that a vault keeps; a token whose value was dropped is no longer given back. An agent's conversations hold tens to hundreds. */
export const maxValues = 10_000;
/** Of all values together, in UTF-16 units. */
export const maxValuesLength = 4 * 1024 * 1024;
/** Of one; what is longer (no detector finds any) is hidden for good. */
export const maxValueLength = 64 * 1024;

interface Kept {
  readonly detector: string;
  readonly value: string;
}

export class TokenVault {
  readonly #key: Uint8Array;
  /** By token, the one used longest ago first. */
  readonly #kept = new Map<string, Kept>();
  readonly #names = new Set<string>();
  #length = 0;

  /** @param key secret, of this vault alone */
  constructor(key: Uint8Array) {
    this.#key = key;
  }

  get isEmpty(): boolean {
    return this.#kept.size === 0;
  }

  /** Detectors whose findings tokens stand for. */
  get names(): readonly string[] {
    return [...this.#names];
  }

  /** The token for this value; undefined where it cannot be kept, and has to be hidden for good. */
  token(detector: string, value: string): string | undefined {
    if (value.length > maxValueLength) return undefined;
    const token = `${detector}-${this.#letters(detector, value)}`;
    const known = this.#kept.get(token);
    if (known !== undefined && known.value !== value) return undefined;
    this.#kept.delete(token);
    if (known === undefined) this.#length += value.length;
    this.#kept.set(token, { detector, value });
    this.#names.add(detector);
    this.#drop();
    return token;
  }

  /** What this token of ours stands for, in whichever case it is written. */
  value(token: string): string | undefined {
    return this.#kept.get(token.toLowerCase())?.value;
  }

  #drop(): void {
    for (const [token, { value }] of this.#kept) {
      if (this.#kept.size <= maxValues && this.#length <= maxValuesLength) return;
      this.#kept.delete(token);
      this.#length -= value.length;
    }
  }

  #letters(detector: string, value: string): string {
    const digest = createHmac("sha256", this.#key)
      .update(`${detector.length} ${detector} ${value}`, "utf8")
      .digest();
    let number = digest.readBigUInt64BE(0);
    let letters = "";
    for (let count = 0; count < tokenLetters; count += 1) {
      letters += alphabet[Number(number % BigInt(alphabet.length))] ?? "";
      number /= BigInt(alphabet.length);
    }
    return letters;
  }
}

/** What a token of one of these detectors looks like, whether it is known or not. */
export interface TokenForm {
  /** Where the first one from here on begins, -1 for none; which name it has is tried one by one. */
  readonly any: RegExp;
  /** Where, from here on, the end of the text begins that could still become one. */
  openEnd(text: string, from: number): number;
  /** The tokens that could begin here, whole. */
  at(text: string, index: number): readonly string[];
}

export function tokenForm(names: readonly string[]): TokenForm {
  const heads = names.map((name) => `${name}-`);
  const longest = Math.max(0, ...heads.map((head) => head.length)) + tokenLetters;
  const letters = new RegExp(`^[${alphabet}]*$`, "i");
  const isOpen = (tail: string): boolean =>
    heads.some((head) =>
      tail.length <= head.length
        ? head.startsWith(tail.toLowerCase())
        : tail.toLowerCase().startsWith(head) &&
          tail.length < head.length + tokenLetters &&
          letters.test(tail.slice(head.length)),
    );
  return {
    any: new RegExp(`(?:${names.map(escaped).join("|")})-[${alphabet}]{${tokenLetters}}`, "gi"),
    openEnd(text, from) {
      const first = Math.max(from, text.length - longest + 1);
      for (let index = first; index < text.length; index += 1)
        if (isOpen(text.slice(index))) return index;
      return text.length;
    },
    at: (text, index) =>
      heads.flatMap((head) => {
        const token = text.slice(index, index + head.length + tokenLetters);
        const fits =
          token.length === head.length + tokenLetters &&
          token.toLowerCase().startsWith(head) &&
          letters.test(token.slice(head.length));
        return fits ? [token] : [];
      }),
  };
}

function escaped(text: string): string {
  return text.replaceAll(/[^a-z0-9]/gi, String.raw`\$&`);
}
