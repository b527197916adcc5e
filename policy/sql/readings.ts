// How a value may be written, so that detectors read it as the database will: escapes of JSON, of arrays and rows, bytes in hex, numbers with exponents.

const maxHexNumber = 64;
/** Of bytea, also within an array or a row, which double the backslash. */
const hexBytes = /\\+x((?:[0-9a-f]{2})+)/gi;
const jsonEscape = /\\(?:u([0-9a-f]{4})|([bfnrt])|(.))/gis;
const octalEscape = /\\+([0-3][0-7]{2})/g;
const ofLetter: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };
const oddNumber = /^\s*[+-]?(?:0[xob][0-9a-f_]+|[\d_.]+(?:e[+-]?\d+)?)\s*$/i;

/** The text itself, and what else the database may make of it. */
export function* readingsOf(text: string): Generator<string> {
  yield text;
  if (text.includes("\\")) yield* unescaped(text);
  const number = plainNumber(text);
  if (number !== undefined && number !== text) yield number;
}

function* unescaped(text: string): Generator<string> {
  if (text.search(hexBytes) >= 0)
    yield text.replaceAll(hexBytes, (_, digits: string) => textOfBytes(Buffer.from(digits, "hex")));
  // In JSON `\u0034` is 4; in an array or a row `\4` is, and in bytea `\064`.
  yield text.replaceAll(
    jsonEscape,
    (_, code: string | undefined, letter: string | undefined, any) =>
      code === undefined
        ? letter === undefined
          ? String(any)
          : (ofLetter[letter.toLowerCase()] ?? letter)
        : String.fromCharCode(Number.parseInt(code, 16)),
  );
  yield text.replaceAll(/\\(.)/gs, "$1");
  yield text.replaceAll(octalEscape, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
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
