// Reads the bodies of the messages that are looked into. Pure; every read is checked against the message's own end.
import { isUtf8 } from "node:buffer";
import { headerBytes, WireError } from "./framer.ts";

export interface ParseBody {
  readonly name: string;
  readonly text: string;
  /** The text says the same as its bytes. */
  readonly isUtf8: boolean;
  readonly parameterTypes: readonly number[];
}

export interface BindBody {
  readonly portal: string;
  readonly statement: string;
  /** Where formats and parameters begin; `readParameters` goes on from here. */
  readonly parametersAt: number;
}

export interface Parameters {
  /** Text form where it is known, else null. */
  readonly values: readonly (string | null)[];
  /** Result formats as sent: none (all text), one for all, or one a column. */
  readonly resultFormats: readonly number[];
}

export interface Field {
  readonly name: string;
  readonly table: number;
  readonly attribute: number;
  readonly type: number;
  readonly format: number;
}

const noNumbers: readonly number[] = [];

/** Names are short: a search by Node costs as much as so many bytes looked at here. */
const looksFirst = 32;

export function stringEnd(buffer: Buffer, start: number, end: number): number {
  const soon = Math.min(end, start + looksFirst);
  for (let at = start; at < soon; at++) if (buffer[at] === 0) return at;
  const at = buffer.indexOf(0, soon);
  if (at < 0 || at >= end) throw new WireError("a string in a message has no end");
  return at;
}

/** Names of statements and portals, as latin1: distinct bytes stay distinct names, also where they are no UTF-8. */
function readName(buffer: Buffer, start: number, stop: number): string {
  return start === stop ? "" : buffer.toString("latin1", start, stop);
}

export function readString(buffer: Buffer, start: number, end: number): string {
  return buffer[start] === 0 && start < end
    ? ""
    : buffer.toString("utf8", start, stringEnd(buffer, start, end));
}

export function readQuery(
  buffer: Buffer,
  start: number,
  end: number,
): Pick<ParseBody, "text" | "isUtf8"> {
  const from = start + headerBytes;
  const stop = stringEnd(buffer, from, end);
  if (stop !== end - 1) throw new WireError("a Query message has bytes behind its text");
  const text = buffer.toString("utf8", from, stop);
  return { text, isUtf8: isSame(text, buffer, from, stop) };
}

/** Bytes that are no UTF-8 are decoded to U+FFFD, and then a text stands for many. */
function isSame(text: string, buffer: Buffer, start: number, stop: number): boolean {
  return !text.includes("\ufffd") || isUtf8(buffer.subarray(start, stop));
}

export function readParse(buffer: Buffer, start: number, end: number): ParseBody {
  const nameEnd = stringEnd(buffer, start + headerBytes, end);
  const textEnd = stringEnd(buffer, nameEnd + 1, end);
  const count = readInt16(buffer, textEnd + 1, end);
  if (textEnd + 3 + 4 * count !== end) throw new WireError("a Parse message has a wrong length");
  const text = buffer.toString("utf8", nameEnd + 1, textEnd);
  return {
    name: readName(buffer, start + headerBytes, nameEnd),
    text,
    isUtf8: isSame(text, buffer, nameEnd + 1, textEnd),
    parameterTypes: count === 0 ? noNumbers : readOids(buffer, textEnd + 3, count),
  };
}

export function readBind(buffer: Buffer, start: number, end: number): BindBody {
  const portalEnd = stringEnd(buffer, start + headerBytes, end);
  const statementEnd = stringEnd(buffer, portalEnd + 1, end);
  return {
    portal: readName(buffer, start + headerBytes, portalEnd),
    statement: readName(buffer, portalEnd + 1, statementEnd),
    parametersAt: statementEnd + 1,
  };
}

export function readParameters(
  buffer: Buffer,
  start: number,
  end: number,
  types: readonly number[],
): Parameters {
  const formatCount = readInt16(buffer, start, end);
  const formatsAt = start + 2;
  const formatOf = (index: number): number => {
    if (formatCount === 0) return 0;
    return readInt16(buffer, formatsAt + 2 * (formatCount === 1 ? 0 : index), end);
  };
  let at = formatsAt + 2 * formatCount;
  const count = readInt16(buffer, at, end);
  at += 2;
  if (formatCount > 1 && formatCount !== count)
    throw new WireError("a Bind message has a wrong number of formats");
  const values: (string | null)[] = [];
  for (let index = 0; index < count; index++) {
    const length = readInt32(buffer, at, end);
    at += 4;
    if (length < 0) {
      values.push(null);
      continue;
    }
    if (at + length > end) throw new WireError("a Bind message has a wrong length");
    values.push(
      formatOf(index) === 0
        ? buffer.toString("utf8", at, at + length)
        : binaryText(buffer, at, length, types[index] ?? 0),
    );
    at += length;
  }
  const resultCount = readInt16(buffer, at, end);
  if (at + 2 + 2 * resultCount !== end) throw new WireError("a Bind message has a wrong length");
  if (resultCount === 0) return { values, resultFormats: noNumbers };
  const resultFormats: number[] = [];
  for (let index = 0; index < resultCount; index++)
    resultFormats.push(readInt16(buffer, at + 2 + 2 * index, end));
  return { values, resultFormats };
}

/** Body of Describe and Close: `S` statement or `P` portal, and its name. */
export function readTarget(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly statement: boolean; readonly name: string } {
  const kind = buffer[start + headerBytes];
  if (start + headerBytes >= end || (kind !== 0x53 && kind !== 0x50))
    throw new WireError("a Describe or Close message names neither statement nor portal");
  const nameEnd = stringEnd(buffer, start + headerBytes + 1, end);
  if (nameEnd + 1 !== end) throw new WireError("a Describe or Close message has a wrong length");
  return { statement: kind === 0x53, name: readName(buffer, start + headerBytes + 1, nameEnd) };
}

export function readExecute(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly portal: string; readonly maxRows: number } {
  const nameEnd = stringEnd(buffer, start + headerBytes, end);
  if (nameEnd + 5 !== end) throw new WireError("an Execute message has a wrong length");
  return {
    portal: readName(buffer, start + headerBytes, nameEnd),
    maxRows: buffer.readInt32BE(nameEnd + 1),
  };
}

export function readRowDescription(buffer: Buffer, start: number, end: number): readonly Field[] {
  const count = readInt16(buffer, start + headerBytes, end);
  const fields: Field[] = [];
  let at = start + headerBytes + 2;
  for (let index = 0; index < count; index++) {
    const nameEnd = stringEnd(buffer, at, end);
    if (nameEnd + 19 > end) throw new WireError("a RowDescription has a wrong length");
    fields.push({
      name: buffer.toString("utf8", at, nameEnd),
      table: buffer.readUInt32BE(nameEnd + 1),
      attribute: buffer.readInt16BE(nameEnd + 5),
      type: buffer.readUInt32BE(nameEnd + 7),
      format: buffer.readInt16BE(nameEnd + 17),
    });
    at = nameEnd + 19;
  }
  return fields;
}

/** Overall format (0 text, 1 binary) and number of columns of a CopyOutResponse. */
export function readCopyResponse(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly format: number; readonly columns: number } {
  const at = start + headerBytes;
  if (at >= end) throw new WireError("a CopyOutResponse has a wrong length");
  return { format: buffer[at] ?? 1, columns: readInt16(buffer, at + 1, end) };
}

export function readParameterTypes(buffer: Buffer, start: number, end: number): readonly number[] {
  const count = readInt16(buffer, start + headerBytes, end);
  if (start + headerBytes + 2 + 4 * count !== end)
    throw new WireError("a ParameterDescription has a wrong length");
  return readOids(buffer, start + headerBytes + 2, count);
}

/** Fields of an ErrorResponse or NoticeResponse by their one-letter code. */
export function readFields(buffer: Buffer, start: number, end: number): Map<string, string> {
  const fields = new Map<string, string>();
  let at = start + headerBytes;
  while (at < end && buffer[at] !== 0) {
    const valueEnd = stringEnd(buffer, at + 1, end);
    fields.set(String.fromCharCode(buffer[at] ?? 0), buffer.toString("utf8", at + 1, valueEnd));
    at = valueEnd + 1;
  }
  return fields;
}

/** Name and value of a ParameterStatus. */
export function readParameterStatus(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly name: string; readonly value: string } {
  const nameEnd = stringEnd(buffer, start + headerBytes, end);
  return {
    name: buffer.toString("utf8", start + headerBytes, nameEnd),
    value: readString(buffer, nameEnd + 1, end),
  };
}

export function readInt16(buffer: Buffer, at: number, end: number): number {
  if (at + 2 > end) throw new WireError("a message is shorter than it says");
  const value = buffer.readInt16BE(at);
  if (value < 0) throw new WireError("a message counts below zero");
  return value;
}

export function readInt32(buffer: Buffer, at: number, end: number): number {
  if (at + 4 > end) throw new WireError("a message is shorter than it says");
  return buffer.readInt32BE(at);
}

function readOids(buffer: Buffer, at: number, count: number): readonly number[] {
  const oids: number[] = [];
  for (let index = 0; index < count; index++) oids.push(buffer.readUInt32BE(at + 4 * index));
  return oids;
}

/** Text form of a binary parameter of the types that drivers send so; null for others (`when` rules see null then). */
export function binaryText(
  buffer: Buffer,
  at: number,
  length: number,
  type: number,
): string | null {
  switch (type) {
    case 16: // bool
      return length === 1 ? (buffer[at] === 0 ? "f" : "t") : null;
    case 20: // int8
      return length === 8 ? String(buffer.readBigInt64BE(at)) : null;
    case 21: // int2
      return length === 2 ? String(buffer.readInt16BE(at)) : null;
    case 23: // int4
      return length === 4 ? String(buffer.readInt32BE(at)) : null;
    case 26: // oid
      return length === 4 ? String(buffer.readUInt32BE(at)) : null;
    case 700: // float4
      return length === 4 ? String(buffer.readFloatBE(at)) : null;
    case 701: // float8
      return length === 8 ? String(buffer.readDoubleBE(at)) : null;
    case 19: // name
    case 25: // text
    case 114: // json
    case 142: // xml
    case 705: // unknown
    case 1042: // bpchar
    case 1043: // varchar
      return buffer.toString("utf8", at, at + length);
    case 3802: // jsonb: a version byte, then text
      return length > 0 ? buffer.toString("utf8", at + 1, at + length) : null;
    case 2950: // uuid
      return length === 16 ? uuidText(buffer.toString("hex", at, at + 16)) : null;
    default:
      return null;
  }
}

function uuidText(hex: string): string {
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join("-");
}
