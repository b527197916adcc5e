// Rows of COPY TO in text and CSV format, masked field by field: https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-FILE-FORMATS
import { headerBytes, WireError } from "./framer.ts";
import type { CellConstant, CellMask, RowPlan } from "./masking.ts";
import { message, backend } from "./messages.ts";

const tab = 0x09;
const newline = 0x0a;
const backslash = 0x5c;
const comma = 0x2c;
const quote = 0x22;
const nullText = Buffer.from("\\N");
const noBytes = Buffer.alloc(0);

/** The escapes that COPY TO writes, by the letter behind the backslash. */
const escapes: ReadonlyMap<number, number> = new Map([
  [0x62, 0x08],
  [0x66, 0x0c],
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
  [0x76, 0x0b],
]);
const letters: ReadonlyMap<number, number> = new Map(
  [...escapes].map(([letter, byte]) => [byte, letter]),
);

/** How the fields of a row are told apart, and values written in them; null is SQL NULL. */
interface Notation {
  readonly delimiter: number;
  readonly split: (buffer: Buffer, start: number, end: number) => Buffer[];
  readonly read: (field: Buffer) => Buffer | null;
  readonly write: (value: Buffer | null) => Buffer;
}

export type CopyNotation = "text" | "csv" | "binary";
type TextNotation = Exclude<CopyNotation, "binary">;

/** One CopyData of the server's, which holds exactly one row (CopySendEndOfRow), as a new message. */
export function maskCopyRow(
  cells: RowPlan["cells"],
  notation: TextNotation,
  buffer: Buffer,
  start: number,
  end: number,
): Buffer {
  if (end - start <= headerBytes || buffer[end - 1] !== newline)
    throw new WireError("a row of COPY does not end with its message");
  const how = notations[notation];
  const fields = how.split(buffer, start + headerBytes, end - 1);
  if (fields.length !== cells.length)
    throw new WireError("a row of COPY has another number of columns than its description");
  const parts = fields.flatMap((field, index) => [
    index === 0 ? noBytes : Buffer.of(how.delimiter),
    masked(field, cells[index], how),
  ]);
  return message(backend.copyData, Buffer.concat([...parts, Buffer.of(newline)]));
}

function masked(field: Buffer, cell: CellMask | CellConstant | undefined, how: Notation): Buffer {
  if (cell === undefined) return field;
  if (typeof cell !== "function") return how.write(cell.bytes);
  const value = how.read(field);
  if (value === null) return field;
  const replaced = cell(value, 0, value.length);
  return replaced === undefined ? field : how.write(replaced);
}

/** A delimiter or line break inside a value is always escaped. */
function splitText(buffer: Buffer, start: number, end: number): Buffer[] {
  const fields: Buffer[] = [];
  let from = start;
  for (let at = start; at < end; at++) {
    const byte = buffer[at];
    if (byte === newline) throw new WireError("a message of COPY holds more than one row");
    if (byte !== tab) continue;
    fields.push(buffer.subarray(from, at));
    from = at + 1;
  }
  fields.push(buffer.subarray(from, end));
  return fields;
}

/** Quotes inside a quoted field are doubled, so every quote turns the state over. */
function splitCsv(buffer: Buffer, start: number, end: number): Buffer[] {
  const fields: Buffer[] = [];
  let from = start;
  let quoted = false;
  for (let at = start; at < end; at++) {
    const byte = buffer[at];
    if (byte === quote) quoted = !quoted;
    if (quoted) continue;
    if (byte === newline) throw new WireError("a message of COPY holds more than one row");
    if (byte !== comma) continue;
    fields.push(buffer.subarray(from, at));
    from = at + 1;
  }
  if (quoted) throw new WireError("a row of COPY does not end with its message");
  fields.push(buffer.subarray(from, end));
  return fields;
}

/** An empty field without quotes is NULL. */
function readCsv(field: Buffer): Buffer | null {
  if (field.length === 0) return null;
  if (field[0] !== quote) return field;
  return Buffer.from(field.subarray(1, -1).toString("latin1").replaceAll('""', '"'), "latin1");
}

function writeCsv(value: Buffer | null): Buffer {
  if (value === null) return noBytes;
  const text = value.toString("latin1");
  // A line of `\.` alone would end the data.
  if (text !== "" && text !== "\\." && !/[",\n\r]/.test(text)) return value;
  return Buffer.from(`"${text.replaceAll('"', '""')}"`, "latin1");
}

function unescaped(field: Buffer): Buffer {
  if (!field.includes(backslash)) return field;
  const value = Buffer.allocUnsafe(field.length);
  let length = 0;
  for (let at = 0; at < field.length; at++) {
    let byte = field[at] ?? 0;
    if (byte === backslash) {
      at += 1;
      byte = field[at] ?? backslash;
      byte = escapes.get(byte) ?? byte;
    }
    value[length] = byte;
    length += 1;
  }
  return value.subarray(0, length);
}

function escaped(value: Buffer): Buffer {
  const bytes: number[] = [];
  for (const byte of value) {
    const letter = letters.get(byte) ?? (byte === backslash ? backslash : undefined);
    if (letter === undefined) bytes.push(byte);
    else bytes.push(backslash, letter);
  }
  return Buffer.from(bytes);
}

const notations: Readonly<Record<TextNotation, Notation>> = {
  text: {
    delimiter: tab,
    split: splitText,
    read: (field) => (field.equals(nullText) ? null : unescaped(field)),
    write: (value) => (value === null ? nullText : escaped(value)),
  },
  csv: { delimiter: comma, split: splitCsv, read: readCsv, write: writeCsv },
};
