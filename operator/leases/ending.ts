// Roles whose grant is over, until the database has let go of them: tried at once, then again ever more seldom.
import type { AdminTarget } from "./admin.ts";
import { isSameDatabase } from "./databases.ts";

/** What does not fit is found by the sweep, by its comment. */
export const maxEnding = 4_096;

/** Half an hour of failures; then the sweep is left to find it. */
const maxAttempts = 40;

const firstRetryMs = 500;
const maxRetryMs = 60_000;

/** How late a retry may be noticed. */
const tickMs = 500;

/** Who waits for all to be gone looks this often at what is to be tried again. */
const settlingMs = 20;

/** Roles ended over one administrator's connection. */
const maxAtOnce = 50;

export interface EndingRole {
  readonly name: string;
  /** `namespace/name`. */
  readonly connection: string;
  /** Only its time is over: another process may have given it more since. */
  readonly ifExpired: boolean;
  /** Where it was made; the Connection may be gone or lead elsewhere now. */
  readonly target: AdminTarget;
  /** Resolves when nobody is making it any more. */
  readonly made: Promise<unknown>;
}

interface Waiting extends EndingRole {
  isMade: boolean;
  attempts: number;
  dueAt: number;
}

export interface EndingOptions {
  readonly now: () => number;
  readonly random: () => number;
  /** Ends some roles of one target over one connection and tells of each that is gone; throws when it could not go on. */
  readonly end: (
    target: AdminTarget,
    roles: readonly Pick<EndingRole, "name" | "ifExpired">[],
    gone: (name: string) => void,
  ) => Promise<void>;
  /** A role could not be ended this time. */
  readonly onProblem: (role: EndingRole, error: unknown) => void;
}

export class EndingRoles {
  readonly #options: EndingOptions;
  readonly #waiting = new Map<string, Waiting>();
  /** Connections that are being worked on. */
  readonly #running = new Map<string, Promise<void>>();
  readonly #ticker: NodeJS.Timeout;
  #isClosed = false;

  constructor(options: EndingOptions) {
    this.#options = options;
    this.#ticker = setInterval(() => this.#kick(), tickMs);
    this.#ticker.unref();
  }

  get size(): number {
    return this.#waiting.size;
  }

  has(name: string): boolean {
    return this.#waiting.has(name);
  }

  add(role: EndingRole): void {
    if (this.#isClosed || this.#waiting.has(role.name)) return;
    const oldest = this.#waiting.size >= maxEnding ? this.#waiting.keys().next().value : undefined;
    if (oldest !== undefined) this.#waiting.delete(oldest);
    const waiting: Waiting = { ...role, isMade: false, attempts: 0, dueAt: 0 };
    this.#waiting.set(role.name, waiting);
    // Not at once, so that those which end together go over one connection.
    void role.made
      .catch(() => undefined)
      .then(() => {
        waiting.isMade = true;
        queueMicrotask(() => this.#kick());
      });
  }

  /** Resolves when none is left, or the signal is aborted. */
  async settled(signal: AbortSignal): Promise<void> {
    while (this.#waiting.size > 0 && !signal.aborted) {
      this.#kick();
      await Promise.race([
        aborted(signal),
        ...(this.#running.size > 0
          ? this.#running.values()
          : [new Promise<void>((resolve) => setTimeout(resolve, settlingMs))]),
      ]);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#ticker);
    await Promise.all(this.#running.values());
  }

  #kick(): void {
    if (this.#isClosed) return;
    const now = this.#options.now();
    const due = [...this.#waiting.values()].filter(
      ({ connection, dueAt, isMade }) => isMade && dueAt <= now && !this.#running.has(connection),
    );
    for (const [connection, roles] of Map.groupBy(due, (role) => role.connection)) {
      const running = this.#work(roles).finally(() => {
        this.#running.delete(connection);
        // What came meanwhile has not been tried at all.
        if ([...this.#waiting.values()].some(({ dueAt, isMade }) => isMade && dueAt === 0))
          this.#kick();
      });
      this.#running.set(connection, running);
    }
  }

  /** Those of one database that are due; the rest of them waits for the next round. */
  async #work(roles: readonly Waiting[]): Promise<void> {
    const [first] = roles;
    if (first === undefined) return;
    const batch = roles
      .filter(({ target }) => isSameDatabase(target, first.target))
      .slice(0, maxAtOnce);
    let failure: unknown;
    try {
      await this.#options.end(first.target, batch, (name) => this.#waiting.delete(name));
    } catch (error) {
      failure = error;
    }
    for (const role of batch) if (this.#waiting.has(role.name)) this.#retryLater(role, failure);
  }

  #retryLater(role: Waiting, error: unknown): void {
    const { now, random, onProblem } = this.#options;
    onProblem(role, error);
    role.attempts += 1;
    if (role.attempts >= maxAttempts) {
      this.#waiting.delete(role.name);
      return;
    }
    const backoffMs = Math.min(maxRetryMs, firstRetryMs * 2 ** (role.attempts - 1));
    role.dueAt = now() + backoffMs * (0.5 + random() / 2);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
