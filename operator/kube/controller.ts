// The loop of every controller: keys in, reconcile, and again later when it failed or asked for it.
import { WorkQueue } from "./work-queue.ts";

/** One object must not hold a worker for ever; what takes longer is tried again. */
export const reconcileTimeoutMs = 60_000;

export interface ControllerLog {
  warn(details: Readonly<Record<string, unknown>>, event: string): void;
}

export interface ControllerOptions {
  readonly name: string;
  readonly workers: number;
  readonly log: ControllerLog;
  /** Brings the world behind one key up to date. Throwing means trying again; `requeueAfterMs` means looking again then. */
  readonly reconcile: (
    key: string,
    signal: AbortSignal,
  ) => Promise<{ readonly requeueAfterMs?: number }>;
  readonly queue?: WorkQueue;
}

export class Controller {
  readonly name: string;
  readonly queue: WorkQueue;
  readonly #options: ControllerOptions;
  readonly #stop = new AbortController();
  #workers: Promise<void>[] = [];

  constructor(options: ControllerOptions) {
    this.name = options.name;
    this.#options = options;
    this.queue = options.queue ?? new WorkQueue();
  }

  start(): void {
    if (this.#workers.length > 0) return;
    this.#workers = Array.from({ length: this.#options.workers }, () => this.#work());
  }

  /** Ends after what is being worked on is done or cut off. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.queue.close();
    await Promise.all(this.#workers);
  }

  async #work(): Promise<void> {
    for (let key = await this.queue.take(); key !== undefined; key = await this.queue.take())
      await this.#one(key);
  }

  async #one(key: string): Promise<void> {
    const { name, log, reconcile } = this.#options;
    try {
      const { requeueAfterMs } = await reconcile(
        key,
        AbortSignal.any([this.#stop.signal, AbortSignal.timeout(reconcileTimeoutMs)]),
      );
      this.queue.done(key);
      if (requeueAfterMs !== undefined) this.queue.addAfter(key, requeueAfterMs);
    } catch (error) {
      const retryInMs = this.queue.retry(key);
      if (this.#stop.signal.aborted) return;
      log.warn(
        {
          controller: name,
          key,
          retryInMs,
          cause: error instanceof Error ? error.message : String(error),
        },
        "reconcile-failed",
      );
    }
  }
}
