// One question to a database for all sessions that ask it at the same time: whoever asks first reads, the others wait for what it finds.
import { bounded } from "./bounded.ts";

/** Who comes later than this after a look-up began has one made of its own: what it is told must not be older than what it may go by anyway (mask-source.ts). */
export const joinWithinMs = 1_000;

interface LookUp {
  readonly begunAt: number;
  /** True once it has found it; false when whoever asked could not finish. Never rejects. */
  readonly found: Promise<boolean>;
  outdated: boolean;
}

/** By upstream and database, as many as are under way. */
export class LookUps {
  readonly #underWay = new Map<string, LookUp>();
  readonly #now: () => number;

  /** @param now milliseconds, from any beginning */
  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Waits for a look-up that another session has just begun, or makes one by `read`: also when the other's fails, or takes long (its client left, or
   * does not read).
   *
   * @param read called at most once; rejects as this does. `isOutdated` tells whether what there is to find has changed since it began
   */
  async share(key: string, read: (isOutdated: () => boolean) => Promise<void>): Promise<void> {
    let missed: LookUp | undefined;
    for (
      let other = this.#joinable(key);
      other !== undefined && other !== missed;
      other = this.#joinable(key)
    ) {
      if (await isFoundSoon(other)) return;
      missed = other;
    }
    const reading = read(() => lookUp.outdated);
    const lookUp: LookUp = {
      begunAt: this.#now(),
      outdated: false,
      found: reading.then(
        () => this.#ended(key, lookUp, true),
        () => this.#ended(key, lookUp, false),
      ),
    };
    this.#underWay.set(key, lookUp);
    await reading;
  }

  /** What there is to find has changed: nobody may join what began before. */
  outdate(key: string): void {
    const lookUp = this.#underWay.get(key);
    if (lookUp === undefined) return;
    lookUp.outdated = true;
    this.#underWay.delete(key);
  }

  #joinable(key: string): LookUp | undefined {
    const lookUp = this.#underWay.get(key);
    return lookUp !== undefined && this.#now() - lookUp.begunAt < joinWithinMs ? lookUp : undefined;
  }

  #ended(key: string, lookUp: LookUp, found: boolean): boolean {
    if (this.#underWay.get(key) === lookUp) this.#underWay.delete(key);
    return found;
  }
}

async function isFoundSoon({ found }: LookUp): Promise<boolean> {
  const patience = bounded(joinWithinMs);
  try {
    return await patience.race(found);
  } catch {
    return false;
  } finally {
    patience.clear();
  }
}
