// The unshipped lines that are still in memory, as the bytes that were written: always the newest, without holes, so that shipping
// them reads no file. Bytes, not objects: what waits for the operator must not be walked by the garbage collector.
import { lineEnd, textsIn } from "./lines.ts";
import type { Piece, Slab } from "./slabs.ts";

/** Consecutive lines, as one write put them on the disk. It holds its slab. */
export interface Block extends Piece {
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** Milliseconds since the epoch: no line in it is older. */
  readonly at: number;
}

export interface ReadLimit {
  readonly events: number;
  readonly bytes: number;
}

/** Lines up to number `last`, each with its newline; no line lies in two parts. */
export interface Lines {
  readonly last: number;
  readonly parts: readonly Buffer[];
  /** What they stand in, held for the reader, who releases it when nobody looks at them any more. */
  readonly slabs: readonly Slab[];
}

export class RecentBlocks {
  readonly #limitBytes: number;
  #blocks: Block[] = [];
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  add(block: Block): void {
    this.#blocks.push(block);
    this.#bytes += block.bytes.length;
    while (this.#bytes > this.#limitBytes) this.#dropOldest();
  }

  forgetUpTo(last: number): void {
    for (
      let [oldest] = this.#blocks;
      oldest !== undefined && oldest.lastSeq <= last;
      [oldest] = this.#blocks
    )
      this.#dropOldest();
  }

  clear(): void {
    while (this.#blocks.length > 0) this.#dropOldest();
  }

  /** All lines here, as texts. */
  texts(): readonly string[] {
    return this.#blocks.flatMap(({ bytes }) => textsIn(bytes));
  }

  /** The block that holds a number. */
  find(seq: number): Block | undefined {
    return this.#blocks.find((block) => block.firstSeq <= seq && seq <= block.lastSeq);
  }

  /** Lines from number `from` on: at most `limit` of either measure, and at least one. Undefined when the first is not here. */
  read(from: number, limit: ReadLimit): Lines | undefined {
    const at = this.#blocks.findIndex((block) => block.firstSeq <= from && from <= block.lastSeq);
    if (at < 0) return undefined;
    const parts: Buffer[] = [];
    const slabs: Slab[] = [];
    let left = limit;
    let last = from - 1;
    for (let index = at; index < this.#blocks.length; index += 1) {
      const block = this.#blocks[index];
      if (block === undefined) break;
      const part = takeLines(block, last + 1, left, last < from);
      if (part === undefined) break;
      parts.push(part.bytes);
      slabs.push(block.slab.hold());
      left = { events: left.events - (part.last - last), bytes: left.bytes - part.bytes.length };
      last = part.last;
      if (last < block.lastSeq) break;
    }
    return { last, parts, slabs };
  }

  #dropOldest(): void {
    const oldest = this.#blocks.shift();
    this.#bytes -= oldest?.bytes.length ?? 0;
    oldest?.slab.release();
  }
}

/** Lines of a block from number `from` on, within the limit; `atLeastOne` takes a line that alone exceeds it. */
function takeLines(
  block: Block,
  from: number,
  limit: ReadLimit,
  atLeastOne: boolean,
): { readonly last: number; readonly bytes: Buffer } | undefined {
  const { bytes } = block;
  const isWhole =
    from === block.firstSeq && block.lastSeq - from < limit.events && bytes.length <= limit.bytes;
  if (isWhole) return { last: block.lastSeq, bytes };
  let start = 0;
  for (let seq = block.firstSeq; seq < from; seq += 1) start = lineEnd(bytes, start);
  let end = start;
  let last = from - 1;
  while (last < block.lastSeq && last - from + 1 < limit.events) {
    const next = lineEnd(bytes, end);
    const fits = next - start <= limit.bytes || (atLeastOne && last < from);
    if (next < 0 || !fits) break;
    end = next;
    last += 1;
  }
  return last < from ? undefined : { last, bytes: bytes.subarray(start, end) };
}
