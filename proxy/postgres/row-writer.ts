// Rewrites DataRow messages cell by cell into a slab that is handed to the outbox when it is full; rows without a masked value are not copied.
import { headerBytes, WireError } from "./framer.ts";
import type { CellConstant, CellMask, RowPlan } from "./masking.ts";
import type { Outbox } from "./outbox.ts";

/** One slab holds hundreds of ordinary rows; a longer row gets a slab of its own size. */
const slabBytes = 64 * 1024;

export class RowWriter {
  readonly #outbox: Outbox;
  #slab: Buffer = Buffer.alloc(0);
  #at = 0;
  /** Where the row last written stands, for whoever records it. */
  last: { buffer: Buffer; start: number; end: number } | undefined = undefined;

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
  }

  /** Passes one DataRow on, masked. */
  write(plan: RowPlan, buffer: Buffer, start: number, end: number): void {
    const { cells } = plan;
    const count = end - start < headerBytes + 2 ? -1 : buffer.readUInt16BE(start + headerBytes);
    if (count !== cells.length)
      throw new WireError("a row has another number of columns than its description");
    let at = start + headerBytes + 2;
    /** Everything before this is already in the slab; -1 while the row is unchanged. */
    let copied = -1;
    let rowAt = 0;
    for (let index = 0; index < count; index++) {
      if (at + 4 > end) throw new WireError("a row is shorter than it says");
      const length = buffer.readInt32BE(at);
      const valueAt = at + 4;
      at = length < 0 ? valueAt : valueAt + length;
      if (at > end) throw new WireError("a row is shorter than it says");
      const mask = cells[index];
      if (mask === undefined) continue;
      const value = replacement(mask, length, buffer, valueAt, at);
      if (value === undefined || (value === null && length < 0)) continue;
      if (copied < 0) {
        this.#reserve(end - start);
        rowAt = this.#at;
        copied = start;
      }
      rowAt = this.#copy(rowAt, buffer, copied, valueAt - 4);
      rowAt = this.#cell(rowAt, value);
      copied = at;
    }
    if (at !== end) throw new WireError("a row is longer than it says");
    if (copied < 0) {
      this.#outbox.pass(buffer, start, end);
      this.last = { buffer, start, end };
      return;
    }
    rowAt = this.#copy(rowAt, buffer, copied, end);
    this.#slab.writeInt32BE(this.#at - rowAt - 1, rowAt + 1);
    this.#outbox.pass(this.#slab, rowAt, this.#at);
    this.last = { buffer: this.#slab, start: rowAt, end: this.#at };
  }

  #reserve(bytes: number): void {
    if (this.#slab.length - this.#at >= bytes) return;
    this.#slab = Buffer.allocUnsafe(Math.max(slabBytes, bytes));
    this.#at = 0;
  }

  /** Makes room behind what is written of the row at `rowAt`, moving the row when its slab is full; returns where it stands now. */
  #extend(rowAt: number, bytes: number): number {
    if (this.#slab.length - this.#at >= bytes) return rowAt;
    const written = this.#at - rowAt;
    const wider = Buffer.allocUnsafe(Math.max(slabBytes, 2 * (written + bytes)));
    this.#slab.copy(wider, 0, rowAt, this.#at);
    this.#slab = wider;
    this.#at = written;
    return 0;
  }

  #copy(rowAt: number, from: Buffer, start: number, end: number): number {
    const moved = this.#extend(rowAt, end - start);
    from.copy(this.#slab, this.#at, start, end);
    this.#at += end - start;
    return moved;
  }

  #cell(rowAt: number, value: Buffer | null): number {
    const moved = this.#extend(rowAt, 4 + (value?.length ?? 0));
    this.#slab.writeInt32BE(value === null ? -1 : value.length, this.#at);
    this.#at += 4;
    if (value !== null) {
      value.copy(this.#slab, this.#at);
      this.#at += value.length;
    }
    return moved;
  }
}

/** NULL stays NULL where a value would be masked by itself; a constant hides that too. */
function replacement(
  mask: CellMask | CellConstant,
  length: number,
  buffer: Buffer,
  start: number,
  end: number,
): Buffer | null | undefined {
  if (typeof mask !== "function") return mask.bytes;
  return length < 0 ? undefined : mask(buffer, start, end);
}
