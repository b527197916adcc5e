// The connections to one upstream: the one used last is used next, new ones are opened up to a bound, and what exceeds that waits in order.
import {
  UpstreamConnection,
  type AnswerHandler,
  type Connected,
  type KnownRequest,
} from "./upstream-connection.ts";

export interface PoolOptions {
  readonly connect: () => Promise<Connected>;
  /** As the Host header says it. */
  readonly host: string;
  readonly maxConnections: number;
  readonly now: () => number;
}

interface Waiting {
  readonly request: KnownRequest;
  readonly handler: AnswerHandler;
}

/** Nobody hears it: the connection carries nothing. */
const idle = new Error("the connection is not needed any more");
/** How often idle and silent connections are looked at. */
const checkEveryMs = 1_000;

export class UpstreamPool {
  readonly #options: PoolOptions;
  readonly #open = new Set<UpstreamConnection>();
  /** Last in, first out: the rest may grow old and be closed. */
  readonly #free: UpstreamConnection[] = [];
  /** Bounded by the room: an exchange is counted before it comes here. */
  readonly #waiting: Waiting[] = [];
  #opening = 0;
  #timer: NodeJS.Timeout | undefined;
  #closing: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  dispatch(request: KnownRequest, handler: AnswerHandler): void {
    const connection = this.#takeFree();
    if (connection !== undefined) {
      this.#send(connection, { request, handler });
      return;
    }
    this.#waiting.push({ request, handler });
    if (this.#open.size + this.#opening < this.#options.maxConnections) this.#connect();
  }

  /** Resolves when everything under way has ended. */
  close(): Promise<void> {
    this.#closing ??= Promise.withResolvers<void>();
    for (const connection of this.#free.splice(0)) connection.destroy(idle);
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

  #takeFree(): UpstreamConnection | undefined {
    for (let last = this.#free.pop(); last !== undefined; last = this.#free.pop())
      if (last.isFree) return last;
    return undefined;
  }

  #send(connection: UpstreamConnection, { request, handler }: Waiting): void {
    let isSent = false;
    try {
      isSent = connection.send(request, handler);
    } catch (error) {
      handler.onResponseError(null, error instanceof Error ? error : new Error(String(error)));
    }
    if (!isSent) this.#freed(connection);
  }

  #connect(): void {
    this.#opening += 1;
    this.#options.connect().then(
      (connected) => {
        this.#opening -= 1;
        const connection = new UpstreamConnection(
          connected,
          this.#options.host,
          { free: this.#freed, closed: this.#closed },
          this.#options.now,
        );
        this.#open.add(connection);
        this.#timer ??= setInterval(() => this.check(), checkEveryMs).unref();
        this.#freed(connection);
      },
      (error: unknown) => {
        this.#opening -= 1;
        const failed = this.#waiting.shift();
        failed?.handler.onResponseError(
          null,
          error instanceof Error ? error : new Error(String(error)),
        );
        this.#reopen();
        this.#settle();
      },
    );
  }

  readonly #freed = (connection: UpstreamConnection): void => {
    const next = this.#waiting.shift();
    if (next !== undefined) this.#send(connection, next);
    else if (this.#closing === undefined) this.#free.push(connection);
    else connection.destroy(idle);
  };

  readonly #closed = (connection: UpstreamConnection): void => {
    this.#open.delete(connection);
    const at = this.#free.indexOf(connection);
    if (at >= 0) this.#free.splice(at, 1);
    this.#reopen();
    this.#settle();
  };

  /** What waits must not wait for a connection that is gone. */
  #reopen(): void {
    if (
      this.#waiting.length > this.#opening &&
      this.#open.size + this.#opening < this.#options.maxConnections
    )
      this.#connect();
  }

  #settle(): void {
    if (this.#open.size > 0 || this.#opening > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#waiting.length === 0) this.#closing?.resolve();
  }
}
