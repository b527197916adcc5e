// Tokens that look like the value: every digit becomes a digit, every letter a letter of its case, the rest stays.
//
// The letters and digits of a value are two numbers of mixed radix, left half and right half, and an alternating Feistel
// network adds to each in turn a keyed function of the other (the construction of NIST SP 800-38G's FF1, with HMAC-SHA256
// as round function and the value's own pattern as tweak). Under one key different values of one pattern therefore never
// share a token, equal values always do, and without the key nothing but the pattern is to be had. A pattern of few
// characters has few values: whoever may see many tokens beside their values can list them.
import { createHmac } from "node:crypto";

/** FF1 has ten rounds. */
const rounds = 10;
/**
 * Longer values are replaced character by character from a keyed stream of the whole value: two of them share a token
 * with a chance below 10^-60, and arithmetic on longer numbers would cost more than it brings.
 */
const maxFeistelCharacters = 64;
/** Bits beyond the modulus, so that no remainder is likelier than another. */
const spareBits = 64;

const digits = "0123456789";
const lower = "abcdefghijklmnopqrstuvwxyz";
const upper = lower.toUpperCase();

interface Letter {
  readonly at: number;
  readonly alphabet: string;
}

export type Tokenize = (value: string) => string;

export function createTokenize(key: Uint8Array): Tokenize {
  const own = createHmac("sha256", key).update("chaperone tokenize 1").digest();
  return (value) => {
    const characters = Array.from(value, outsideAscii);
    const letters: Letter[] = [];
    const pattern = characters.map((character, at) => {
      const alphabet = [digits, lower, upper].find((one) => one.includes(character));
      if (alphabet !== undefined) letters.push({ at, alphabet });
      return alphabet?.[0] ?? character;
    });
    const replaced =
      letters.length > maxFeistelCharacters
        ? streamed(own, value, letters)
        : permuted(own, pattern.join(""), letters, characters);
    for (const [index, { at }] of letters.entries()) characters[at] = replaced[index] ?? "";
    return characters.join("");
  };
}

/** Letters and digits of other scripts are no part of the token, and do not stay either. */
function outsideAscii(character: string): string {
  if (character < "\u0080") return character;
  if (/\p{Lu}/u.test(character)) return "X";
  if (/[\p{L}\p{M}]/u.test(character)) return "x";
  return /\p{N}/u.test(character) ? "0" : character;
}

function streamed(key: Uint8Array, value: string, letters: readonly Letter[]): readonly string[] {
  const seed = createHmac("sha256", key).update("long ").update(value, "utf8").digest();
  return letters.map(({ alphabet }, index) => {
    const drawn = draw(seed, `${index}`, BigInt(alphabet.length));
    return alphabet[Number(drawn)] ?? "";
  });
}

function permuted(
  key: Uint8Array,
  pattern: string,
  letters: readonly Letter[],
  characters: readonly string[],
): readonly string[] {
  const half = Math.ceil(letters.length / 2);
  const halves = [letters.slice(0, half), letters.slice(half)] as const;
  const sizes = halves.map((part) =>
    part.reduce((size, { alphabet }) => size * BigInt(alphabet.length), 1n),
  );
  const numbers = halves.map((part) =>
    part.reduce(
      (number, { at, alphabet }) =>
        number * BigInt(alphabet.length) + BigInt(alphabet.indexOf(characters[at] ?? "")),
      0n,
    ),
  );
  for (let round = 0; round < rounds; round += 1) {
    const here = round % 2;
    const size = sizes[here] ?? 1n;
    const other = numbers[1 - here] ?? 0n;
    numbers[here] =
      ((numbers[here] ?? 0n) + draw(key, `${round} ${other} ${pattern}`, size)) % size;
  }
  return halves.flatMap((part, index) => written(numbers[index] ?? 0n, part));
}

function written(number: bigint, letters: readonly Letter[]): string[] {
  let rest = number;
  return letters
    .toReversed()
    .map(({ alphabet }) => {
      const size = BigInt(alphabet.length);
      const character = alphabet[Number(rest % size)] ?? "";
      rest /= size;
      return character;
    })
    .toReversed();
}

/** A number below `size`, drawn by the key from the text. */
function draw(key: Uint8Array, text: string, size: bigint): bigint {
  const bytes = Math.ceil((size.toString(2).length + spareBits) / 8);
  let hex = "";
  for (let block = 0; hex.length < 2 * bytes; block += 1)
    hex += createHmac("sha256", key).update(`${block} ${text}`, "utf8").digest("hex");
  return BigInt(`0x${hex}`) % size;
}
