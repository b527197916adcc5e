// Values in PostgreSQL's binary formats as the texts that they would be written as, arrays element by element.
// https://www.postgresql.org/docs/current/protocol-overview.html and the *_send functions of each type.
import { textOfBytes } from "../../policy/sql/readings.ts";
import { binaryText } from "./decode.ts";

const millisecondsTo2000 = 946_684_800_000;
const microsecondsADay = 86_400_000_000n;

const jsonb = 3802;

/** What an array may nest. */
const maxDimensions = 6;

const arrays: ReadonlySet<number> = new Set([
  143, 199, 651, 1000, 1001, 1003, 1005, 1007, 1009, 1014, 1015, 1016, 1021, 1022, 1028, 1041, 1115,
  1182, 1183, 1185, 1187, 1231, 1270, 2951, 3807,
]);

/**
 * Adds the texts of a value.
 *
 * @returns whether they are all that it says; false for types that are not known here, whose bytes are added as they are
 */
export function binaryTexts(bytes: Buffer, type: number, into: string[]): boolean {
  if (arrays.has(type)) return arrayTexts(bytes, into);
  // Another version of jsonb is none that anybody knows.
  const isKnown = type !== jsonb || bytes[0] === 1;
  const text = isKnown
    ? (binaryText(bytes, 0, bytes.length, type) ?? otherText(bytes, type))
    : undefined;
  if (text !== undefined) {
    into.push(text);
    return true;
  }
  into.push(textOfBytes(bytes), bytes.toString("latin1"));
  if (bytes.length === 8) into.push(String(bytes.readBigInt64BE()));
  return false;
}

function arrayTexts(bytes: Buffer, into: string[]): boolean {
  const plain = (): false => {
    into.push(bytes.toString("latin1"));
    return false;
  };
  if (bytes.length < 12) return plain();
  const dimensions = bytes.readInt32BE(0);
  const element = bytes.readUInt32BE(8);
  let at = 12 + 8 * dimensions;
  if (dimensions < 0 || dimensions > maxDimensions || at > bytes.length || arrays.has(element))
    return plain();
  let isWhole = true;
  while (at + 4 <= bytes.length) {
    const length = bytes.readInt32BE(at);
    at += 4;
    if (length < 0) continue;
    if (at + length > bytes.length) return plain();
    isWhole = binaryTexts(bytes.subarray(at, at + length), element, into) && isWhole;
    at += length;
  }
  return at === bytes.length ? isWhole : plain();
}

function otherText(bytes: Buffer, type: number): string | undefined {
  const { length } = bytes;
  switch (type) {
    case 17: // bytea
      return textOfBytes(bytes);
    case 18: // "char"
      return bytes.toString("latin1");
    case 650: // cidr
    case 869: // inet
      return addressText(bytes);
    case 790: // money
      return length === 8 ? String(bytes.readBigInt64BE()) : undefined;
    case 1082: // date
      return length === 4 ? dayText(BigInt(bytes.readInt32BE())) : undefined;
    case 1083: // time
    case 1266: // timetz
      return length >= 8 ? timeText(bytes.readBigInt64BE()) : undefined;
    case 1114: // timestamp
    case 1184: // timestamptz
      return length === 8 ? momentText(bytes.readBigInt64BE()) : undefined;
    case 1186: // interval
      return length === 16
        ? `${bytes.readInt32BE(12)} mons ${bytes.readInt32BE(8)} days ${bytes.readBigInt64BE()} us`
        : undefined;
    case 1700: // numeric
      return numericText(bytes);
    default:
      return undefined;
  }
}

function dayText(days: bigint): string {
  const date = new Date(millisecondsTo2000 + Number(days) * 86_400_000);
  return Number.isNaN(date.getTime()) ? String(days) : date.toISOString().slice(0, -14);
}

function timeText(microseconds: bigint): string {
  const seconds = microseconds / 1_000_000n;
  const part = (value: bigint): string => String(value).padStart(2, "0");
  const fraction = String(microseconds % 1_000_000n).padStart(6, "0");
  return `${part(seconds / 3600n)}:${part((seconds / 60n) % 60n)}:${part(seconds % 60n)}.${fraction}`;
}

function momentText(microseconds: bigint): string {
  const within = ((microseconds % microsecondsADay) + microsecondsADay) % microsecondsADay;
  return `${dayText((microseconds - within) / microsecondsADay)} ${timeText(within)}`;
}

function addressText(bytes: Buffer): string | undefined {
  const bits = bytes[1] ?? 0;
  const address = bytes.subarray(4);
  if (address.length === 4) return `${address.join(".")}/${bits}`;
  if (address.length !== 16) return undefined;
  const groups: string[] = [];
  for (let at = 0; at < 16; at += 2) groups.push(address.readUInt16BE(at).toString(16));
  return `${groups.join(":")}/${bits}`;
}

/** The largest that PostgreSQL keeps is 131072 digits before the point; a weight beyond is no number. */
const maxWeight = 0x7fff;

/** Groups of four decimal digits, the first of them worth 10000 to the power of the weight. */
function numericText(bytes: Buffer): string | undefined {
  if (bytes.length < 8) return undefined;
  const count = bytes.readInt16BE(0);
  const weight = bytes.readInt16BE(2);
  const sign = bytes.readUInt16BE(4);
  const scale = bytes.readUInt16BE(6);
  if (count < 0 || bytes.length !== 8 + 2 * count || scale > maxWeight) return undefined;
  if (sign !== 0 && sign !== 0x4000) return "NaN";
  const group = (at: number): string =>
    at < 0 || at >= count ? "0000" : String(bytes.readUInt16BE(8 + 2 * at)).padStart(4, "0");
  const whole: string[] = [];
  for (let at = 0; at <= weight; at++) whole.push(group(at));
  const fraction: string[] = [];
  for (let at = weight + 1; fraction.length * 4 < scale; at++) fraction.push(group(at));
  const digits = whole.join("").replace(/^0+(?=\d)/, "") || "0";
  return `${sign === 0 ? "" : "-"}${digits}${scale === 0 ? "" : `.${fraction.join("").slice(0, scale)}`}`;
}
