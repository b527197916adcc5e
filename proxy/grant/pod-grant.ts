// The pod grant: asked for at start, renewed for as long as the proxy lives; it opens the stream, ships events and asks for approvals.
import type { TokenAnswer } from "../../contract/control.ts";
import { OperatorRefused } from "./answers.ts";
import { backoffMs, orAbort, sleep, type Clock } from "./clock.ts";

const firstRetryMs = 200;
/** A refused proxy (its pod's status not yet reported, a restarted container) asks again at least this often. */
const maxRetryMs = 5_000;

/** Renewed when this much of its life is over, so that a third remains for an operator that is away. */
export const renewAfter = 2 / 3;

export interface PodGrantOptions {
  readonly exchange: (signal: AbortSignal) => Promise<TokenAnswer>;
  readonly clock: Clock;
  readonly random: () => number;
  /** Each failed attempt, for the log. */
  readonly onProblem: (error: unknown) => void;
}

export class PodGrant {
  readonly #options: PodGrantOptions;
  readonly #closing = new AbortController();
  #token: { readonly value: string; readonly expiresAt: number } | undefined;
  #waiting = Promise.withResolvers<string>();
  #wake: AbortController = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: PodGrantOptions) {
    this.#options = options;
    this.#waiting.promise.catch(() => undefined);
  }

  start(): void {
    this.#running ??= this.#run().catch(() => undefined); // ends only by close
  }

  /** The grant in force; waits for the first, or for one after the last has expired. */
  async get(signal: AbortSignal): Promise<string> {
    const token = this.#token;
    if (token !== undefined && token.expiresAt > this.#options.clock.now()) return token.value;
    return await orAbort(this.#waiting.promise, signal);
  }

  /** The operator does not accept `value` any more: get another at once. */
  reject(value: string): void {
    if (this.#token?.value !== value) return;
    this.#expectAnother();
    this.#wake.abort();
  }

  async close(): Promise<void> {
    const reason = new Error("the proxy is shutting down");
    this.#closing.abort(reason);
    this.#waiting.reject(reason);
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random, exchange, onProblem } = this.#options;
    for (let attempt = 0; !this.#closing.signal.aborted;) {
      try {
        const askedAt = clock.now();
        const answer = await exchange(this.#closing.signal);
        attempt = 0;
        // Counted from when we asked, on our own clock: never longer than the operator means.
        const lifeMs = answer.expires_in * 1000;
        this.#token = { value: answer.access_token, expiresAt: askedAt + lifeMs };
        this.#waiting.resolve(answer.access_token);
        await this.#pause(lifeMs * renewAfter);
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        if (this.#token !== undefined && this.#token.expiresAt <= clock.now())
          this.#expectAnother();
        onProblem(error);
        await this.#pause(backoffMs(attempt, random, firstRetryMs, maxRetryMs));
        attempt += 1;
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    this.#wake = new AbortController();
    try {
      await sleep(
        this.#options.clock,
        ms,
        AbortSignal.any([this.#closing.signal, this.#wake.signal]),
      );
    } catch {
      this.#closing.signal.throwIfAborted(); // otherwise woken to renew early
    }
  }

  #expectAnother(): void {
    this.#token = undefined;
    this.#waiting = Promise.withResolvers();
    this.#waiting.promise.catch(() => undefined);
  }
}

/** Whether the refusal is about the grant we presented, so that another one may help. */
export function isAboutGrant(error: unknown): boolean {
  return (
    error instanceof OperatorRefused && error.status === 401 && error.error === "invalid_token"
  );
}
