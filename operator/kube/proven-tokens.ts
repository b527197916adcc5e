// Tokens whose signature was checked a moment ago: a proxy shows the same one for each of its connections, and checking it again costs more than the rest of an exchange's work.
import { hash } from "node:crypto";

/** As long as a TokenReview is believed (token-review.ts); a signing key that is withdrawn counts that much longer. */
export const provenTtlMs = 30_000;

/** Live tokens of twice as many pods as one replica serves. */
const maxRemembered = 20_000;

/** By the token's hash: what would be a credential elsewhere is not kept. */
export class ProvenTokens<T> {
  readonly #now: () => number;
  readonly #known = new Map<string, { readonly said: T; readonly until: number }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** What the token says; undefined unless it was proven lately and holds still. */
  get(token: string): T | undefined {
    const known = this.#known.get(hash("sha256", token));
    return known !== undefined && this.#now() < known.until ? known.said : undefined;
  }

  /** `expiresAt` in milliseconds since 1970. */
  add(token: string, said: T, expiresAt: number): void {
    const id = hash("sha256", token);
    this.#known.delete(id);
    const oldest = this.#known.size >= maxRemembered ? this.#known.keys().next().value : undefined;
    if (oldest !== undefined) this.#known.delete(oldest);
    this.#known.set(id, { said, until: Math.min(this.#now() + provenTtlMs, expiresAt) });
  }
}
