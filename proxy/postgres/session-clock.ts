// Watches one session's time under the limits in force: how long it is idle, also in a transaction, and how long one statement runs, should the server not stop it.
import type { Limits } from "../../policy/bundle.ts";
import { ProxyError } from "../errors.ts";
import type { Exchange } from "./exchange.ts";
import { refusalMessage } from "./refusal.ts";
import type { Request } from "./requests.ts";

/** The server's own statement_timeout comes first: it costs nothing and its error is the one drivers know. */
const serverGraceMs = 1_000;
/** A server that has not ended a cancelled statement by then never will. */
const cancelGraceMs = 5_000;
/** Looked at this often for each limit's length: what is late is late by a quarter. */
const looksPerLimit = 4;
const shortestLookMs = 50;
/** Limits may come with a later policy. */
const longestLookMs = 5_000;

export interface ClockHooks {
  readonly limits: () => Limits | undefined;
  /** The client waits for nothing that is still to be decided or sent. */
  readonly quiet: () => boolean;
  readonly cancel: () => void;
  readonly finish: (error: ProxyError) => void;
}

/** What it looks at. */
export type Watched = Pick<Exchange, "queue" | "now" | "connection" | "over" | "stopped">;

export class SessionClock {
  readonly #x: Watched;
  readonly #hooks: ClockHooks;
  #timer: NodeJS.Timeout | undefined;
  #heard = true;
  #idleSince = 0;
  #head: Request | undefined;
  #headSince = 0;
  #cancelled = false;

  constructor(exchange: Watched, hooks: ClockHooks) {
    this.#x = exchange;
    this.#hooks = hooks;
  }

  /** The client sent something. */
  heard(): void {
    this.#heard = true;
  }

  start(): void {
    const { idleTimeoutSeconds, statementTimeoutSeconds } = this.#hooks.limits() ?? {};
    const shortest = Math.min(idleTimeoutSeconds ?? Infinity, statementTimeoutSeconds ?? Infinity);
    const look = Math.max(shortestLookMs, (shortest * 1000) / looksPerLimit);
    this.#timer = setTimeout(() => this.#look(), Math.min(longestLookMs, look));
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #look(): void {
    const now = this.#x.now();
    const limits = this.#hooks.limits();
    this.#lookIdle(now, limits?.idleTimeoutSeconds);
    this.#lookStatement(now, limits?.statementTimeoutSeconds);
    if (!this.#x.over) this.start();
  }

  #lookIdle(now: number, seconds: number | undefined): void {
    const busy = this.#x.queue.size > 0 || !this.#hooks.quiet();
    if (this.#heard || busy) this.#idleSince = now;
    this.#heard = false;
    if (seconds === undefined || now - this.#idleSince < seconds * 1000) return;
    this.#hooks.finish(
      new ProxyError(
        "GrantEnded",
        `the session on connection ${this.#x.connection} was idle for ${seconds} s (limits.idleTimeout)`,
      ),
    );
  }

  #lookStatement(now: number, seconds: number | undefined): void {
    const { queue } = this.#x;
    if (queue.head !== this.#head) {
      this.#head = queue.head;
      this.#headSince = now;
      this.#cancelled = false;
    }
    const ran = now - this.#headSince;
    if (seconds === undefined || ran < seconds * 1000 + serverGraceMs) return;
    // The server keeps its answers until Sync or until they fill a buffer: the time may be that of all that was sent.
    const commands = queue.commands();
    const late = ran - commands * seconds * 1000;
    if (commands === 0 || late < serverGraceMs) return;
    const error = new ProxyError(
      "LimitExceeded",
      `a statement on connection ${this.#x.connection} ran longer than ${seconds} s (limits.statementTimeout); ask for less at once`,
    );
    if (late >= serverGraceMs + cancelGraceMs) this.#hooks.finish(error);
    else if (!this.#cancelled) {
      this.#cancelled = true;
      this.#x.stopped = refusalMessage(error);
      this.#hooks.cancel();
    }
  }
}
