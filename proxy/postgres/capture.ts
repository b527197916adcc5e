// Collects the rows of a query of our own, within bounds.
import { headerBytes } from "./framer.ts";
import type { Rows } from "./mask-source.ts";
import type { Capture } from "./requests.ts";

/** A catalog of a hundred thousand columns fits; more would cost the pod its memory. */
const maxCaptureBytes = 32 * 1024 * 1024;

export function collectRows(): { readonly capture: Capture; readonly rows: Promise<Rows> } {
  const rows: (string | null)[][] = [];
  let bytes = 0;
  let failure: string | undefined;
  let settle: { resolve: (rows: Rows) => void; reject: (error: Error) => void } | undefined;
  const promise = new Promise<Rows>((resolve, reject) => {
    settle = { resolve, reject };
  });
  const capture: Capture = {
    row(buffer, start, end) {
      bytes += end - start;
      if (bytes > maxCaptureBytes) failure ??= "the answer is too large";
      else rows.push(readCells(buffer, start, end));
    },
    done(error) {
      failure ??= error;
      // The error comes first and ReadyForQuery behind it; a promise settles once.
      if (failure === undefined) settle?.resolve(rows);
      else settle?.reject(new Error(failure));
    },
  };
  return { capture, rows: promise };
}

function readCells(buffer: Buffer, start: number, end: number): (string | null)[] {
  const cells: (string | null)[] = [];
  let at = start + headerBytes + 2;
  while (at + 4 <= end) {
    const length = buffer.readInt32BE(at);
    at += 4;
    if (length < 0) cells.push(null);
    else {
      cells.push(buffer.toString("utf8", at, Math.min(at + length, end)));
      at += length;
    }
  }
  return cells;
}
