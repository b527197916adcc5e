// Refusals of places that no Connection names: the first of each place is told at once, what follows within a while is counted and
// told once, so that an agent that tries again and again cannot fill the record.
import type { RefusedTarget } from "../contract/event.ts";
import type { ProxyError } from "./errors.ts";

/** A place is told again after this, with how often it was refused in between. */
export const tellAgainMs = 600_000;
/** Places remembered: what is beyond is told like any refusal, within the rate of those. */
const maxPlaces = 256;

export interface UnknownHostsOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** @param target with how many refusals it stands for; true once it is recorded */
  readonly tell: (error: ProxyError, target: RefusedTarget) => boolean;
}

interface Place {
  readonly error: ProxyError;
  readonly target: Omit<RefusedTarget, "count">;
  toldMs: number;
  counted: number;
}

export class UnknownHosts {
  readonly #options: UnknownHostsOptions;
  readonly #places = new Map<string, Place>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: UnknownHostsOptions) {
    this.#options = options;
  }

  /** False when it is neither told nor remembered: then the caller counts it. */
  note(error: ProxyError, target: Omit<RefusedTarget, "count">): boolean {
    const key = `${target.scheme} ${target.host}:${target.port}`;
    const now = this.#options.now();
    const known = this.#places.get(key);
    const place = known ?? { error, target, toldMs: now, counted: 0 };
    place.counted += 1;
    if (known === undefined || now - known.toldMs >= tellAgainMs) this.#tell(place, now);
    if (known !== undefined || this.#remember(key, place, now)) {
      // Armed only while something is counted and not told: an idle proxy is not woken.
      if (place.counted > 0) this.#arm();
      return true;
    }
    return place.counted === 0;
  }

  #remember(key: string, place: Place, now: number): boolean {
    if (this.#places.size >= maxPlaces) this.#forget(now);
    if (this.#places.size >= maxPlaces) return false;
    this.#places.set(key, place);
    return true;
  }

  #arm(): void {
    this.#timer ??= setTimeout(() => this.#tellDue(), tellAgainMs).unref();
  }

  /** Tells what was only counted, and returns how many could not be told. */
  close(): number {
    clearTimeout(this.#timer);
    const now = this.#options.now();
    let untold = 0;
    for (const place of this.#places.values()) {
      if (place.counted > 0) this.#tell(place, now);
      untold += place.counted;
    }
    this.#places.clear();
    return untold;
  }

  #tell(place: Place, now: number): void {
    if (!this.#options.tell(place.error, { ...place.target, count: place.counted })) return;
    place.counted = 0;
    place.toldMs = now;
  }

  #tellDue(): void {
    this.#timer = undefined;
    const now = this.#options.now();
    this.#forget(now);
    if ([...this.#places.values()].some(({ counted }) => counted > 0)) this.#arm();
  }

  /** Makes room: tells what is due and drops what has nothing more to tell. */
  #forget(now: number): void {
    for (const [key, place] of this.#places) {
      if (now - place.toldMs < tellAgainMs) continue;
      if (place.counted > 0) this.#tell(place, now);
      else this.#places.delete(key);
    }
  }
}
