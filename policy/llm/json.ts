// JSON that every reader reads alike: UTF-8, no name twice in one object, bounded depth and numbers. Parsers differ on the rest, so it is
// refused; half a surrogate pair is written as the U+FFFD that most of them would make of it.

/** Deepest nesting looked at; tool schemas stay far below. */
export const maxDepth = 100;
/** Digits of one number: more than a double or any integer of a protocol has, and what a parser of large numbers would spend its time on. */
export const maxNumberLength = 128;

export type StrictJson =
  | {
      readonly value: unknown;
      /** What was read: the body, but for halves of surrogate pairs. Whoever is to read the same gets this. */
      readonly text: string;
    }
  | { readonly problem: string };

export function parseStrict(body: Uint8Array | string): StrictJson {
  const decoded = typeof body === "string" ? body.toWellFormed() : decodeUtf8(body);
  if (decoded === undefined) return { problem: "the body is no UTF-8" };
  const text = withoutHalves(decoded);
  const problem = ambiguity(text);
  if (problem !== undefined) return { problem };
  try {
    return { value: JSON.parse(text), text };
  } catch {
    return { problem: "the body is no JSON" };
  }
}

function decodeUtf8(body: Uint8Array): string | undefined {
  try {
    // A byte order mark stays in the text, where JSON.parse refuses it.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return undefined;
  }
}

const surrogate = /\\u[dD][89a-fA-F]/;
/** Any escape, so that the second backslash of `\\ud800` begins none; pairs stand whole. */
const escapes = /\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u[\da-fA-F]{4}|[^])/g;

/** JSON in which every character is whole: an escape that is half a surrogate pair is that of U+FFFD. */
export function withoutHalves(text: string): string {
  if (!surrogate.test(text)) return text;
  return text.replace(escapes, (escape) =>
    escape.length === 6 && surrogate.test(escape) ? String.raw`\ufffd` : escape,
  );
}

/** One level of nesting: the names seen in an object, or null for an array. */
type Level = Set<string> | null;

const quote = 0x22;
const comma = 0x2c;
const minus = 0x2d;
const zero = 0x30;
const nine = 0x39;
const openingBracket = 0x5b;
const closingBracket = 0x5d;
const openingBrace = 0x7b;
const closingBrace = 0x7d;

/**
 * Why readers could take the text differently, or spend themselves on it; looked for before it is parsed. JSON.parse keeps the
 * last of two equal names, other parsers the first.
 */
function ambiguity(text: string): string | undefined {
  const levels: Level[] = [];
  let expectsName = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    switch (code) {
      case openingBrace:
      case openingBracket:
        if (levels.length >= maxDepth) return `the body is nested deeper than ${maxDepth} levels`;
        expectsName = code === openingBrace;
        levels.push(expectsName ? new Set() : null);
        break;
      case closingBrace:
      case closingBracket:
        levels.pop();
        expectsName = false;
        break;
      case comma:
        expectsName = levels.at(-1) instanceof Set;
        break;
      case quote: {
        const end = endOfString(text, at);
        const problem = expectsName ? noteName(levels, text.slice(at, end + 1)) : undefined;
        if (problem !== undefined) return problem;
        expectsName = false;
        at = end;
        break;
      }
      default:
        if (code === minus || (code >= zero && code <= nine)) {
          const end = endOfNumber(text, at);
          if (end - at > maxNumberLength)
            return `the body has a number of more than ${maxNumberLength} characters`;
          at = end - 1;
        }
    }
  }
  return undefined;
}

function noteName(levels: readonly Level[], quoted: string): string | undefined {
  const name = readName(quoted);
  // Readers in C end a name there.
  if (name.includes("\0")) return "the body has a name with a NUL in it";
  const names = levels.at(-1);
  if (names?.has(name) === true)
    return `the body names ${JSON.stringify(name.slice(0, 64))} twice in one object`;
  names?.add(name);
  return undefined;
}

/** Index of the closing quote, or of the end of the text. */
export function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text[before] === "\\") before -= 1;
    if ((end - before) % 2 === 1) return end;
  }
  return text.length;
}

function endOfNumber(text: string, start: number): number {
  let end = start + 1;
  while (end < text.length && /[\d.eE+-]/.test(text[end] ?? "")) end += 1;
  return end;
}

/** `"mod\u0065l"` is the name `model`; what is no JSON string is refused when it is parsed. */
function readName(quoted: string): string {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  try {
    const name: unknown = JSON.parse(quoted);
    return typeof name === "string" ? name : quoted;
  } catch {
    return quoted;
  }
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
