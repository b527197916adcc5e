// What a mask yields for a column of a given PostgreSQL type, in the text and the binary format.
//
//   text, varchar, char, name    the transformed text, in both formats; tokenize is for these and JSON alone
//   json, jsonb                  the transformed text as a JSON string
//   uuid                         hash as a uuid; fixed when it is one
//   date, timestamp(tz)          truncateDate; fixed when it is an ISO date
//   numbers, boolean             fixed when it is one (numeric and oid in text format alone)
//   everything else, and every transform that would not be a value of the type: NULL
//
// A value that cannot be said in the column's type is NULL, never the original and never text that breaks the client.
import type { Transform } from "../bundle.ts";
import { partialBytes } from "./partial.ts";
import { createTransform, redactedText, truncateDate, type MaskValue } from "./transform.ts";

export type WireFormat = "text" | "binary";

/** The masked bytes of a value that is not NULL; null for SQL NULL. */
export type MaskBytes = (value: Buffer) => Buffer | null;

const oid = {
  bool: 16,
  name: 19,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  oid: 26,
  json: 114,
  float4: 700,
  float8: 701,
  unknown: 705,
  bpchar: 1042,
  varchar: 1043,
  date: 1082,
  timestamp: 1114,
  timestamptz: 1184,
  numeric: 1700,
  uuid: 2950,
  jsonb: 3802,
} as const;

const textLike: ReadonlySet<number> = new Set([
  oid.text,
  oid.varchar,
  oid.bpchar,
  oid.name,
  oid.unknown,
]);
const numbers: ReadonlySet<number> = new Set([
  oid.int2,
  oid.int4,
  oid.int8,
  oid.oid,
  oid.float4,
  oid.float8,
  oid.numeric,
]);
const dates: ReadonlySet<number> = new Set([oid.date, oid.timestamp, oid.timestamptz]);
const uuidPattern = /^[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;
const hashPattern = /^[0-9a-f]{32}$/;
const jsonbVersion = Buffer.from([1]);

/**
 * What every cell of a field computed from masked columns becomes, NULL or not: whatever the values were, the same.
 *
 * @param nullified one of the columns is to be NULL
 */
export function derivedConstant(
  nullified: boolean,
  typeOid: number,
  format: WireFormat,
): Buffer | null {
  if (nullified) return null;
  if (textLike.has(typeOid)) return Buffer.from(redactedText);
  const json = JSON.stringify(redactedText);
  if (typeOid === oid.json) return Buffer.from(json);
  if (typeOid !== oid.jsonb) return null;
  return format === "text" ? Buffer.from(json) : Buffer.concat([jsonbVersion, Buffer.from(json)]);
}

export function createMaskBytes(
  transform: Transform,
  key: Uint8Array,
  typeOid: number,
  format: WireFormat,
): MaskBytes {
  const mask = createTransform(transform, key);
  if (transform.kind === "nullify") return () => null;
  if (textLike.has(typeOid)) return text(transform, mask);
  if (typeOid === oid.json) return (value) => bytes(jsonString(mask(value.toString("utf8"))));
  if (typeOid === oid.jsonb) return jsonb(mask, format);
  if (typeOid === oid.uuid) return uuid(transform, mask, format);
  if (dates.has(typeOid)) return date(transform, typeOid, format);
  return transform.kind === "fixed" ? fixed(transform.value, typeOid, format) : () => null;
}

/** Most masked columns are texts: what does not depend on the value is encoded once, and ends are kept without decoding. */
function text(transform: Transform, mask: MaskValue): MaskBytes {
  switch (transform.kind) {
    case "redact":
    case "fixed": {
      const same = bytes(mask(""));
      return () => same;
    }
    case "partial":
      return (value) => partialBytes(value, transform.keepFirst, transform.keepLast);
    default:
      return (value) => bytes(mask(value.toString("utf8")));
  }
}

function bytes(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text, "utf8");
}

function jsonString(text: string | null): string | null {
  return text === null ? null : JSON.stringify(text);
}

function jsonb(mask: MaskValue, format: WireFormat): MaskBytes {
  if (format === "text") return (value) => bytes(jsonString(mask(value.toString("utf8"))));
  return (value) => {
    const masked = bytes(jsonString(mask(value.subarray(1).toString("utf8"))));
    return masked === null ? null : Buffer.concat([jsonbVersion, masked]);
  };
}

function uuid(transform: Transform, mask: MaskValue, format: WireFormat): MaskBytes {
  if (transform.kind !== "hash" && transform.kind !== "fixed") return () => null;
  return (value) => {
    // Both formats of one value give one hash.
    const masked = mask(format === "text" ? value.toString("utf8") : dashed(value.toString("hex")));
    if (masked === null || !(hashPattern.test(masked) || uuidPattern.test(masked))) return null;
    const hex = masked.replaceAll("-", "").toLowerCase();
    return format === "text" ? bytes(dashed(hex)) : Buffer.from(hex, "hex");
  };
}

function dashed(hex: string): string {
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join("-");
}

function fixed(value: string, typeOid: number, format: WireFormat): MaskBytes {
  const constant = format === "text" ? fixedText(value, typeOid) : fixedBinary(value, typeOid);
  return () => constant;
}

function fixedText(value: string, typeOid: number): Buffer | null {
  const integer = integerBytes.has(typeOid) || typeOid === oid.oid;
  const valid =
    (numbers.has(typeOid) &&
      (integer ? /^-?\d{1,19}$/ : /^-?\d{1,300}(?:\.\d{1,300})?$/).test(value)) ||
    (typeOid === oid.bool && /^[tf]$/.test(value));
  return valid ? bytes(value) : null;
}

/** Bytes of the binary format of each integer type. */
const integerBytes: ReadonlyMap<number, number> = new Map([
  [oid.int2, 2],
  [oid.int4, 4],
  [oid.int8, 8],
]);

/** Null where the value does not fit; `numeric` and `oid` have a binary format that is not written here. */
function fixedBinary(value: string, typeOid: number): Buffer | null {
  if (fixedText(value, typeOid) === null) return null;
  const size = integerBytes.get(typeOid);
  if (size !== undefined) {
    const number = BigInt(value);
    if (BigInt.asIntN(8 * size, number) !== number) return null;
    return Buffer.from(
      BigInt.asUintN(8 * size, number)
        .toString(16)
        .padStart(2 * size, "0"),
      "hex",
    );
  }
  if (typeOid === oid.bool) return Buffer.of(value === "t" ? 1 : 0);
  if (typeOid !== oid.float4 && typeOid !== oid.float8) return null;
  const out = Buffer.alloc(typeOid === oid.float4 ? 4 : 8);
  if (typeOid === oid.float4) out.writeFloatBE(Number(value));
  else out.writeDoubleBE(Number(value));
  return out;
}

function date(transform: Transform, typeOid: number, format: WireFormat): MaskBytes {
  if (transform.kind === "fixed") return fixedDate(transform.value, typeOid, format);
  if (transform.kind !== "truncateDate") return () => null;
  const { to } = transform;
  if (format === "text")
    return (value) => bytes(truncatedText(value.toString("utf8"), to, typeOid));
  return (value) => truncatedBinary(value, to, typeOid);
}

/** In binary the start of its day, as in truncateDate. */
function fixedDate(value: string, typeOid: number, format: WireFormat): MaskBytes {
  const day = truncateDate(value, "day");
  if (day === undefined) return () => null;
  if (format === "text") return () => bytes(value);
  const days = Date.parse(`${day}T00:00:00Z`) / dayMs - epochDay;
  const constant = Number.isNaN(days) ? null : binaryDay(days, typeOid);
  return () => constant;
}

function binaryDay(days: number, typeOid: number): Buffer {
  const out = Buffer.alloc(typeOid === oid.date ? 4 : 8);
  if (typeOid === oid.date) out.writeInt32BE(days, 0);
  else out.writeBigInt64BE(BigInt(days) * microsecondsPerDay, 0);
  return out;
}

function truncatedText(
  value: string,
  to: "year" | "month" | "day",
  typeOid: number,
): string | null {
  if (typeOid === oid.timestamptz) return truncatedInstant(value, to);
  const day = truncateDate(value, to);
  if (day === undefined) return null;
  return typeOid === oid.date ? day : `${day} 00:00:00`;
}

/**
 * In UTC, as in binary: the session chooses its time zone, and where the days of one begin in another tells the time of day.
 */
function truncatedInstant(value: string, to: "year" | "month" | "day"): string | null {
  const match =
    /^(\d{4,6})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.\d+)?([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?$/.exec(
      value,
    );
  if (match === null) return null;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1, 7)
    .map(Number);
  const [hours = 0, minutes = 0, seconds = 0] = match.slice(8).map((part) => Number(part ?? 0));
  const sign = match[7] === "-" ? -1 : 1;
  const at = new Date(0);
  at.setUTCFullYear(year, month - 1, day);
  at.setUTCHours(hour - sign * hours, minute - sign * minutes, second - sign * seconds);
  if (Number.isNaN(at.getTime()) || at.getUTCFullYear() < 1) return null;
  const digits = [at.getUTCFullYear(), at.getUTCMonth() + 1, at.getUTCDate()];
  const [y = "", m = "", d = ""] = digits.map((part, index) =>
    String(part).padStart(index === 0 ? 4 : 2, "0"),
  );
  const start = truncateDate(`${y}-${m}-${d}`, to);
  return start === undefined ? null : `${start} 00:00:00+00`;
}

const dayMs = 86_400_000;
/** PostgreSQL counts from 2000-01-01. */
const epochDay = Date.UTC(2000, 0, 1) / dayMs;
const microsecondsPerDay = 86_400_000_000n;
/** JavaScript's calendar ends near the year 275760; PostgreSQL's infinities lie beyond it too. */
const lastDay = 100_000_000;

function truncatedBinary(
  value: Buffer,
  to: "year" | "month" | "day",
  typeOid: number,
): Buffer | null {
  const isDate = typeOid === oid.date;
  if (value.length !== (isDate ? 4 : 8)) return null;
  const days = isDate
    ? value.readInt32BE(0)
    : Number(floorDivide(value.readBigInt64BE(0), microsecondsPerDay));
  if (Math.abs(days + epochDay) > lastDay) return null;
  const at = new Date((days + epochDay) * dayMs);
  const start = new Date(0);
  start.setUTCFullYear(
    at.getUTCFullYear(),
    to === "year" ? 0 : at.getUTCMonth(),
    to === "day" ? at.getUTCDate() : 1,
  );
  return binaryDay(start.getTime() / dayMs - epochDay, typeOid);
}

function floorDivide(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
}
