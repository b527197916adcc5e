// Bytes that come in pieces and are wanted once, all together.

/** Of a block; its last one is all that may be empty. A piece that is larger has one of its own. */
const blockBytes = 16 * 1024;
const leastBytes = 256;

/** Where `Gathered` moves what it has to a place twice as large, this leaves it where it is: a thousand bodies that grow cost no more than their bytes. */
export class Blocks {
  readonly #blocks: Buffer[] = [];
  #last: Buffer = Buffer.alloc(0);
  /** Of the last block. */
  #filled = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  add(piece: Buffer): void {
    const copied = piece.copy(this.#last, this.#filled);
    this.#filled += copied;
    const rest = piece.length - copied;
    if (rest > 0) {
      // As much again as there is, so that crumbs make few blocks and one crumb a small one.
      const size = Math.max(rest, leastBytes, Math.min(this.#length, blockBytes));
      this.#last = Buffer.allocUnsafeSlow(size);
      this.#filled = piece.copy(this.#last, 0, copied);
      this.#blocks.push(this.#last);
    }
    this.#length += piece.length;
  }

  /** A copy, as long as it is. */
  whole(): Buffer {
    return Buffer.concat(this.#blocks, this.#length);
  }
}
