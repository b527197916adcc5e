// Who may hold an administrator's connection now: a few at a time for each Connection, the rest in order behind them.
import { LeaseRefused } from "../grants/lease-refused.ts";

/** Makers of roles hold a lock of the database one after another; a second connection logs in meanwhile. */
export const maxAtOnce = 2;

/** Waiting behind more than this takes longer than an exchange may; the proxy is told to come again. */
export const maxWaiting = 256;

interface Queue {
  active: number;
  readonly waiting: (() => void)[];
}

export class Turns {
  readonly #queues = new Map<string, Queue>();

  /** Throws LeaseRefused TooManyLeases when too many wait, the signal's reason when it was aborted first. */
  async run<T>(connection: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const queue = this.#queues.get(connection) ?? { active: 0, waiting: [] };
    this.#queues.set(connection, queue);
    if (queue.active >= maxAtOnce) await wait(queue, connection, signal);
    else queue.active += 1;
    try {
      return await work();
    } finally {
      const next = queue.waiting.shift();
      if (next !== undefined) next();
      else {
        queue.active -= 1;
        if (queue.active === 0) this.#queues.delete(connection);
      }
    }
  }
}

/** Resolves holding the turn of whoever was done. */
async function wait(queue: Queue, connection: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (queue.waiting.length >= maxWaiting)
    throw new LeaseRefused(
      "TooManyLeases",
      `connection ${connection}: ${maxWaiting} roles are waiting to be made`,
      { temporary: true },
    );
  const turn = Promise.withResolvers<void>();
  const take = (): void => turn.resolve();
  const abort = (): void => {
    const at = queue.waiting.indexOf(take);
    // Not among them: the turn is ours already.
    if (at < 0) return;
    queue.waiting.splice(at, 1);
    turn.reject(signal.reason);
  };
  queue.waiting.push(take);
  signal.addEventListener("abort", abort, { once: true });
  try {
    await turn.promise;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
