// The moment of a decision: what stands when a rule looks at it. Few rules do, so nothing is put together before.
import type { DecideContext } from "../policy/decide.ts";

/** One for each session, for all its decisions. */
export class Moment implements DecideContext {
  readonly #standing: () => DecideContext["session"];
  readonly #now: () => number;

  constructor(standing: () => DecideContext["session"], now: () => number) {
    this.#standing = standing;
    this.#now = now;
  }

  get session(): DecideContext["session"] {
    return this.#standing();
  }

  get time(): Date {
    return new Date(this.#now());
  }
}
