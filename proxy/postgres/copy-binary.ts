// Rows of COPY TO in binary format, masked field by field: https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-FILE-FORMATS
import { headerBytes, WireError } from "./framer.ts";
import type { RowPlan } from "./masking.ts";
import { backend, message } from "./messages.ts";

/** Signature, flags (none: no OIDs before the fields, as no server since PostgreSQL 12 sends them) and an empty header extension. */
const fileHeader = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", "latin1");
/** In the place of the number of fields: no more rows. */
const trailer = -1;
const isNull = -1;

/** One CopyData of the server's: a row or the trailer, and before the first of them, or by itself, the header. */
export interface BinaryCopyData {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  /** Nothing of this COPY came before. */
  readonly first: boolean;
}

/** The same as a new message. What is not laid out as the server lays it out ends the session: nobody could tell what is in it. */
export function maskBinaryCopyRow(
  cells: RowPlan["cells"],
  { buffer, start, end, first }: BinaryCopyData,
): Buffer {
  const parts: Buffer[] = [];
  let at = start + headerBytes;
  if (first) {
    const header = buffer.subarray(at, Math.min(end, at + fileHeader.length));
    if (!header.equals(fileHeader)) throw new WireError("a binary COPY begins with another header");
    parts.push(header);
    at += fileHeader.length;
    if (at === end) return message(backend.copyData, header);
  }
  const row = new Row(buffer, at, end);
  const count = row.int16();
  if (count !== trailer && count !== cells.length)
    throw new WireError("a row of COPY has another number of columns than its description");
  parts.push(buffer.subarray(at, at + 2));
  for (let index = 0; index < count; index++) parts.push(...masked(row.field(), cells[index]));
  row.mustEnd();
  return message(backend.copyData, Buffer.concat(parts));
}

function masked(field: Buffer | null, cell: RowPlan["cells"][number]): readonly Buffer[] {
  if (cell === undefined) return written(field);
  if (typeof cell !== "function") return written(cell.bytes);
  if (field === null) return written(field);
  const replaced = cell(field, 0, field.length);
  return written(replaced === undefined ? field : replaced);
}

function written(field: Buffer | null): readonly Buffer[] {
  const length = Buffer.allocUnsafe(4);
  length.writeInt32BE(field === null ? isNull : field.length);
  return field === null ? [length] : [length, field];
}

/** Reads forward and never past the end. */
class Row {
  readonly #buffer: Buffer;
  #at: number;
  readonly #end: number;

  constructor(buffer: Buffer, at: number, end: number) {
    this.#buffer = buffer;
    this.#at = at;
    this.#end = end;
  }

  int16(): number {
    return this.#buffer.readInt16BE(this.#take(2));
  }

  field(): Buffer | null {
    const length = this.#buffer.readInt32BE(this.#take(4));
    if (length === isNull) return null;
    const at = this.#take(length);
    return this.#buffer.subarray(at, at + length);
  }

  mustEnd(): void {
    if (this.#at !== this.#end) throw new WireError("a message of COPY holds more than one row");
  }

  #take(length: number): number {
    const at = this.#at;
    if (length < 0 || at + length > this.#end)
      throw new WireError("a row of COPY does not end with its message");
    this.#at += length;
    return at;
  }
}
