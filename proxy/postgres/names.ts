// Names that a client gives to statements or portals, as the server sees them: a change counts once the server has answered it.
//
// A pipeline makes this matter: `Parse a`, skipped after an error, must not hide the older `a` that the server still holds.
//   overlay    changes of the batch being sent; right inside it, because an error skips the rest of the batch
//   confirmed  changes the server has answered, in its order
// A name of an earlier batch is only looked up once that batch is answered (`wait`), and one behind a command that may
// have changed any name once this batch is answered so far (`settle`).

/**
 * A map that has the empty name, which most drivers use for everything, in a field of its own, and that is emptied by
 * starting anew: the table of a cleared Map goes on pointing to the next one (for iterators that may stand in it), so
 * that once one is old, everything that was ever kept behind it lives until the next full collection.
 */
class Slots<V> {
  #named = new Map<string, V>();
  #unnamed: V | undefined = undefined;
  #hasUnnamed = false;

  get size(): number {
    return this.#named.size + (this.#hasUnnamed ? 1 : 0);
  }

  has(name: string): boolean {
    return name === "" ? this.#hasUnnamed : this.#named.has(name);
  }

  get(name: string): V | undefined {
    return name === "" ? this.#unnamed : this.#named.get(name);
  }

  set(name: string, value: V): void {
    if (name === "") {
      this.#unnamed = value;
      this.#hasUnnamed = true;
    } else this.#named.set(name, value);
  }

  delete(name: string): void {
    if (name === "") this.#forgetUnnamed();
    else this.#named.delete(name);
  }

  clear(): void {
    this.#forgetUnnamed();
    if (this.#named.size > 0) this.#named = new Map();
  }

  each(visit: (value: V) => void): void {
    if (this.#hasUnnamed && this.#unnamed !== undefined) visit(this.#unnamed);
    for (const value of this.#named.values()) visit(value);
  }

  #forgetUnnamed(): void {
    this.#unnamed = undefined;
    this.#hasUnnamed = false;
  }
}

export class Names<T> {
  readonly #confirmed = new Slots<T>();
  readonly #overlay = new Slots<T | undefined>();
  #pendingHere = 0;
  #pendingBefore = 0;
  #doubtful = false;

  get size(): number {
    return this.#confirmed.size;
  }

  find(name: string): T | "wait" | "settle" | undefined {
    const here = this.#overlay.get(name);
    if (here !== undefined || this.#overlay.has(name)) return here;
    if (this.#doubtful) {
      if (this.#pendingHere + this.#pendingBefore > 0) return "settle";
      this.#doubtful = false;
    }
    if (this.#pendingBefore > 0) return "wait";
    return this.#confirmed.get(name);
  }

  /** Nothing sent so far can change a name any more. */
  get settledAll(): boolean {
    return !this.#doubtful && this.#pendingHere === 0 && this.#pendingBefore === 0;
  }

  /** A change is being sent; `undefined` closes the name. */
  change(name: string, value: T | undefined): void {
    this.#overlay.set(name, value);
    this.#pendingHere += 1;
  }

  /** Something is being sent that may change any name (DEALLOCATE, DECLARE, DISCARD …): until it is answered, only what is named anew is known. */
  doubt(): void {
    this.#overlay.clear();
    this.#doubtful = true;
    this.#pendingHere += 1;
  }

  endBatch(): void {
    this.#pendingBefore += this.#pendingHere;
    this.#pendingHere = 0;
    this.#overlay.clear();
    this.#doubtful = false;
  }

  /** The server has done it; `here` says whether it belongs to the batch still being sent. */
  applied(name: string, value: T | undefined, here: boolean): void {
    this.settled(here);
    if (value === undefined) this.#confirmed.delete(name);
    else this.#confirmed.set(name, value);
  }

  /** One change is answered or skipped. */
  settled(here: boolean): void {
    if (here) this.#pendingHere -= 1;
    else this.#pendingBefore -= 1;
  }

  confirmed(name: string): T | undefined {
    return this.#confirmed.get(name);
  }

  each(visit: (value: T) => void): void {
    this.#confirmed.each(visit);
  }

  forget(name: string): void {
    this.#confirmed.delete(name);
  }

  /** All but `kept`. */
  forgetAll(kept?: string): void {
    const stays = kept === undefined ? undefined : this.#confirmed.get(kept);
    this.#confirmed.clear();
    if (kept !== undefined && stays !== undefined) this.#confirmed.set(kept, stays);
  }
}
