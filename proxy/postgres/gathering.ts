// What all sessions of a pod hold of messages together: half-sent ones, pipelines undecided or unanswered, bytes a peer does not read.
// Each session has its own bounds; without one for all of them an agent would fill the memory with many sessions that each keep theirs.
import { ProxyError } from "../errors.ts";

/** A proxy lives in 256 MiB, of which about 100 are its own: room for 32 whole statements of the largest size, or 4 such Binds. */
export const maxGatheredBytes = 32 * 1024 * 1024;
/** A session that holds less than this is not counted and asks for nothing: ordinary statements never wait. */
export const freeBytes = 64 * 1024;
/** What an unanswered request costs beside its bytes. */
export const outstandingBytes = 1024;
/** While memory is short, a session pipelines no further than this; its own answers let it go on. */
export const shortOutstanding = 128;
/** How long a message waits for memory, and how long one that is being sent may take while another waits. */
const patienceMs = 10_000;

export interface ShareHooks {
  /** There is room: ask again. */
  readonly resume: () => void;
  /** The session ends with this error. */
  readonly fail: (error: ProxyError) => void;
  /** `namespace/name`, as errors name it. */
  readonly connection: string;
}

export class Gathering {
  readonly #shares = new Set<Share>();
  /** First come, first served. */
  readonly #waiting = new Set<Share>();
  readonly #now: () => number;
  readonly #patienceMs: number;
  #used = 0;
  #timer: NodeJS.Timeout | undefined;

  /** @param now milliseconds, from any beginning */
  constructor(now: () => number, patience: number = patienceMs) {
    this.#now = now;
    this.#patienceMs = patience;
  }

  get used(): number {
    return this.#used;
  }

  get isShort(): boolean {
    return this.#used >= maxGatheredBytes || this.#waiting.size > 0;
  }

  open(hooks: ShareHooks): Share {
    const share = new Share(this, hooks);
    this.#shares.add(share);
    return share;
  }

  /** Called by shares alone. */
  change(share: Share, before: number, after: number): void {
    this.#used += after - before;
    if (after < before && this.#waiting.size > 0 && !this.#waiting.has(share)) this.#serve();
  }

  /** Called by shares alone: whether `share` may hold so many bytes more; else it waits. */
  ask(share: Share, bytes: number): boolean {
    const [first] = this.#waiting;
    const isNext = first === undefined || first === share;
    // Whoever is alone with what it holds goes on: two bounds of one session may not stop each other.
    const isAlone = this.#used === share.counted;
    if ((isNext && this.#used + bytes <= maxGatheredBytes) || isAlone) {
      this.#waiting.delete(share);
      share.startedAt = this.#now();
      return true;
    }
    if (!this.#waiting.has(share)) {
      this.#waiting.add(share);
      share.startedAt = this.#now();
    }
    this.#timer ??= setTimeout(() => this.#lookAround(), this.#patienceMs);
    return false;
  }

  close(share: Share): void {
    this.#shares.delete(share);
    this.#waiting.delete(share);
    share.hold(0);
    if (this.#waiting.size > 0) this.#serve();
    else this.#stopTimer();
  }

  #serve(): void {
    for (const share of Array.from(this.#waiting)) {
      if (!this.#waiting.has(share)) continue;
      share.hooks.resume();
      if (this.#waiting.has(share)) break;
    }
    if (this.#waiting.size === 0) this.#stopTimer();
  }

  /** Somebody waited for long: who does not finish its message goes first, then who waits. */
  #lookAround(): void {
    this.#timer = undefined;
    const since = this.#now() - this.#patienceMs;
    for (const share of Array.from(this.#shares)) {
      if (share.startedAt === undefined || share.startedAt > since || this.#waiting.has(share))
        continue;
      share.hooks.fail(spent(share, "a message that it began was not finished in time"));
    }
    for (const share of Array.from(this.#waiting))
      if (share.startedAt !== undefined && share.startedAt <= since)
        share.hooks.fail(spent(share, "this message waited for room in vain"));
    if (this.#waiting.size > 0)
      this.#timer ??= setTimeout(() => this.#lookAround(), this.#patienceMs / 4);
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** What one session holds. */
export class Share {
  readonly hooks: ShareHooks;
  readonly #gathering: Gathering;
  #counted = 0;
  /** When its message began to be gathered, or to wait; undefined between messages. */
  startedAt: number | undefined = undefined;

  constructor(gathering: Gathering, hooks: ShareHooks) {
    this.#gathering = gathering;
    this.hooks = hooks;
  }

  get counted(): number {
    return this.#counted;
  }

  get isShort(): boolean {
    return this.#gathering.isShort;
  }

  /** States what the session holds now. */
  hold(bytes: number): void {
    const counted = bytes <= freeBytes ? 0 : bytes;
    if (counted === this.#counted) return;
    const before = this.#counted;
    this.#counted = counted;
    this.#gathering.change(this, before, counted);
  }

  /** Whether a message of so many bytes may be gathered now; if not, `resume` is called when it is worth asking again. */
  admits(bytes: number): boolean {
    if (bytes <= freeBytes) return true;
    if (!this.#gathering.ask(this, bytes)) return false;
    this.hold(this.#counted + bytes);
    return true;
  }

  /** No message is half here. */
  betweenMessages(): void {
    this.startedAt = undefined;
  }

  close(): void {
    this.#gathering.close(this);
  }
}

function spent({ hooks: { connection } }: Share, what: string): ProxyError {
  return new ProxyError(
    "LimitExceeded",
    `connection ${connection}: the sessions of this pod hold ${maxGatheredBytes / 1024 / 1024} MiB of unfinished messages, as much as they may together, and ${what}; send smaller statements or fewer at a time`,
  );
}
