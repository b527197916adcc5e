// The connections to one upstream: the one used last is used next, new ones are opened up to a bound, and what exceeds that waits in order.
// Where the upstream speaks HTTP/2 one connection carries many requests, and another is opened when it allows no more.
import { ProxyError } from "../errors.ts";
import {
  UpstreamConnection,
  type AnswerHandler,
  type Connected,
  type UpstreamLink,
  type UpstreamRequest,
} from "./upstream-connection.ts";
import { UpstreamH2 } from "./upstream-h2.ts";

export interface PoolOptions {
  readonly connect: () => Promise<Connected>;
  /** As the Host header says it. */
  readonly host: string;
  readonly maxConnections: number;
  readonly now: () => number;
  /** Only the first handshake tells which version the upstream speaks: one connection is opened for everyone who waits. */
  readonly mayBeH2?: boolean;
}

interface Waiting {
  readonly request: UpstreamRequest;
  readonly handler: AnswerHandler;
}

/** Nobody hears it: the connection carries nothing. */
const idle = new Error("the connection is not needed any more");
/** How often idle and silent connections are looked at. */
const checkEveryMs = 1_000;
/** An upstream that refuses the same request again and again does not want it. */
const maxRefusals = 2;
/** HTTP/2 connections to one upstream. Servers allow a hundred streams or more on each. */
const maxShared = 16;

export class UpstreamPool {
  readonly #options: PoolOptions;
  readonly #open = new Set<UpstreamLink>();
  /** Of HTTP/1.1. Last in, first out: the rest may grow old and be closed. */
  readonly #free: UpstreamLink[] = [];
  readonly #shared: UpstreamH2[] = [];
  /** Bounded by the room: an exchange is counted before it comes here. */
  readonly #waiting: Waiting[] = [];
  /** As the last handshake settled it. */
  #isH2: boolean | undefined;
  #opening = 0;
  #timer: NodeJS.Timeout | undefined;
  #closing: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    if (options.mayBeH2 !== true) this.#isH2 = false;
  }

  dispatch(request: UpstreamRequest, handler: AnswerHandler): void {
    const link = this.#takeFree();
    if (link === undefined) {
      this.#waiting.push({ request, handler });
      if (this.#mayOpen) this.#connect();
      return;
    }
    this.#send(link, { request, handler });
    if (link.isFree) this.#freed(link);
  }

  /** Resolves when everything under way has ended. */
  close(): Promise<void> {
    this.#closing ??= Promise.withResolvers<void>();
    for (const connection of this.#free.splice(0)) connection.destroy(idle);
    for (const link of this.#shared) if (link.isIdle) link.destroy(idle);
    this.#settle();
    return this.#closing.promise;
  }

  /** Ends everything now, with this reason. */
  destroy(reason: Error): void {
    void this.close();
    for (const { handler } of this.#waiting.splice(0)) handler.onResponseError(null, reason);
    for (const connection of this.#open) connection.destroy(reason);
  }

  /** Ends what waits for too long; called every second while there are connections. */
  check(): void {
    for (const connection of this.#open) connection.check();
  }

  /** Where requests share a connection, or may, there is no use in opening several at once. */
  get #mayOpen(): boolean {
    if (this.#isH2 === false) return this.#open.size + this.#opening < this.#options.maxConnections;
    return this.#opening === 0 && this.#open.size < maxShared;
  }

  /**
   * An attempt for one of those who wait failed; where one is opened for all of them and nothing else could carry them, for all: each
   * trying for itself, the last would hear after hours of an upstream that does not answer.
   */
  #failWaiting(error: Error): void {
    const isForAll = this.#isH2 !== false && this.#open.size === 0;
    const failed = this.#waiting.splice(0, isForAll ? Infinity : 1);
    for (const { handler } of failed) handler.onResponseError(null, error);
  }

  #takeFree(): UpstreamLink | undefined {
    for (const link of this.#shared) if (link.isFree) return link;
    for (let last = this.#free.pop(); last !== undefined; last = this.#free.pop())
      if (last.isFree) return last;
    return undefined;
  }

  /** The link is as free as before when the handler had no use for it any more. */
  #send(link: UpstreamLink, { request, handler }: Waiting): void {
    try {
      link.send(request, handler);
    } catch (error) {
      handler.onResponseError(null, asError(error));
    }
  }

  #connect(): void {
    this.#opening += 1;
    this.#options.connect().then(
      (connected) => {
        this.#opening -= 1;
        this.#isH2 = connected.isH2 === true;
        const link = this.#linkOn(connected);
        this.#open.add(link);
        this.#timer ??= setInterval(() => this.check(), checkEveryMs).unref();
        this.#freed(link);
        this.#reopen();
      },
      (error: unknown) => {
        this.#opening -= 1;
        this.#failWaiting(asError(error));
        this.#reopen();
        this.#settle();
      },
    );
  }

  #linkOn(connected: Connected): UpstreamLink {
    const { host, now } = this.#options;
    if (connected.isH2 !== true)
      return new UpstreamConnection(
        connected,
        host,
        { free: this.#freed, closed: this.#closed },
        now,
      );
    const link = new UpstreamH2(
      connected,
      host,
      { free: this.#freed, unprocessed: this.#unprocessed, closed: this.#closedShared },
      now,
    );
    this.#shared.push(link);
    return link;
  }

  readonly #freed = (link: UpstreamLink): void => {
    while (link.isFree) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      this.#send(link, next);
    }
    if (link instanceof UpstreamH2) {
      if (this.#closing !== undefined && link.isIdle) link.destroy(idle);
    } else if (link.isFree) {
      if (this.#closing === undefined) this.#free.push(link);
      else link.destroy(idle);
    }
  };

  readonly #closed = (link: UpstreamLink): void => {
    this.#open.delete(link);
    const at = this.#free.indexOf(link);
    if (at >= 0) this.#free.splice(at, 1);
    this.#reopen();
    this.#settle();
  };

  readonly #closedShared = (link: UpstreamH2): void => {
    this.#shared.splice(this.#shared.indexOf(link), 1);
    // Opened for those that wait, and it allowed nothing: another would not either.
    this.#open.delete(link);
    if (!link.hasCarried) this.#failWaiting(useless());
    this.#closed(link);
  };

  /** RFC 9113 section 8.7: sent again, because the upstream says that it did nothing with it. */
  readonly #unprocessed = (request: UpstreamRequest, handler: AnswerHandler): void => {
    const refusals = (request.refusals ?? 0) + 1;
    if (refusals > maxRefusals) handler.onResponseError(null, refused());
    else this.dispatch({ ...request, refusals }, handler);
  };

  /** What waits must not wait for a connection that is gone. */
  #reopen(): void {
    while (this.#waiting.length > this.#opening && this.#mayOpen) this.#connect();
  }

  #settle(): void {
    if (this.#open.size > 0 || this.#opening > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#waiting.length === 0) this.#closing?.resolve();
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function useless(): ProxyError {
  return new ProxyError(
    "UpstreamUnreachable",
    "the upstream closed its HTTP/2 connection before it had allowed a request",
  );
}

function refused(): ProxyError {
  return new ProxyError(
    "UpstreamUnreachable",
    `the upstream refused the request ${maxRefusals + 1} times before it looked at it`,
  );
}
