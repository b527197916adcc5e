// Keeps the first rows of a result for the recording (`recording.detail: Full`), as the client gets them: after masking.
import { isUtf8 } from "node:buffer";
import type { Content } from "../pipeline.ts";
import { headerBytes } from "./framer.ts";

/** Enough to see what an agent got; a recording is no copy of the database. */
export const maxRecordedRows = 100;
export const maxRecordedBytes = 64 * 1024;

export class RowRecorder {
  #text = "";
  #rows = 0;
  #truncated = false;

  get full(): boolean {
    return this.#truncated;
  }

  /** A row came that is not kept. */
  skip(): void {
    this.#truncated = true;
  }

  /** One DataRow message, already masked. */
  row(buffer: Buffer, start: number, end: number): void {
    if (this.#truncated) return;
    if (this.#rows >= maxRecordedRows || this.#text.length + (end - start) > maxRecordedBytes) {
      this.#truncated = true;
      return;
    }
    const cells: (string | null)[] = [];
    let at = start + headerBytes + 2;
    while (at + 4 <= end) {
      const length = buffer.readInt32BE(at);
      at += 4;
      if (length < 0) {
        cells.push(null);
        continue;
      }
      cells.push(cellText(buffer.subarray(at, Math.min(at + length, end))));
      at += length;
    }
    this.#text += `${JSON.stringify(cells)}\n`;
    this.#rows += 1;
  }

  content(): Content | undefined {
    if (this.#rows === 0 && !this.#truncated) return undefined;
    return { part: "rows", text: this.#text, ...(this.#truncated ? { truncated: true } : {}) };
  }
}

/** Text as it is; binary formats in hex, as PostgreSQL prints bytea. */
function cellText(cell: Buffer): string {
  for (const byte of cell) if (byte < 0x09) return `\\x${cell.toString("hex")}`;
  return isUtf8(cell) ? cell.toString("utf8") : `\\x${cell.toString("hex")}`;
}
