// Remembers the `jti` of every accepted DPoP proof for as long as that proof could be sent again (RFC 9449 section 11.1).

/** One caller sends an event batch every 100 ms at most, so about 1,200 proofs a period; this leaves room and keeps a runaway to itself. */
export const maxProofsPerCaller = 4_096;

/** For all callers together: 2,000 exchanges a second over two periods, about 60 MB at the very worst. */
export const maxProofs = 524_288;

export type ReplayVerdict = "fresh" | "replayed" | "too-many";

/**
 * Two generations of sets, each one period long: a proof is forgotten between one and two periods after it was seen, without a timer
 * an entry. `periodMs` must be at least as long as a proof stays acceptable.
 */
export class ReplayCache {
  readonly #periodMs: number;
  readonly #now: () => number;
  #young = new Map<string, Set<string>>();
  #old = new Map<string, Set<string>>();
  #youngSince: number;
  #youngSize = 0;
  #oldSize = 0;

  constructor(periodMs: number, now: () => number) {
    this.#periodMs = periodMs;
    this.#now = now;
    this.#youngSince = now();
  }

  /** Notes the proof; call it only for callers that are known by then, so that strangers cannot fill the cache. */
  use(caller: string, jti: string): ReplayVerdict {
    this.#age();
    const young = this.#young.get(caller);
    const old = this.#old.get(caller);
    if (young?.has(jti) === true || old?.has(jti) === true) return "replayed";
    if (
      (young?.size ?? 0) + (old?.size ?? 0) >= maxProofsPerCaller ||
      this.#youngSize + this.#oldSize >= maxProofs
    )
      return "too-many";
    if (young === undefined) this.#young.set(caller, new Set([jti]));
    else young.add(jti);
    this.#youngSize += 1;
    return "fresh";
  }

  get size(): number {
    return this.#youngSize + this.#oldSize;
  }

  #age(): void {
    const elapsed = this.#now() - this.#youngSince;
    if (elapsed < this.#periodMs) return;
    const stale = elapsed >= 2 * this.#periodMs;
    this.#old = stale ? new Map() : this.#young;
    this.#oldSize = stale ? 0 : this.#youngSize;
    this.#young = new Map();
    this.#youngSize = 0;
    this.#youngSince = this.#now();
  }
}
