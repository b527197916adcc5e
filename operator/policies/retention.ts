// Deletes what was recorded once its time has come: per policy where it still stands, the default otherwise.
import { parseDays } from "../../policy/duration.ts";
import { prune } from "../audit/retention.ts";
import type { AuditDatabase } from "../audit/schema.ts";
import type { AccessPolicy } from "../../crds/types.gen.ts";

/** Retention is counted in days; an hour more or less is nothing. */
export const retentionIntervalMs = 60 * 60_000;

/** What the schema says for a policy that names none. */
const defaultDays = 90;

const day = 24 * 60 * 60_000;

export interface RetentionOptions {
  readonly db: AuditDatabase;
  readonly policies: () => Iterable<AccessPolicy>;
  readonly now: () => number;
  readonly onPruned: (events: number) => void;
  readonly onProblem: (error: unknown) => void;
}

export class Retention {
  readonly #options: RetentionOptions;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #pruning: Promise<void> = Promise.resolve();

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#pruning = this.run().catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#options.onProblem(error);
      });
    }, retentionIntervalMs);
    this.#timer.unref();
  }

  async run(): Promise<void> {
    const { db, policies, now, onPruned } = this.#options;
    const at = now();
    const { signal } = this.#stop;
    const pass = (days: number, policy?: string): Promise<number> =>
      prune(db, {
        before: new Date(at - days * day).toISOString(),
        now: new Date(at).toISOString(),
        signal,
        ...(policy === undefined ? {} : { policy }),
      });
    let longest = defaultDays;
    let pruned = 0;
    for (const { metadata, spec } of policies()) {
      const days = parseDays(spec.recording?.retention ?? `${defaultDays}d`);
      longest = Math.max(longest, days);
      pruned += await pass(days, `${metadata.namespace}/${metadata.name}`);
    }
    // Whatever no policy speaks for any more goes with the last that any could.
    pruned += await pass(longest);
    if (pruned > 0) onPruned(pruned);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await this.#pruning;
  }
}
