// What all requests under way may hold together: of bodies that wait for a decision or an answer, and of texts that are recorded. Each is bounded, and an
// agent can send many at once.
import { ProxyError } from "../errors.ts";
import { ByteBudget } from "./byte-budget.ts";

/** Eight prompts of the largest size; with what is made of them, and what the collector has not seen yet, within the container's memory. */
export const maxHeldBytes = 32 * 1024 * 1024;
/** Of each body these are not counted: a small request never waits for large ones. */
export const uncountedBytes = 32 * 1024;
/** Of texts kept for the record (`detail: Full`) until their operation ends: half of what bodies have. What finds no room is recorded by its digest. */
export const maxKeptBytes = 16 * 1024 * 1024;
/** Of each text these are not counted: nobody can fill the rest and then say something that is not recorded at all. */
export const uncountedTextBytes = 4 * 1024;
/**
 * Bodies that go on while they still come. Each may have some 64 KiB waiting between the agent's connection and the upstream's, and these come from
 * a process whose memory is bounded: an upstream that takes none of them must not cost more than that.
 */
export const maxPassingBodies = 256;
/** How long a body waits for others to end. */
const patienceMs = 10_000;
/** Bodies that wait for others to end: each has what is not counted of it here, and as much again that was read and waits behind that. */
export const maxWaitingBodies = 128;

interface Waiting {
  readonly bytes: number;
  readonly share: BodyShare;
  readonly go: () => void;
  readonly timer: NodeJS.Timeout;
}

export class BodyBudget {
  readonly #most: number;
  readonly #patienceMs: number;
  readonly texts = new ByteBudget(maxKeptBytes);
  #held = 0;
  #passing = 0;
  /** In the order they came. */
  readonly #waiting = new Set<Waiting>();

  constructor(most: number = maxHeldBytes, patience: number = patienceMs) {
    this.#most = most;
    this.#patienceMs = patience;
  }

  get held(): number {
    return this.#held;
  }

  share(): BodyShare {
    return new BodyShare(this);
  }

  /** True when one more may go on while it still comes. */
  pass(): boolean {
    if (this.#passing >= maxPassingBodies) return false;
    this.#passing += 1;
    return true;
  }

  passed(): void {
    this.#passing -= 1;
  }

  /** True when there is room for these too; whoever waits goes first. */
  take(bytes: number): boolean {
    if (this.#waiting.size > 0 || this.#held + bytes > this.#most) return false;
    this.#held += bytes;
    return true;
  }

  /**
   * Takes them as soon as there is room.
   *
   * @param go there is
   * @param failed there was none in time; called at once where too many wait already
   */
  wait(share: BodyShare, bytes: number, go: () => void, failed: (error: ProxyError) => void): void {
    if (this.#waiting.size >= maxWaitingBodies) {
      failed(tooMuch(this.#most));
      return;
    }
    const timer = setTimeout(() => {
      this.#waiting.delete(one);
      failed(tooMuch(this.#most));
      this.#wake();
    }, this.#patienceMs);
    const one: Waiting = { bytes, share, go, timer };
    this.#waiting.add(one);
  }

  give(share: BodyShare, bytes: number): void {
    this.#held -= bytes;
    for (const one of this.#waiting)
      if (one.share === share) {
        clearTimeout(one.timer);
        this.#waiting.delete(one);
      }
    this.#wake();
  }

  #wake(): void {
    for (const one of this.#waiting) {
      if (this.#held + one.bytes > this.#most) return;
      this.#held += one.bytes;
      clearTimeout(one.timer);
      this.#waiting.delete(one);
      one.share.taken += one.bytes;
      one.go();
    }
  }
}

/** What one request holds of it, until it is over. */
export class BodyShare {
  readonly #budget: BodyBudget;
  taken = 0;
  #kept = 0;
  #isPassing = false;

  constructor(budget: BodyBudget) {
    this.#budget = budget;
  }

  /** True when the body may be as long as this; else `go` is called later, or `failed`, within the call where too many wait already. */
  grow(length: number, go: () => void, failed: (error: ProxyError) => void): boolean {
    const bytes = length - uncountedBytes - this.taken;
    if (bytes <= 0) return true;
    if (this.#budget.take(bytes)) {
      this.taken += bytes;
      return true;
    }
    this.#budget.wait(this, bytes, go, failed);
    return false;
  }

  /** False where all texts together leave no room for so many bytes more. */
  keep(bytes: number): boolean {
    if (!this.#budget.texts.take(bytes)) return false;
    this.#kept += bytes;
    return true;
  }

  /** Its body goes on while it still comes. Throws LimitExceeded where too many do. */
  pass(): void {
    if (this.#isPassing) return;
    if (!this.#budget.pass()) throw tooManyPassing();
    this.#isPassing = true;
  }

  release(): void {
    const { taken } = this;
    if (this.#isPassing) this.#budget.passed();
    this.#isPassing = false;
    this.taken = 0;
    this.#budget.give(this, taken);
    this.#budget.texts.give(this.#kept);
    this.#kept = 0;
  }
}

function tooMuch(most: number): ProxyError {
  return new ProxyError(
    "LimitExceeded",
    `the requests of this pod hold ${most / 1024 / 1024} MiB of bodies that wait for a decision or an answer, as much as they may together; send fewer at a time`,
  );
}

function tooManyPassing(): ProxyError {
  return new ProxyError(
    "LimitExceeded",
    `${maxPassingBodies} requests of this pod are still sending their bodies, as many as may at a time; wait for some of them to end`,
  );
}
