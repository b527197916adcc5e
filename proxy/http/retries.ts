// Sends a request again whose upstream connection failed before an answer began: where its Connection asks for it, and nothing can happen twice.
import { ProxyError } from "../errors.ts";
import type { AnswerControl, AnswerHandler, UpstreamRequest } from "./upstream-connection.ts";
import type { AnswerHeaders } from "./upstream-parser.ts";
import type { UpstreamPool } from "./upstream-pool.ts";

/** RFC 9110 section 9.2.1: asking again changes nothing. PUT and DELETE would do the same twice, and be recorded once. */
const safeMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
/** Before the second attempt, then twice as long each time. */
const firstPauseMs = 50;
/** A request that waited longer for its answer is not sent again: its agent has been waiting all that time. */
const patienceMs = 10_000;

export interface Repeatable {
  readonly method: string;
  /** Held operations pass once. */
  readonly wasHeld: boolean;
}

/** How often a request may be sent again, of as many times as its Connection says. */
export function retriesFor({ method, wasHeld }: Repeatable, allowed: number | undefined): number {
  return wasHeld || !safeMethods.has(method) ? 0 : (allowed ?? 0);
}

/** Dispatches, and again after a failure of the way there, at most `retries` times. */
export function dispatchAgain(
  pool: Pick<UpstreamPool, "dispatch">,
  request: UpstreamRequest,
  handler: AnswerHandler,
  retries: number,
): void {
  pool.dispatch(request, retries > 0 ? new Attempts(pool, request, handler, retries) : handler);
}

class Attempts implements AnswerHandler {
  readonly #pool: Pick<UpstreamPool, "dispatch">;
  readonly #request: UpstreamRequest;
  readonly #handler: AnswerHandler;
  readonly #startedAt = performance.now();
  readonly #retries: number;
  #done = 0;
  #hasBegun = false;

  constructor(
    pool: Pick<UpstreamPool, "dispatch">,
    request: UpstreamRequest,
    handler: AnswerHandler,
    retries: number,
  ) {
    this.#pool = pool;
    this.#request = request;
    this.#handler = handler;
    this.#retries = retries;
  }

  /** Of an agent that has left it hears here, and ends the attempt before it is written. */
  onRequestStart(control: AnswerControl): void {
    this.#handler.onRequestStart(control);
  }

  onResponseStart(control: AnswerControl, status: number, headers: AnswerHeaders): void {
    this.#hasBegun = true;
    this.#handler.onResponseStart(control, status, headers);
  }

  onResponseData(control: AnswerControl, chunk: Buffer): void {
    this.#handler.onResponseData(control, chunk);
  }

  onResponseEnd(control: AnswerControl, trailers: AnswerHeaders): void {
    this.#handler.onResponseEnd(control, trailers);
  }

  onResponseError(control: AnswerControl | null, error: Error): void {
    const mayAgain =
      !this.#hasBegun &&
      this.#done < this.#retries &&
      error instanceof ProxyError &&
      error.code === "UpstreamUnreachable" &&
      performance.now() - this.#startedAt < patienceMs;
    if (!mayAgain) {
      this.#handler.onResponseError(control, error);
      return;
    }
    const pauseMs = firstPauseMs * 2 ** this.#done;
    this.#done += 1;
    setTimeout(() => this.#pool.dispatch(this.#request, this), pauseMs);
  }
}
