// How a value may be written, so that detectors read it as the database will: escapes of JSON, of arrays and rows, bytes in hex, numbers with exponents.

const maxHexNumber = 64;
const oddNumber = /^\s*[+-]?(?:0[xob][0-9a-f_]+|[\d_.]+(?:e[+-]?\d+)?)\s*$/i;

/** The text itself, and what else the database may make of it. */
export function* readingsOf(text: string): Generator<string> {
  yield text;
  if (text.includes("\\")) yield* unescaped(text);
  const number = plainNumber(text);
  if (number !== undefined && number !== text) yield number;
}

/** Arrays and rows keep what follows a backslash, JSON and bytea read more in it; a value of theirs may stand in an array. */
function* unescaped(text: string): Generator<string> {
  const kept = withoutBackslashes(text, keepNext);
  yield kept;
  yield withoutBackslashes(text, readEscape);
  if (kept.includes("\\")) yield withoutBackslashes(kept, readEscape);
}

/** Characters as numbers, and how many of them there are. */
interface Written {
  readonly units: Uint16Array;
  length: number;
}

/** Reads what stands behind a backslash, writes what it means, and says where to go on. */
type Escape = (text: string, at: number, into: Written) => number;

/** A value has up to eight megabytes: a loop over numbers takes a tenth of the time of replacements. */
function withoutBackslashes(text: string, escape: Escape): string {
  const into: Written = { units: new Uint16Array(text.length), length: 0 };
  for (let at = 0; at < text.length;) {
    const unit = text.charCodeAt(at);
    if (unit === backslash) at = escape(text, at + 1, into);
    else {
      into.units[into.length++] = unit;
      at += 1;
    }
  }
  return Buffer.from(into.units.buffer, 0, into.length * 2).toString("utf16le");
}

const backslash = 0x5c;
const letterU = 0x75;
const letterX = 0x78;
/** What JSON writes so; they part words as a blank does. */
const blanks: ReadonlySet<number> = new Set(Buffer.from("bfnrt"));
const blank = 0x20;

const keepNext: Escape = (text, at, into) => {
  if (at < text.length) into.units[into.length++] = text.charCodeAt(at);
  return at + 1;
};

/** `\u0034` of JSON, `\x3431` and `\064` of bytea. */
const readEscape: Escape = (text, at, into) => {
  const unit = text.charCodeAt(at);
  if (unit === letterX) return readHex(text, at + 1, into);
  const digits = unit === letterU ? digitsAt(text, at + 1, 4, 16) : digitsAt(text, at, 3, 8);
  if (digits >= 0) {
    into.units[into.length++] = digits;
    return at + (unit === letterU ? 5 : 3);
  }
  if (!blanks.has(unit)) return keepNext(text, at, into);
  into.units[into.length++] = blank;
  return at + 1;
};

/** The server skips blanks between the bytes. */
function readHex(text: string, from: number, into: Written): number {
  let at = from;
  while (at < text.length) {
    if (text.charCodeAt(at) <= blank) {
      at += 1;
      continue;
    }
    const byte = digitsAt(text, at, 2, 16);
    if (byte < 0) break;
    into.units[into.length++] = byte;
    at += 2;
  }
  return at;
}

/** The number of so many digits; -1 where they are none. */
function digitsAt(text: string, at: number, count: number, base: number): number {
  let number = 0;
  for (let index = at; index < at + count; index++) {
    const value = digitOf(text.charCodeAt(index));
    if (!(value < base)) return -1;
    number = number * base + value;
  }
  return number;
}

/** NaN for what is none, and behind the end. */
function digitOf(unit: number): number {
  if (unit >= 0x30 && unit <= 0x39) return unit - 0x30;
  const letter = unit | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : Number.NaN;
}

/** Bytes as the text that they may be: what is no UTF-8 keeps its ASCII. */
export function textOfBytes(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  return text.includes("\ufffd") ? bytes.toString("latin1") : text;
}

/** A number in the way people write it, where it stands in another: `4111_1111`, `0xF`, `4.1e3`. */
function plainNumber(text: string): string | undefined {
  if (text.length > maxHexNumber || !/[_exob]/i.test(text) || !oddNumber.test(text))
    return undefined;
  const digits = text.trim().replaceAll("_", "");
  if (/^[+-]?0[xob]/i.test(digits)) {
    try {
      return String(BigInt(digits.replace(/^[+-]/, "")));
    } catch {
      return undefined;
    }
  }
  return shifted(digits);
}

/** `4.111e3` as `4111`, without the rounding of a double. */
function shifted(number: string): string | undefined {
  const parts = /^[+-]?(\d*)\.?(\d*)(?:e([+-]?\d{1,2}))?$/i.exec(number);
  if (parts === null) return undefined;
  const [, whole = "", fraction = "", exponent = "0"] = parts;
  const point = whole.length + Number(exponent);
  const all = `${"0".repeat(Math.max(0, -point))}${whole}${fraction}`.padEnd(point, "0");
  const at = Math.max(0, point);
  const rest = all.slice(at);
  return /^0*$/.test(rest) ? all.slice(0, at) || "0" : `${all.slice(0, at) || "0"}.${rest}`;
}
