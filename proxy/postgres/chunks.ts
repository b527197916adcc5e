// What one connection read, kept beyond its read: small chunks side by side in a slab of the connection's own, since a buffer for each costs five times
// as much and the collector's time besides. Of no other connection's, or a few bytes that wait here would keep what others read.

/** Some dozens of a driver's chunks; an idle connection keeps one. */
const slabBytes = 4 * 1024;
/** A longer chunk has a buffer to itself, so that a slab is never given up half empty. */
const maxShared = 512;

export class Chunks {
  #slab: Buffer | undefined;
  #used = 0;
  /** The chunk at the slab's beginning: where each is done with before the next comes, most are as long as the one before. */
  #first: Buffer | undefined;

  /** A copy that nobody changes until `forget`. */
  keep(bytes: Buffer): Buffer {
    const { length } = bytes;
    if (length > maxShared) return apart(bytes);
    if (this.#slab === undefined || this.#used + length > slabBytes) {
      this.#slab = Buffer.allocUnsafeSlow(slabBytes);
      this.#used = 0;
      this.#first = undefined;
    }
    const start = this.#used;
    this.#used += length;
    bytes.copy(this.#slab, start);
    if (start > 0) return this.#slab.subarray(start, this.#used);
    if (this.#first?.length !== length) this.#first = this.#slab.subarray(0, length);
    return this.#first;
  }

  /** Nothing that was kept is needed any more: its room is written over. */
  forget(): void {
    this.#used = 0;
  }
}

/** A copy that keeps nothing in memory but itself: Node's pool would keep 64 KiB for it. */
export function apart(bytes: Buffer): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(own);
  return own;
}
