// Rows of COPY TO in text format, masked field by field: https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-FILE-FORMATS
import { headerBytes, WireError } from "./framer.ts";
import type { CellConstant, CellMask, RowPlan } from "./masking.ts";
import { message, backend } from "./messages.ts";

const tab = 0x09;
const newline = 0x0a;
const backslash = 0x5c;
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

/** One CopyData of the server's, which holds exactly one row (CopySendEndOfRow), as a new message. */
export function maskCopyRow(plan: RowPlan, buffer: Buffer, start: number, end: number): Buffer {
  if (end - start <= headerBytes || buffer[end - 1] !== newline)
    throw new WireError("a row of COPY does not end with its message");
  const fields = split(buffer, start + headerBytes, end - 1);
  if (fields.length !== plan.cells.length)
    throw new WireError("a row of COPY has another number of columns than its description");
  const parts = fields.flatMap((field, index) => [
    index === 0 ? noBytes : Buffer.of(tab),
    masked(field, plan.cells[index]),
  ]);
  return message(backend.copyData, Buffer.concat([...parts, Buffer.of(newline)]));
}

/** A delimiter or line break inside a value is always escaped. */
function split(buffer: Buffer, start: number, end: number): Buffer[] {
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

function masked(field: Buffer, cell: CellMask | CellConstant | undefined): Buffer {
  if (cell === undefined) return field;
  if (typeof cell !== "function") return written(cell.bytes);
  if (field.equals(nullText)) return field;
  const value = unescaped(field);
  const replaced = cell(value, 0, value.length);
  return replaced === undefined ? field : written(replaced);
}

function written(value: Buffer | null): Buffer {
  return value === null ? nullText : escaped(value);
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
