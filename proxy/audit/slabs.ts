// The memory that lines stand in from the moment they are taken until the operator has them, used again and again. A new piece for each few
// hundred lines would be garbage outside of V8's heap, for which it marks its whole heap three times a second at full speed.

/** Lines of some milliseconds at full speed. A longer line has a piece of its own. */
export const slabBytes = 256 * 1024;
/** Pieces kept while nobody needs them. */
const maxFree = 4;

/** One piece, in use as long as somebody holds it. Who forgets it without `release` leaves it to the garbage collector: always safe. */
export class Slab {
  readonly bytes: Buffer;
  readonly #unused: (slab: Slab) => void;
  #holders = 0;

  constructor(bytes: number, unused: (slab: Slab) => void) {
    this.bytes = Buffer.allocUnsafeSlow(bytes);
    this.#unused = unused;
  }

  hold(): this {
    this.#holders += 1;
    return this;
  }

  /** What the holder saw of it may be written over from here on. */
  release(): void {
    if (this.#holders === 0) throw new Error("a slab was released more often than it was held");
    this.#holders -= 1;
    if (this.#holders === 0) this.#unused(this);
  }
}

export class SlabPool {
  readonly #free: Slab[] = [];

  /** A piece of at least so many bytes, with whatever is in them, held once. */
  take(bytes: number): Slab {
    const kept = bytes <= slabBytes ? this.#free.pop() : undefined;
    return (kept ?? new Slab(Math.max(bytes, slabBytes), this.#unused)).hold();
  }

  readonly #unused = (slab: Slab): void => {
    if (slab.bytes.length === slabBytes && this.#free.length < maxFree) this.#free.push(slab);
  };
}

/** Some bytes of a slab, for one of its holders. */
export interface Piece {
  readonly slab: Slab;
  readonly bytes: Buffer;
}
