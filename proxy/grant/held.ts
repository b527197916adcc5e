// The grant of one connection: asked for on first use, renewed while it is used, dropped otherwise.
import type { Lease, TokenAnswer } from "../../contract/control.ts";
import { prepare } from "../../policy/decide.ts";
import { missingFeatures } from "../../policy/features.ts";
import { ProxyError } from "../errors.ts";
import type { LiveGrant } from "../pipeline.ts";
import { asProxyError } from "./answers.ts";
import { backoffMs, orAbort, type Clock } from "./clock.ts";
import { renewAfter } from "./pod-grant.ts";

/** After a refusal the operator is not asked again for this long: an agent that retries in a loop must not become a flood of exchanges. */
const refusalMemoryMs = 1_000;

const firstRetryMs = 250;
const maxRetryMs = 5_000;

/** Changes that arrive while an exchange is on its way make its answer old; more in a row than this and the latest answer has to do until its own renewal. */
const maxStaleRounds = 5;

export interface HeldOptions {
  /** `namespace/name`. */
  readonly connection: string;
  readonly exchange: (signal: AbortSignal) => Promise<TokenAnswer>;
  readonly clock: Clock;
  readonly random: () => number;
  /** Why this connection may not be used now whatever the operator would say (quarantine, a message we do not understand). */
  readonly barred: () => ProxyError | undefined;
  /** A new grant is in force, or none is any more. */
  readonly onChange: (live: LiveGrant | undefined, cause?: ProxyError) => void;
}

interface InForce {
  readonly live: LiveGrant;
  /** Milliseconds since 1970, by our own clock. */
  readonly expiresAt: number;
  readonly renewAt: number;
}

export class HeldGrant {
  readonly #options: HeldOptions;
  readonly #closing = new AbortController();
  #inForce: InForce | undefined;
  #isUsed = false;
  #users = 0;
  #flight: Promise<LiveGrant> | undefined;
  /** Something changed since the running exchange was sent. */
  #isStale = false;
  #failures = 0;
  #refusal: { readonly error: ProxyError; readonly until: number } | undefined;
  #cancelTimer: () => void = () => undefined;

  constructor(options: HeldOptions) {
    this.#options = options;
  }

  /** The grant in force; asking counts as use. */
  current(): LiveGrant | undefined {
    const inForce = this.#inForce;
    if (inForce === undefined) return undefined;
    const now = this.#options.clock.now();
    if (inForce.expiresAt <= now) {
      this.#expire(); // a timer can be late, after a suspended night for instance
      return undefined;
    }
    this.#isUsed = true;
    if (inForce.renewAt <= now) this.#renew();
    return inForce.live;
  }

  /** The grant in force, without counting as use. */
  peek(): LiveGrant | undefined {
    const inForce = this.#inForce;
    return inForce !== undefined && inForce.expiresAt > this.#options.clock.now()
      ? inForce.live
      : undefined;
  }

  /** Why the last attempt came to nothing. */
  get refusal(): ProxyError | undefined {
    return this.peek() === undefined ? this.#refusal?.error : undefined;
  }

  async acquire(signal: AbortSignal): Promise<LiveGrant> {
    const barred = this.#options.barred();
    if (barred !== undefined) throw barred;
    const live = this.current();
    if (live !== undefined) return live;
    if (this.#refusal !== undefined && this.#refusal.until > this.#options.clock.now())
      throw this.#refusal.error;
    return await orAbort(this.#ask(), signal);
  }

  /** Keeps the grant renewed until the returned function is called: for an operation that takes longer than a grant lives. */
  keepInUse(): () => void {
    this.#users += 1;
    let isDone = false;
    return () => {
      if (!isDone) this.#users -= 1;
      isDone = true;
    };
  }

  /** What governs this connection may have changed: renew now if a grant is held, and let a refused one be asked for again. */
  changed(): void {
    this.#refusal = undefined;
    this.#isStale = true;
    if (this.peek() !== undefined) this.#renew();
  }

  /** The grant is over now. */
  end(cause: ProxyError): void {
    this.#refusal = undefined;
    this.#isStale = true;
    this.#drop(cause);
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the proxy is shutting down"));
    this.#cancelTimer();
    this.#inForce = undefined;
    await this.#flight?.catch(() => undefined);
  }

  #renew(): void {
    this.#ask().catch(() => undefined); // #fail has drawn the consequences
  }

  /** One exchange at a time; whoever comes meanwhile shares it. */
  #ask(): Promise<LiveGrant> {
    this.#flight ??= this.#exchange();
    return this.#flight;
  }

  async #exchange(): Promise<LiveGrant> {
    await Promise.resolve(); // so that #flight is set before anything can end it
    try {
      for (let round = 0; ; round += 1) {
        this.#isStale = false;
        const askedAt = this.#options.clock.now();
        try {
          const answer = await this.#options.exchange(this.#closing.signal);
          if (this.#isOvertaken(round)) continue;
          const live = this.#adopt(answer, askedAt);
          // Whoever heard of the new grant may have asked for another.
          if (this.#isOvertaken(round)) continue;
          return live;
        } catch (error) {
          if (!this.#isOvertaken(round)) throw this.#fail(error);
        }
      }
    } finally {
      // In the same turn as the last look at #isStale: a change that comes now starts another exchange.
      this.#flight = undefined;
    }
  }

  /** Whatever the operator said, it said before the change: ask again. */
  #isOvertaken(round: number): boolean {
    return this.#isStale && round < maxStaleRounds && !this.#closing.signal.aborted;
  }

  #adopt(answer: TokenAnswer, askedAt: number): LiveGrant {
    this.#closing.signal.throwIfAborted();
    const barred = this.#options.barred();
    if (barred !== undefined) throw barred;
    const live = readGrant(answer, this.#options.connection);
    const lifeMs = answer.expires_in * 1000;
    this.#inForce = { live, expiresAt: askedAt + lifeMs, renewAt: askedAt + lifeMs * renewAfter };
    this.#failures = 0;
    this.#refusal = undefined;
    this.#isUsed = false;
    this.#schedule(this.#inForce.renewAt);
    this.#options.onChange(live);
    return live;
  }

  /** Away is not no: what is held lives to its end. A no ends it. */
  #fail(error: unknown): ProxyError {
    const { connection, clock, random } = this.#options;
    const refusal = asProxyError(error, `connection ${connection}`);
    if (this.#closing.signal.aborted) return refusal;
    const isAway = refusal.code === "ControlPlaneUnavailable";
    this.#refusal = {
      error: refusal,
      until: clock.now() + (isAway ? firstRetryMs : refusalMemoryMs),
    };
    if (this.#inForce === undefined) return refusal;
    if (!isAway) {
      this.#drop(refusal);
      return refusal;
    }
    this.#schedule(
      Math.min(
        clock.now() + backoffMs(this.#failures, random, firstRetryMs, maxRetryMs),
        this.#inForce.expiresAt,
      ),
    );
    this.#failures += 1;
    return refusal;
  }

  #schedule(at: number): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#options.clock.after(Math.max(0, at - this.#options.clock.now()), () =>
      this.#onTimer(),
    );
  }

  #onTimer(): void {
    const inForce = this.#inForce;
    if (inForce === undefined) return;
    if (inForce.expiresAt <= this.#options.clock.now()) {
      this.#expire();
      return;
    }
    // Armed first: however the renewal ends, the end of this grant is not missed.
    this.#schedule(inForce.expiresAt);
    if (this.#isUsed || this.#users > 0) this.#renew();
  }

  #expire(): void {
    const { connection } = this.#options;
    const away = this.#refusal?.error.code === "ControlPlaneUnavailable";
    const why = away
      ? "it could not be renewed because the operator cannot be reached"
      : "it was not used and therefore not renewed";
    this.#drop(
      new ProxyError(
        "GrantEnded",
        `the grant for connection ${connection} ended: ${why}; connect again`,
      ),
    );
  }

  #drop(cause: ProxyError): void {
    this.#cancelTimer();
    if (this.#inForce === undefined) return;
    this.#inForce = undefined;
    this.#failures = 0;
    this.#options.onChange(undefined, cause);
  }
}

/** What this version can put upstream. A credential that is left out would be a request that goes as nobody. */
const leaseKinds: ReadonlySet<string> = new Set<Lease["kind"]>([
  "none",
  "password",
  "headers",
  "query",
  "awsSigV4",
]);

/** Refuses what this version cannot enforce whole. */
export function readGrant(answer: TokenAnswer, connection: string): LiveGrant {
  const { grant } = answer;
  if (
    grant === undefined ||
    `${grant.connection.namespace}/${grant.connection.name}` !== connection
  ) {
    throw new ProxyError(
      "GrantRefused",
      `connection ${connection}: the operator answered with a grant for something else`,
    );
  }
  const { id, endpoint, lease, bundle } = grant;
  const missing = missingFeatures(bundle.requires);
  if (missing.length > 0) {
    throw new ProxyError(
      "ProxyTooOld",
      `connection ${connection}: its policies need ${missing.join(", ")}, which this proxy does not know; restart the pod to get the current proxy`,
    );
  }
  if (!leaseKinds.has(lease.kind)) {
    throw new ProxyError(
      "ProxyTooOld",
      `connection ${connection}: its credential is of a kind that this proxy does not know; restart the pod to get the current proxy`,
    );
  }
  try {
    return { id, endpoint, lease, bundle, prepared: prepare(bundle) };
  } catch (cause) {
    throw new ProxyError(
      "GrantRefused",
      `connection ${connection}: its policies cannot be enforced: ${cause instanceof Error ? cause.message : "unknown error"}`,
      { cause },
    );
  }
}
